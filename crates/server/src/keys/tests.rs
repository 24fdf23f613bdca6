//! The ring against a real store in memory.
#![allow(clippy::string_slice)]

use super::*;

const NOW: Millis = 1_795_000_000_000; // 2026-11-18

async fn ring(store: &Store, now: Millis) -> KeyRing {
    let tenants = ["mercy".parse().unwrap(), "other".parse().unwrap()];
    KeyRing::open(&RootKey::parse(&[1; 32]).unwrap(), store, &tenants, now).await.unwrap()
}

fn mercy() -> TenantId {
    "mercy".parse().unwrap()
}

#[tokio::test]
async fn keys_are_made_once_and_open_again_under_the_same_root_alone() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let first = ring(&store, NOW).await;
    let rows = store.keys().await.unwrap().len();
    let sealed = first.seal_row("mercy", "session.patient", b"P1").unwrap();
    let second = ring(&store, NOW).await;
    assert_eq!(store.keys().await.unwrap().len(), rows, "nothing is made twice");
    assert_eq!(second.open_row("mercy", "session.patient", &sealed).unwrap(), b"P1");
    assert!(second.open_row("mercy", "ticket.patient", &sealed).is_err(), "a value stays in its column");
    assert!(second.open_row("other", "session.patient", &sealed).is_err(), "and in its tenant");
    assert_eq!(first.jwks(&mercy(), NOW).await.unwrap(), second.jwks(&mercy(), NOW).await.unwrap());
    let wrong = KeyRing::open(&RootKey::parse(&[2; 32]).unwrap(), &store, &[mercy()], NOW).await;
    assert!(matches!(wrong, Err(KeyError::Unwrap { .. })));
}

#[tokio::test]
async fn no_stored_key_is_readable() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let ring = ring(&store, NOW).await;
    let rows = store.keys().await.unwrap();
    assert!(rows.iter().all(|row| row.wrapped.len() >= 1 + 24 + 32 + 16), "every row is wrapped");
    assert_eq!(format!("{ring:?} {:?}", ring.token_signer(&mercy()).unwrap()).matches("[sealed]").count(), 2);
    let jwks: serde_json::Value = serde_json::from_str(&ring.jwks(&mercy(), NOW).await.unwrap()).unwrap();
    let key = &jwks["keys"][0];
    assert_eq!(key["x"].as_str().unwrap().len(), 43);
    assert!(key.get("d").is_none(), "no private part");
}

#[tokio::test]
async fn a_page_token_opens_in_its_tenant_alone() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let ring = ring(&store, NOW).await;
    let token = ring.seal_page(&mercy(), b"cursor").unwrap();
    assert_eq!(ring.open_page(&mercy(), &token).as_deref(), Some(&b"cursor"[..]));
    assert_eq!(ring.open_page(&"other".parse().unwrap(), &token), None);
    for bad in ["", "x", "!!", &token[1..], &format!("{token}A")] {
        assert_eq!(ring.open_page(&mercy(), bad), None);
    }
}

#[tokio::test]
async fn a_rotated_token_key_verifies_until_its_tokens_are_dead() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let store = Store::open("sqlite::memory:").await.unwrap();
    let ring = ring(&store, NOW).await;
    let old = ring.token_signer(&mercy()).unwrap();
    let signature = old.sign(b"token").unwrap();
    let later = NOW + 1_000;
    let kid = ring.rotate_token_key(&mercy(), later).await.unwrap();
    assert_eq!(ring.token_signer(&mercy()).unwrap().kid(), kid);
    assert_ne!(old.kid(), kid);
    let keys = ring.token_keys(&mercy());
    assert_eq!(keys.len(), 2);
    let kept = keys.iter().find(|key| key.kid == old.kid()).unwrap();
    assert!(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &kept.point).verify(b"token", &signature).is_ok());
    ring.ensure(later + RETIRED_SHOWN_MS - 1).await.unwrap();
    assert_eq!(ring.token_keys(&mercy()).len(), 2);
    ring.ensure(later + RETIRED_SHOWN_MS).await.unwrap();
    assert_eq!(ring.token_keys(&mercy()).len(), 1);
}

#[tokio::test]
async fn rotations_within_one_millisecond_make_a_key_each() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let ring = ring(&store, NOW).await;
    let born = ring.token_signer(&mercy()).unwrap().kid().to_owned();
    let one = ring.rotate_token_key(&mercy(), NOW).await.unwrap();
    let two = ring.rotate_token_key(&mercy(), NOW).await.unwrap();
    assert_eq!(ring.token_signer(&mercy()).unwrap().kid(), two);
    let kids: std::collections::BTreeSet<_> = ring.token_keys(&mercy()).into_iter().map(|key| key.kid).collect();
    assert_eq!(kids, [born, one, two].into());
}

#[tokio::test]
async fn month_and_year_keys_are_there_before_they_are_needed() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let ring = ring(&store, NOW).await;
    assert_eq!(ring.audit_key("mercy", NOW).unwrap().kid(), "202611");
    assert_eq!(ring.audit_key("_system", NOW + 20 * DAY_MS).unwrap().kid(), "202612");
    let new_year = NOW + 60 * DAY_MS;
    assert!(ring.audit_key("mercy", new_year).is_err());
    ring.ensure(new_year).await.unwrap();
    assert_eq!(ring.audit_key("mercy", new_year).unwrap().kid(), "202701");
    let tag = |now| ring.patient_tag("mercy", "mercy", "P1", now).unwrap();
    assert_eq!(tag(NOW), tag(NOW + DAY_MS));
    assert_ne!(tag(NOW), tag(new_year), "a tag key lives one year");
    assert_ne!(tag(NOW), ring.patient_tag("other", "mercy", "P1", NOW).unwrap());
    assert_eq!(ring.patient_tags("mercy", "mercy", "P1").len(), 2);
    assert_eq!(ring.row_tag("mercy", "P1").unwrap(), ring.row_tag("mercy", "P1").unwrap());
    assert!(ring.seal_row("nobody", "x", b"").is_err());
}

#[tokio::test]
async fn two_nodes_that_start_at_once_end_with_the_same_keys() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let (one, two) = tokio::join!(ring(&store, NOW), ring(&store, NOW));
    let sealed = one.seal_row("mercy", "x", b"P1").unwrap();
    one.reload().await.unwrap();
    two.reload().await.unwrap();
    assert_eq!(two.open_row("mercy", "x", &sealed).unwrap(), b"P1");
    assert_eq!(one.token_keys(&mercy()), two.token_keys(&mercy()));
}

#[test]
fn months_follow_the_calendar() {
    assert_eq!(month_of(0), 197_001);
    assert_eq!(month_of(NOW), 202_611);
    assert_eq!(month_of(first_of_next_month(NOW)), 202_612);
    assert_eq!(month_of(first_of_next_month(1_798_675_200_000)), 202_701, "from 31 December");
}
