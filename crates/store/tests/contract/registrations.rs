//! Requests to be registered: limited, forgotten, and closed by what was asked for (DC-01).

use store::*;

use super::{NOW, integration, on_every_engine, put};

const LIMITS: RegistrationLimits = RegistrationLimits { waiting_max: 3, peer_max: 2, window: 1_000 };

fn asked(id: &str, peer: u8, at: i64) -> NewRegistration {
    NewRegistration {
        id: id.parse().unwrap(),
        tenant: "mercy".parse().unwrap(),
        body: format!("{{\"client_name\":\"{id}\"}}"),
        peer_tag: [peer; 16],
        created_at: at,
        expires_at: at + 10_000,
    }
}

#[tokio::test]
async fn requests_are_limited_by_address_and_in_all() {
    on_every_engine(async |store| {
        let ask = async |id: &str, peer: u8, at: i64| {
            let new = asked(id, peer, at);
            let room = store.has_registration_room(&new.tenant, &new.peer_tag, LIMITS, at).await.unwrap();
            let kept = store.request_registration(&new, LIMITS).await.unwrap();
            assert_eq!(room, kept, "{id}");
            kept
        };
        assert!(ask("a", 1, NOW).await && ask("b", 1, NOW + 1).await);
        assert!(!ask("c", 1, NOW + 2).await, "too many from there");
        assert!(ask("c", 2, NOW + 2).await);
        assert!(!ask("d", 3, NOW + 2).await, "too many wait");
        let elsewhere = NewRegistration { tenant: "other".parse().unwrap(), ..asked("e", 1, NOW + 2) };
        assert!(store.request_registration(&elsewhere, LIMITS).await.unwrap(), "tenants do not share");
        let mercy = "mercy".parse().unwrap();
        assert!(store.reject_registration(&mercy, &"a".parse().unwrap(), NOW + 3).await.unwrap());
        assert!(!store.reject_registration(&mercy, &"a".parse().unwrap(), NOW + 3).await.unwrap(), "once");
        assert!(!ask("d", 1, NOW + 4).await, "a rejected one was still asked");
        assert!(ask("d", 1, NOW + 1_001).await, "the window has passed");
        assert!(ask("f", 9, NOW + 10_002).await, "what expired waits no more");
        assert!(store.request_registration(&asked("f", 8, NOW + 20_000), LIMITS).await.is_err(), "ids are unique");
    })
    .await;
}

#[tokio::test]
async fn a_request_is_its_tenants_and_ends() {
    on_every_engine(async |store| {
        let (mercy, other) = ("mercy".parse().unwrap(), "other".parse().unwrap());
        let id = "a".parse().unwrap();
        for (name, at) in [("a", NOW), ("b", NOW + 1)] {
            assert!(store.request_registration(&asked(name, 1, at), LIMITS).await.unwrap());
        }
        let listed = store.registrations(&mercy, NOW + 2).await.unwrap();
        assert_eq!(listed.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b", "a"], "newest first");
        assert_eq!((listed[1].state, listed[1].decided_at), (RegistrationState::Requested, None));
        assert!(store.registrations(&other, NOW + 2).await.unwrap().is_empty());
        assert_eq!(store.find_registration(&other, &id, NOW + 2).await.unwrap(), None);
        assert!(!store.reject_registration(&other, &id, NOW + 2).await.unwrap());
        assert_eq!(store.find_registration(&mercy, &id, NOW + 10_000).await.unwrap(), None, "expired");
        // Registering an integration with that id closes it, in its own tenant only.
        let change = Change { integrations: vec![put(integration("b", "other"), &[], None)], ..Change::default() };
        store.apply(&change, NOW + 3).await.unwrap().unwrap();
        let state = async |id: &str| {
            let row = store.find_registration(&mercy, &id.parse().unwrap(), NOW + 4).await.unwrap().unwrap();
            (row.state, row.decided_at)
        };
        assert_eq!(state("b").await, (RegistrationState::Requested, None));
        let change = Change { integrations: vec![put(integration("a", "mercy"), &[], None)], ..Change::default() };
        store.apply(&change, NOW + 3).await.unwrap().unwrap();
        assert_eq!(state("a").await, (RegistrationState::Registered, Some(NOW + 3)));
        while store.purge(NOW + 24 * 3_600_000).await.unwrap() {}
        assert!(store.registrations(&mercy, NOW).await.unwrap().is_empty(), "purged");
    })
    .await;
}
