//! Roles of AI services, and the table of surrogates.

use domain::*;
use store::*;

use super::{NOW, integration, on_every_engine, put as put_integration};

fn role(text: &str) -> ServiceRole {
    serde_json::from_str(text).unwrap()
}

fn put(role: ServiceRole, expected: Option<u64>) -> Change {
    let put = PutRole { tenant: "mercy".parse().unwrap(), name: "reader".parse().unwrap(), role, expected };
    Change { roles: vec![put], ..Change::default() }
}

#[tokio::test]
async fn roles_are_replaced_by_those_who_saw_them() {
    on_every_engine(async |store| {
        let (one, two) = (role(r#"{"permissions":[]}"#), role(r#"{"permissions":["data:read"],"mfa_required":true}"#));
        store.apply(&put(one.clone(), None), NOW).await.unwrap().unwrap();
        let feed = store.apply(&put(two.clone(), Some(1)), NOW).await.unwrap().unwrap();
        let row = RoleRow {
            tenant: "mercy".parse().unwrap(),
            name: "reader".parse().unwrap(),
            role: two.clone(),
            revision: 2,
        };
        assert_eq!(store.registry().await.unwrap().roles, [row]);
        let last = store.feed_since(feed - 1).await.unwrap().pop().unwrap();
        assert_eq!((last.kind, last.key.as_str()), (FeedKind::Role, "mercy/reader"));
        for expected in [None, Some(1)] {
            let late = store.apply(&put(one.clone(), expected), NOW).await.unwrap();
            assert_eq!(late, Err(ChangeRefusal::Stale("role mercy/reader".into())));
        }
        assert_eq!(store.roles().await.unwrap().pop().unwrap().role, two);
    })
    .await;
}

fn owner(integration: &str, patient: u8) -> SurrogateOwner {
    SurrogateOwner {
        tenant: "mercy".parse().unwrap(),
        integration: integration.parse().unwrap(),
        patient_tag: [patient; 16],
    }
}

fn new(original: u8, surrogate: u8) -> NewSurrogate {
    NewSurrogate {
        original_tag: [original; 16],
        surrogate: format!("{surrogate:036}"),
        original_sealed: vec![original],
        expires_at: None,
    }
}

#[tokio::test]
async fn s4_06_an_original_keeps_its_first_surrogate_and_has_another_elsewhere() {
    on_every_engine(async |store| {
        let mine = owner("agent", 1);
        let kept = store.keep_surrogates(&mine, &[new(2, 22), new(1, 11)], NOW).await.unwrap();
        assert_eq!(kept, Surrogates::from([([1; 16], format!("{:036}", 11)), ([2; 16], format!("{:036}", 22))]));
        let again = store.keep_surrogates(&mine, &[new(1, 99), new(3, 33)], NOW).await.unwrap();
        assert_eq!(again.get(&[1; 16]), Some(&format!("{:036}", 11)), "the first one counts");
        let found = store.find_surrogates(&mine, &[[1; 16], [4; 16]]).await.unwrap();
        assert_eq!(found, Surrogates::from([([1; 16], format!("{:036}", 11))]));
        let (one, three, never) = (format!("{:036}", 11), format!("{:036}", 33), format!("{:036}", 99));
        let originals = store.find_originals(&mine, &[&three, &never, &one]).await.unwrap();
        assert_eq!(originals, Originals::from([(one.clone(), vec![1]), (three, vec![3])]), "the other was never kept");
        for other in [owner("agent", 2), owner("other", 1)] {
            assert!(store.find_surrogates(&other, &[[1; 16]]).await.unwrap().is_empty());
            assert!(store.find_originals(&other, &[&one]).await.unwrap().is_empty());
            // A surrogate stands for one thing, wherever it is; and nothing of a failed transaction stays.
            assert!(store.keep_surrogates(&other, &[new(0, 50), new(1, 11)], NOW).await.unwrap_err().constraint());
            assert!(store.find_surrogates(&other, &[[0; 16]]).await.unwrap().is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn what_stands_for_a_page_link_is_forgotten_and_nothing_else() {
    on_every_engine(async |store| {
        let mine = owner("agent", 1);
        let link = NewSurrogate { expires_at: Some(NOW), ..new(1, 11) };
        store.keep_surrogates(&mine, &[link, new(2, 22)], NOW).await.unwrap();
        store.purge(NOW + 24 * 3_600_000).await.unwrap();
        let found = store.find_surrogates(&mine, &[[1; 16], [2; 16]]).await.unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [[2; 16]]);
    })
    .await;
}

#[tokio::test]
async fn s4_06_many_originals_are_kept_and_found_at_once() {
    on_every_engine(async |store| {
        let mine = owner("agent", 1);
        let one = |at: u8| NewSurrogate { surrogate: format!("many-{at:031}"), ..new(at, at) };
        let many: Vec<NewSurrogate> = (0..=255).map(one).collect();
        let kept = store.keep_surrogates(&mine, &many, NOW).await.unwrap();
        assert_eq!(kept.len(), 256);
        let tags: Vec<[u8; 16]> = many.iter().map(|new| new.original_tag).collect();
        assert_eq!(store.find_surrogates(&mine, &tags).await.unwrap(), kept);
        assert!(many.iter().all(|new| kept.get(&new.original_tag) == Some(&new.surrogate)));
        assert!(store.find_surrogates(&mine, &[]).await.unwrap().is_empty());
        for count in [0, 1, 31, 32, 33, 256] {
            let names: Vec<&str> = many.iter().take(count).map(|new| new.surrogate.as_str()).collect();
            assert_eq!(store.find_originals(&mine, &names).await.unwrap().len(), count);
        }
    })
    .await;
}

#[tokio::test]
async fn the_tables_of_an_integration_that_has_ended_are_forgotten() {
    on_every_engine(async |store| {
        let mut ended = integration("ended", "mercy");
        ended.status = IntegrationStatus::Ended;
        let integrations =
            vec![put_integration(integration("lives", "mercy"), &[], None), put_integration(ended, &[], None)];
        store.apply(&Change { integrations, ..Change::default() }, NOW).await.unwrap().unwrap();
        for (name, number) in [("lives", 1), ("ended", 2)] {
            store.keep_surrogates(&owner(name, 1), &[new(number, number)], NOW).await.unwrap();
        }
        let of =
            async |name: &str, number: u8| store.find_surrogates(&owner(name, 1), &[[number; 16]]).await.unwrap().len();
        store.purge(NOW).await.unwrap();
        assert_eq!((of("lives", 1).await, of("ended", 2).await), (1, 1), "a request may be on its way");
        store.purge(NOW + 3_600_000).await.unwrap();
        assert_eq!((of("lives", 1).await, of("ended", 2).await), (1, 0));
    })
    .await;
}
