//! People, roles, API tokens and the init credential.

use domain::*;
use store::*;

use super::{NOW, on_every_engine};

fn person(id: &str, roles: &[(Option<&str>, Role)]) -> NewPerson {
    NewPerson {
        id: id.parse().unwrap(),
        name: "Name".into(),
        credential: "$argon2id$v=19$m=19456,t=2,p=1$abc$def".into(),
        roles: roles.iter().map(|(tenant, role)| grant(*tenant, *role)).collect(),
    }
}

fn grant(tenant: Option<&str>, role: Role) -> RoleGrant {
    RoleGrant { tenant: tenant.map(|tenant| tenant.parse().unwrap()), role }
}

#[tokio::test]
async fn the_init_credential_works_once_and_for_a_day() {
    on_every_engine(async |store| {
        let (good, late) = ([1; 32], [2; 32]);
        let day = 24 * 3_600_000;
        store.insert_init_credential(&good, NOW, NOW + day).await.unwrap();
        store.insert_init_credential(&late, NOW, NOW + day).await.unwrap();
        let people =
            [person("a@x", &[(None, Role::Operator)]), person("b@x", &[(Some("mercy"), Role::PrivacyOfficer)])];
        let unknown = store.initialise(&[9; 32], &people, NOW).await.unwrap();
        assert_eq!(unknown, Err(AddRefusal::Credential));
        let twice = [person("a@x", &[]), person("a@x", &[])];
        assert!(matches!(store.initialise(&good, &twice, NOW).await.unwrap(), Err(AddRefusal::Exists(_))));
        assert!(store.people().await.unwrap().is_empty(), "a refusal leaves nothing behind");
        store.initialise(&good, &people, NOW).await.unwrap().unwrap();
        let again = store.initialise(&good, &[person("c@x", &[])], NOW).await.unwrap();
        assert_eq!(again, Err(AddRefusal::Credential), "single use");
        let after = store.initialise(&late, &[person("c@x", &[])], NOW + day).await.unwrap();
        assert_eq!(after, Err(AddRefusal::Credential), "24 h");
        assert_eq!(store.people().await.unwrap().len(), 2);
        let found = store.find_person(&"b@x".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(found.person.roles, [(Some("mercy".parse().unwrap()), Role::PrivacyOfficer)]);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_operator_and_privacy_officer_in_one_tenant() {
    on_every_engine(async |store| {
        let by: PersonId = "root@x".parse().unwrap();
        type Case = (Option<&'static str>, Role, Option<&'static str>, Role, bool);
        let cases: [Case; 7] = [
            (Some("mercy"), Role::Operator, Some("mercy"), Role::PrivacyOfficer, false),
            (Some("mercy"), Role::PrivacyOfficer, Some("mercy"), Role::Operator, false),
            (None, Role::Operator, Some("mercy"), Role::PrivacyOfficer, false),
            (Some("mercy"), Role::Operator, None, Role::PrivacyOfficer, false),
            (None, Role::PrivacyOfficer, None, Role::Operator, false),
            (Some("mercy"), Role::Operator, Some("other"), Role::PrivacyOfficer, true),
            (None, Role::Operator, None, Role::Auditor, true),
        ];
        for (index, (first_in, first, second_in, second, allowed)) in cases.into_iter().enumerate() {
            let id = format!("p{index}@x");
            store.add_person(&person(&id, &[(first_in, first)]), "test", NOW).await.unwrap().unwrap();
            let done = store.grant_role(&id.parse().unwrap(), &grant(second_in, second), &by, NOW).await.unwrap();
            assert_eq!(done.is_ok(), allowed, "case {index}");
            let both = person(&format!("q{index}@x"), &[(first_in, first), (second_in, second)]);
            assert_eq!(store.add_person(&both, "test", NOW).await.unwrap().is_ok(), allowed, "case {index}, at once");
        }
        let again = store.grant_role(&"p0@x".parse().unwrap(), &grant(Some("mercy"), Role::Operator), &by, NOW).await;
        assert_eq!(again.unwrap(), Ok(()), "granting what is held is no error");
        assert!(store.revoke_role(&"p0@x".parse().unwrap(), &grant(Some("mercy"), Role::Operator)).await.unwrap());
        let now_free = grant(Some("mercy"), Role::PrivacyOfficer);
        assert_eq!(store.grant_role(&"p0@x".parse().unwrap(), &now_free, &by, NOW).await.unwrap(), Ok(()));
        let nobody = store.grant_role(&"nobody@x".parse().unwrap(), &now_free, &by, NOW).await.unwrap();
        assert_eq!(nobody, Err(GrantRefusal::Unknown));
    })
    .await;
}

#[tokio::test]
async fn concurrent_grants_cannot_add_up_to_both_duties() {
    on_every_engine(async |store| {
        let (by, id): (PersonId, PersonId) = ("root@x".parse().unwrap(), "p@x".parse().unwrap());
        store.add_person(&person("p@x", &[]), "test", NOW).await.unwrap().unwrap();
        let (operator, officer) = (grant(None, Role::Operator), grant(Some("mercy"), Role::PrivacyOfficer));
        let (a, b) =
            tokio::join!(store.grant_role(&id, &operator, &by, NOW), store.grant_role(&id, &officer, &by, NOW));
        assert!(a.unwrap().is_ok() != b.unwrap().is_ok(), "exactly one of them");
    })
    .await;
}

#[tokio::test]
async fn api_tokens_end_by_idleness_age_sign_out_and_disabling() {
    on_every_engine(async |store| {
        let id: PersonId = "a@x".parse().unwrap();
        store.add_person(&person("a@x", &[]), "test", NOW).await.unwrap().unwrap();
        let (idle, life) = (900_000, 8 * 3_600_000);
        let add = async |byte: u8| store.add_api_token(&[byte; 32], &id, NOW, NOW + life).await.unwrap();
        let used = async |byte: u8, at: Millis| store.use_api_token(&[byte; 32], at, at - idle).await.unwrap();
        add(1).await;
        assert_eq!(used(1, NOW + idle - 1).await, Some(id.clone()));
        assert_eq!(used(1, NOW + 2 * idle - 2).await, Some(id.clone()), "the use before counts");
        assert_eq!(used(1, NOW + 4 * idle).await, None, "15 minutes idle");
        add(2).await;
        let mut at = NOW;
        while at + idle < NOW + life {
            at += idle - 1;
            assert_eq!(used(2, at).await, Some(id.clone()));
        }
        assert_eq!(used(2, NOW + life).await, None, "8 hours at most");
        add(3).await;
        store.end_api_token(&[3; 32]).await.unwrap();
        assert_eq!(used(3, NOW + 1).await, None);
        add(4).await;
        assert!(store.find_credential(&id).await.unwrap().is_some());
        assert!(store.disable_person(&id, Some(NOW)).await.unwrap());
        assert_eq!(used(4, NOW + 1).await, None);
        assert!(store.find_credential(&id).await.unwrap().is_none());
        assert!(store.disable_person(&id, None).await.unwrap());
        assert_eq!(used(4, NOW + 1).await, None, "switching on brings no token back");
    })
    .await;
}
