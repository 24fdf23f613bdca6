//! Jobs of bulk export, and what an approval of two people leaves behind (S1-12, S1-14).

use domain::session::LaunchKind;
use domain::*;
use store::*;

use super::tokens::issue;
use super::{NOW, approval, integration, on_every_engine, profile, put};

fn owner(integration: &str, approval: u8) -> ExportOwner {
    ExportOwner {
        tenant: "mercy".parse().unwrap(),
        integration: integration.parse().unwrap(),
        approval: ApprovalId([approval; 16]),
    }
}

fn job(n: u8) -> ExportRow {
    ExportRow {
        id: ExportId([n; 16]),
        owner: owner("cohorts", 1),
        state: ExportState::Accepted,
        sealed: vec![n],
        created_at: NOW,
        expires_at: NOW + 1_000,
    }
}

#[tokio::test]
async fn s1_14_a_job_is_its_makers_alone() {
    on_every_engine(async |store| {
        store.insert_export(&job(1)).await.unwrap();
        assert!(store.insert_export(&job(1)).await.is_err(), "ids are unique");
        let id = ExportId([1; 16]);
        assert_eq!(store.find_export(&id, &owner("cohorts", 1), NOW).await.unwrap(), Some(job(1)));
        let elsewhere = ExportOwner { tenant: "other".parse().unwrap(), ..owner("cohorts", 1) };
        for other in [owner("others", 1), owner("cohorts", 2), elsewhere] {
            assert_eq!(store.find_export(&id, &other, NOW).await.unwrap(), None, "{other:?}");
        }
        assert_eq!(store.find_export(&id, &owner("cohorts", 1), NOW + 1_000).await.unwrap(), None, "expired");
        assert_eq!(store.find_export(&ExportId([2; 16]), &owner("cohorts", 1), NOW).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_job_goes_forward_only() {
    on_every_engine(async |store| {
        let (id, owner) = (ExportId([1; 16]), owner("cohorts", 1));
        let state = async || store.find_export(&id, &owner, NOW).await.unwrap().map(|row| (row.state, row.sealed));
        store.insert_export(&job(1)).await.unwrap();
        store.insert_export(&job(2)).await.unwrap();
        assert_eq!(store.live_exports(&owner.integration, NOW).await.unwrap(), 2);
        assert!(store.complete_export(&id, &[9]).await.unwrap());
        assert!(!store.complete_export(&id, &[8]).await.unwrap(), "what was told once does not change");
        assert_eq!(state().await, Some((ExportState::Complete, vec![9])));
        assert!(store.cancel_export(&id).await.unwrap());
        assert!(!store.cancel_export(&id).await.unwrap());
        assert!(!store.complete_export(&id, &[7]).await.unwrap());
        assert_eq!(state().await, Some((ExportState::Cancelled, vec![9])));
        assert_eq!(store.live_exports(&owner.integration, NOW).await.unwrap(), 1);
        assert_eq!(store.live_exports(&owner.integration, NOW + 1_000).await.unwrap(), 0);
        while store.purge(NOW + 24 * 3_600_000).await.unwrap() {}
        assert_eq!(store.find_export(&id, &owner, NOW).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn s1_12_the_two_approvers_and_the_requester_are_three() {
    on_every_engine(async |store| {
        let change = Change {
            profiles: vec![("mercy".parse().unwrap(), profile(1))],
            integrations: vec![put(integration("sched", "mercy"), &[], None)],
            ..Change::default()
        };
        let _ = store.apply(&change, NOW).await.unwrap().unwrap();
        let person = |name: &str| format!("{name}@mercy.example").parse::<PersonId>().unwrap();
        let of = |n: u8, by: &str, first: &str| {
            let mut approval = approval(n, "sched", "mercy");
            approval.status = ApprovalStatus::Approved { by: person(by), at: NOW, until: NOW + 1_000 };
            approval.first = Some(FirstApproval { by: person(first), at: NOW, until: NOW + 1_000 });
            Change { approvals: vec![PutApproval { approval, expected: None }], ..Change::default() }
        };
        assert!(store.apply(&of(1, "pia", "pat"), NOW).await.unwrap().is_ok());
        assert!(store.apply(&of(2, "pia", "pia"), NOW).await.is_err(), "one person twice");
        assert!(store.apply(&of(3, "pia", "olga"), NOW).await.is_err(), "the requester first");
        assert!(store.apply(&of(4, "olga", "pia"), NOW).await.is_err(), "the requester second");
    })
    .await;
}

#[tokio::test]
async fn a_session_of_a_population_lives_five_minutes() {
    on_every_engine(async |store| {
        let mut one = issue(1, 1, None, NOW);
        one.session.launch = LaunchKind::Export;
        one.session.expires_at = NOW + 300_000;
        let mut longer = issue(2, 1, None, NOW);
        longer.session.launch = LaunchKind::Export;
        longer.session.expires_at = NOW + 300_001;
        assert!(store.issue(one).await.unwrap().is_ok());
        assert!(store.issue(longer).await.is_err());
        let found = store.find_session(&SessionId([1; 16])).await.unwrap().unwrap();
        assert_eq!(found.session.launch, LaunchKind::Export);
    })
    .await;
}
