//! What the EHR granted to a session: one row, worked on by one node at a time, due when the session is over (S1-32).

use domain::*;
use store::*;

use super::tokens::issue;
use super::{NOW, integration, on_every_engine, put};

const ID: SessionId = SessionId([1; 16]);
const LATER: Millis = NOW + 60_000;

async fn held(store: &Store) {
    assert!(store.insert_grant(&ID, &"mercy".parse().unwrap(), &[1], LATER).await.unwrap());
}

async fn due(store: &Store, now: Millis) -> Vec<u64> {
    store.due_grants(now, 10).await.unwrap().iter().map(|row| row.attempts).collect()
}

#[tokio::test]
async fn one_node_refreshes_and_its_claim_runs_out() {
    on_every_engine(async |store| {
        held(&store).await;
        assert!(!store.insert_grant(&ID, &"mercy".parse().unwrap(), &[9], LATER).await.unwrap(), "one a session");
        let claims = (0..50).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim_grant(&ID, 1, NOW, NOW + 20).await.unwrap() })
        });
        let mut claimed = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            claimed.extend(claim.await.unwrap());
        }
        let [first] = claimed[..] else { panic!("{claimed:?}") };
        assert_eq!(store.claim_grant(&ID, 1, NOW + 19, NOW + 40).await.unwrap(), None);
        let second = store.claim_grant(&ID, 1, NOW + 20, NOW + 40).await.unwrap().unwrap();
        assert!(!store.replace_grant(&first, &[2], Millis::MAX).await.unwrap(), "too late");
        assert!(!store.release_grant(&first, 0).await.unwrap());
        assert!(store.replace_grant(&second, &[3], Millis::MAX).await.unwrap());
        let row = store.find_grant(&ID).await.unwrap().unwrap();
        assert_eq!((row.revision, row.sealed, row.expires_at), (2, vec![3], LATER));
        assert_eq!(store.claim_grant(&ID, 1, NOW + 41, NOW + 60).await.unwrap(), None, "its tokens were replaced");
        let third = store.claim_grant(&ID, 2, NOW + 41, NOW + 60).await.unwrap().unwrap();
        assert!(store.replace_grant(&third, &[4], NOW + 42).await.unwrap());
        assert_eq!(due(&store, NOW + 42).await, [0], "what is over at once is due at once");
    })
    .await;
}

#[tokio::test]
async fn s1_32_whoever_ends_a_session_makes_its_grant_due() {
    on_every_engine(async |store| {
        assert!(store.issue(issue(1, 1, None, NOW)).await.unwrap().is_ok());
        held(&store).await;
        assert_eq!(due(&store, NOW).await, [] as [u64; 0]);
        assert!(store.keep_grant(&ID, LATER + 5, NOW).await.unwrap());
        store.end_session(&ID, NOW, "api").await.unwrap().unwrap();
        assert_eq!(due(&store, NOW).await, [0]);
        assert!(!store.keep_grant(&ID, LATER, NOW).await.unwrap(), "an end is final");
        assert_eq!(store.claim_grant(&ID, 1, NOW, NOW + 20).await.unwrap(), None, "nothing is refreshed any more");
        let claim = store.claim_due_grant(&ID, 1, NOW, NOW + 20).await.unwrap().unwrap();
        assert_eq!(store.claim_due_grant(&ID, 1, NOW, NOW + 20).await.unwrap(), None);
        assert_eq!(due(&store, NOW).await, [] as [u64; 0]);
        assert!(store.release_grant(&claim, NOW + 10).await.unwrap());
        assert_eq!((due(&store, NOW + 9).await, due(&store, NOW + 10).await), (vec![], vec![1]));
        let again = store.claim_due_grant(&ID, 1, NOW + 10, NOW + 30).await.unwrap().unwrap();
        assert!(!store.delete_grant(&claim).await.unwrap(), "not by an old claim");
        assert!(store.delete_grant(&again).await.unwrap());
        assert_eq!(store.find_grant(&ID).await.unwrap(), None);
        held(&store).await;
        assert_eq!(due(&store, NOW).await, [0], "kept too late: the session had ended");
    })
    .await;
}

#[tokio::test]
async fn a_grant_whose_time_is_over_is_due_and_a_refresh_under_way_goes_first() {
    on_every_engine(async |store| {
        held(&store).await;
        let claim = store.claim_grant(&ID, 1, LATER - 1, LATER + 20).await.unwrap().unwrap();
        assert_eq!(due(&store, LATER).await, [] as [u64; 0], "somebody works on it");
        assert_eq!(store.claim_due_grant(&ID, 1, LATER, LATER + 20).await.unwrap(), None);
        assert!(store.replace_grant(&claim, &[2], Millis::MAX).await.unwrap());
        assert_eq!(due(&store, LATER).await, [0]);
        let row = store.due_grants(LATER, 10).await.unwrap().remove(0);
        assert_eq!((row.revision, row.sealed), (2, vec![2]), "what is revoked is what was granted last");
    })
    .await;
}

#[tokio::test]
async fn s2_19_an_integration_that_is_switched_off_leaves_no_grant() {
    on_every_engine(async |store| {
        let change = |integration: Integration, expected| Change {
            integrations: vec![put(integration, &[], expected)],
            ..Change::default()
        };
        let mut sched = integration("sched", "mercy");
        sched.epoch = 3;
        let _ = store.apply(&change(sched.clone(), None), NOW).await.unwrap().unwrap();
        assert!(store.issue(issue(1, 1, None, NOW)).await.unwrap().is_ok());
        held(&store).await;
        let _ = store.apply(&change(sched.clone(), Some(1)), NOW).await.unwrap().unwrap();
        assert_eq!(due(&store, NOW).await, [] as [u64; 0], "the same epoch");
        sched.epoch = 4;
        let _ = store.apply(&change(sched, Some(2)), NOW + 1).await.unwrap().unwrap();
        assert_eq!(due(&store, NOW + 1).await, [0]);
    })
    .await;
}
