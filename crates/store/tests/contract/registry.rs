//! Integrations, profiles, approvals, filters, keys and the feed.

use domain::*;
use store::*;

use super::{NOW, approval, integration, on_every_engine, profile, put};

fn one(put: PutIntegration) -> Change {
    Change { integrations: vec![put], ..Change::default() }
}

#[tokio::test]
async fn a_change_is_written_whole_and_read_back() {
    on_every_engine(async |store| {
        let change = Change {
            profiles: vec![("mercy".parse().unwrap(), profile(1))],
            integrations: vec![put(integration("sched", "mercy"), &["k1"], None)],
            approvals: vec![PutApproval { approval: approval(1, "sched", "mercy"), expected: None }],
            filters: vec![FilterRow {
                tenant: "mercy".parse().unwrap(),
                kind: "Observation".into(),
                param: "patient".into(),
                state: FilterState::Poisoned,
            }],
            ..Change::default()
        };
        let feed = store.apply(&change, NOW).await.unwrap().unwrap();
        assert_eq!(feed, 4);
        let rows = store.registry().await.unwrap();
        assert_eq!(rows.feed, 4);
        assert_eq!(rows.integrations, [IntegrationRow { integration: integration("sched", "mercy"), revision: 1 }]);
        assert_eq!(rows.profiles, [("mercy".parse().unwrap(), profile(1))]);
        assert_eq!(rows.approvals, [ApprovalRow { approval: approval(1, "sched", "mercy"), revision: 1 }]);
        assert_eq!(rows.filters, change.filters);
        let numbers: Vec<_> =
            store.feed_since(1).await.unwrap().into_iter().map(|entry| (entry.n, entry.kind)).collect();
        assert_eq!(numbers, [(2, FeedKind::Integration), (3, FeedKind::Approval), (4, FeedKind::Filter)]);
    })
    .await;
}

#[tokio::test]
async fn a_stale_write_changes_nothing() {
    on_every_engine(async |store| {
        store.apply(&one(put(integration("a", "mercy"), &[], None)), NOW).await.unwrap().unwrap();
        store.apply(&one(put(integration("a", "mercy"), &[], Some(1))), NOW).await.unwrap().unwrap();
        let mut both = one(put(integration("b", "mercy"), &[], None));
        both.integrations.push(put(integration("a", "mercy"), &[], Some(1)));
        assert_eq!(store.apply(&both, NOW).await.unwrap(), Err(ChangeRefusal::Stale("a".into())));
        assert!(store.find_integration("b").await.unwrap().is_none(), "nothing of a refused change stays");
        assert_eq!(store.feed().await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn s1_33_an_id_or_key_lives_in_one_tenant_only() {
    on_every_engine(async |store| {
        store.apply(&one(put(integration("a", "mercy"), &["k1"], None)), NOW).await.unwrap().unwrap();
        let again = store.apply(&one(put(integration("a", "other"), &[], None)), NOW).await.unwrap();
        assert_eq!(again, Err(ChangeRefusal::Stale("a".into())));
        let moved = store.apply(&one(put(integration("a", "other"), &[], Some(1))), NOW).await.unwrap();
        assert_eq!(moved, Err(ChangeRefusal::Stale("a".into())));
        for (id, tenant) in [("b", "mercy"), ("c", "other")] {
            let shared = store.apply(&one(put(integration(id, tenant), &["k1"], None)), NOW).await.unwrap();
            assert!(matches!(shared, Err(ChangeRefusal::KeyTaken(_))), "S2-15");
            assert!(store.find_integration(id).await.unwrap().is_none());
        }
    })
    .await;
}

#[tokio::test]
async fn s2_09_a_key_never_changes_environment() {
    on_every_engine(async |store| {
        store.apply(&one(put(integration("a", "mercy"), &["k1"], None)), NOW).await.unwrap().unwrap();
        let mut test = integration("a", "mercy");
        test.environment = Environment::Test;
        let kept = store.apply(&one(put(test.clone(), &["k1"], Some(1))), NOW).await.unwrap();
        assert!(matches!(kept, Err(ChangeRefusal::KeyTaken(_))));
        store.apply(&one(put(test.clone(), &["k2"], Some(1))), NOW).await.unwrap().unwrap();
        let key = Thumbprint(format!("{:A<43}", "k1"));
        assert!(!store.claim_key(&key, &test).await.unwrap(), "claimed for ever");
        assert!(store.claim_key(&key, &integration("a", "mercy")).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn profile_versions_are_immutable() {
    on_every_engine(async |store| {
        let put =
            |profile: TaskProfile| Change { profiles: vec![("mercy".parse().unwrap(), profile)], ..Change::default() };
        store.apply(&put(profile(1)), NOW).await.unwrap().unwrap();
        store.apply(&put(profile(1)), NOW).await.unwrap().unwrap();
        assert_eq!(store.feed().await.unwrap(), 1, "writing the same again changes nothing");
        let mut wider = profile(1);
        wider.scopes = "patient/Observation.rs".parse().unwrap();
        let refused = store.apply(&put(wider), NOW).await.unwrap();
        assert_eq!(refused, Err(ChangeRefusal::ProfileExists("scheduling@1".into())));
    })
    .await;
}

#[tokio::test]
async fn s0_05_the_schema_refuses_self_approval() {
    on_every_engine(async |store| {
        let mut change = one(put(integration("a", "mercy"), &[], None));
        change.profiles.push(("mercy".parse().unwrap(), profile(1)));
        let mut own = approval(1, "a", "mercy");
        own.status = ApprovalStatus::Approved { by: own.requested_by.clone(), at: NOW, until: NOW + 1 };
        change.approvals.push(PutApproval { approval: own, expected: None });
        assert!(store.apply(&change, NOW).await.unwrap_err().constraint());
        assert!(store.registry().await.unwrap().integrations.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_approval_stays_in_its_tenant() {
    on_every_engine(async |store| {
        let mut change = one(put(integration("a", "mercy"), &[], None));
        change.profiles.push(("mercy".parse().unwrap(), profile(1)));
        change.profiles.push(("other".parse().unwrap(), profile(1)));
        change.approvals.push(PutApproval { approval: approval(1, "a", "other"), expected: None });
        assert!(store.apply(&change, NOW).await.unwrap_err().constraint());
    })
    .await;
}

#[tokio::test]
async fn epochs_never_go_back() {
    on_every_engine(async |store| {
        let mut at = integration("a", "mercy");
        at.epoch = 5;
        store.apply(&one(put(at.clone(), &[], None)), NOW).await.unwrap().unwrap();
        at.epoch = 4;
        assert_eq!(store.apply(&one(put(at, &[], Some(1))), NOW).await.unwrap(), Err(ChangeRefusal::Stale("a".into())));
    })
    .await;
}

#[tokio::test]
async fn keys_are_kept_once_and_retired_once() {
    on_every_engine(async |store| {
        let key = WrappedKey {
            tenant: "mercy".into(),
            purpose: "token".into(),
            kid: "k".into(),
            created_at: NOW,
            retired_at: None,
            wrapped: vec![1, 2, 3],
        };
        assert!(store.insert_key(&key).await.unwrap());
        assert!(!store.insert_key(&WrappedKey { wrapped: vec![9], ..key.clone() }).await.unwrap());
        assert_eq!(store.keys().await.unwrap(), std::slice::from_ref(&key));
        store.retire_key("k", NOW + 1).await.unwrap();
        store.retire_key("k", NOW + 2).await.unwrap();
        assert_eq!(store.keys().await.unwrap(), [WrappedKey { retired_at: Some(NOW + 1), ..key }]);
        store.mark_ledger("n1", 7, NOW).await.unwrap();
        store.mark_ledger("n1", 5, NOW).await.unwrap();
        assert_eq!(store.ledger_marks().await.unwrap(), [("n1".to_owned(), 7)]);
    })
    .await;
}

#[tokio::test]
async fn an_sqlite_file_is_opened_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("hilum.db").display());
    let store = Store::open(&url).await.unwrap();
    store.apply(&one(put(integration("a", "mercy"), &[], None)), NOW).await.unwrap().unwrap();
    store.close().await;
    assert!(store.use_assertion(UsedAssertion { issuer: "a".into(), jti: "1".into(), expires_at: NOW }).await.is_err());
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.registry().await.unwrap().integrations.len(), 1);
    assert!(matches!(Store::open("mysql://x").await, Err(OpenError::Url)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "for its owner alone");
        }
    }
}

#[tokio::test]
async fn policies_are_replaced_by_those_who_saw_them() {
    on_every_engine(async |store| {
        let put = |text: &str, expected| Change {
            policies: vec![PutPolicy { tenant: "mercy".parse().unwrap(), text: text.to_owned(), expected }],
            ..Change::default()
        };
        assert!(store.policies().await.unwrap().is_empty());
        store.apply(&put("one", None), NOW).await.unwrap().unwrap();
        let feed = store.apply(&put("two", Some(1)), NOW).await.unwrap().unwrap();
        let row = PolicyRow { tenant: "mercy".parse().unwrap(), text: "two".to_owned(), revision: 2 };
        assert_eq!(store.registry().await.unwrap().policies, [row]);
        let last = store.feed_since(feed - 1).await.unwrap().pop().unwrap();
        assert_eq!((last.kind, last.key.as_str()), (FeedKind::Policy, "mercy"));
        for expected in [None, Some(1)] {
            let late = store.apply(&put("three", expected), NOW).await.unwrap();
            assert_eq!(late, Err(ChangeRefusal::Stale("policies of mercy".into())));
        }
        assert!(store.apply(&put(&"x".repeat(70_000), Some(2)), NOW).await.unwrap_err().constraint());
    })
    .await;
}
