//! Budgets hold whatever comes at once, and windows roll over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use domain::{Budgets, Class, Subject, TaskRef};
use proptest::prelude::*;

use super::*;

const AT_ONCE: usize = 64;

fn limits() -> Limits {
    Budgets::hourly(1).limits(Class::ClinicalAi)
}

fn kinds() -> Vec<ResourceType> {
    ResourceType::all().collect()
}

#[test]
fn the_minute_begins_with_its_first_request_and_rolls_over() {
    let purse = Purse::new(Limits { requests_per_minute: 2, ..limits() }, 1_000);
    assert!(purse.request(1_000).is_ok());
    assert!(purse.request(30_000).is_ok());
    let over = purse.request(31_500).unwrap_err();
    assert_eq!((over.first, over.retry_after), (true, Some(30)));
    let again = purse.request(60_999).unwrap_err();
    assert_eq!((again.first, again.retry_after), (false, Some(1)), "one alert for the window");
    assert!(purse.request(61_000).is_ok(), "what was refused was not counted");
    assert!(purse.request(61_000).is_ok());
    let over = purse.request(61_000).unwrap_err();
    assert_eq!((over.first, over.retry_after), (true, Some(60)), "a new window, a new alert");
    // A clock that went back frees nothing, and delays by a minute at most.
    assert_eq!(purse.request(5_000).unwrap_err().retry_after, Some(60));
    assert!(purse.request(65_000).is_ok());
}

#[test]
fn a_transaction_is_charged_whole_or_not_at_all() {
    let purse = Purse::new(Limits { requests_per_minute: 5, ..limits() }, 0);
    let at = |entries: usize| purse.request(0).and_then(|()| purse.entries(entries, 0));
    assert!(at(3).is_ok());
    let over = at(3).unwrap_err();
    assert_eq!(over.retry_after, Some(60));
    assert!(at(0).is_ok(), "an empty one is one request; the refused one left its own behind");
    assert!(purse.request(0).is_err());
    assert_eq!(purse.entries(6, 0).unwrap_err().retry_after, None, "six never fit into five");
    assert_eq!(purse.entries(usize::MAX, 0).unwrap_err().retry_after, None);
}

#[test]
fn bytes_and_types_are_charged_together_or_not_at_all() {
    let all = kinds();
    let purse = Purse::new(Limits { bytes_per_session: 100, types_per_session: 2, ..limits() }, 0);
    assert!(purse.take(50, &all[..1]).is_ok());
    let over = purse.take(10, &all[..3]).unwrap_err();
    assert_eq!((over.budget, over.first, over.retry_after), (Budget::TypesPerSession, true, None));
    assert!(purse.take(40, &all[1..2]).is_ok(), "the bytes of the refused one were not charged");
    let over = purse.take(11, &all[..2]).unwrap_err();
    assert_eq!((over.budget, over.first, over.retry_after), (Budget::BytesPerSession, true, None));
    assert!(purse.take(10, &all[..2]).is_ok(), "a smaller one still fits");
    assert!(purse.left().is_err());
    assert!(!purse.take(u64::MAX, &[]).unwrap_err().first);
}

#[test]
fn pages_are_counted_by_number() {
    let purse = Purse::new(Limits { pages_per_search: 3, ..limits() }, 0);
    for (number, fits) in [(1, true), (3, true), (4, false), (u32::MAX, false), (2, true)] {
        assert_eq!(purse.page(number).is_ok(), fits, "{number}");
    }
}

fn session(id: u8, expires_at: Millis) -> Session {
    Session {
        id: SessionId([id; 16]),
        tenant: "mercy".parse().unwrap(),
        integration: "sched".parse().unwrap(),
        epoch: 0,
        approval: domain::ApprovalId([1; 16]),
        task: TaskRef { name: "t".parse().unwrap(), version: 1 },
        purpose_of_use: "TREAT".into(),
        subject: Subject::Cohort,
        scopes: "patient/Observation.rs".parse().unwrap(),
        expires_at,
        feed: 0,
        jti: "j".into(),
        launch: domain::LaunchKind::Ticket,
        act: domain::Actor::default(),
        confirmation: None,
    }
}

#[test]
fn every_session_has_one_purse_of_its_own_for_as_long_as_it_may_live() {
    let purses = Purses::default();
    let few = || Limits { requests_per_minute: 1, ..limits() };
    // Both in one shard.
    let (a, b) = (session(1, 1_000), session(65, 900_000));
    assert!(purses.of(&a, few, 0).unwrap().request(0).is_ok());
    assert!(purses.of(&a, limits, 0).unwrap().request(0).is_err());
    assert!(purses.of(&b, few, 0).unwrap().request(0).is_ok(), "another session, another budget");
    // A request that began in time finds the purse that was spent, even when the session has ended meanwhile.
    let _ = purses.of(&session(129, 900_000), few, KEPT);
    assert!(purses.of(&a, few, 1_000).unwrap().request(1_000).is_err());
    let count = |purses: &Purses| purses.0.iter().map(|shard| shard.lock().purses.len()).sum::<usize>();
    assert_eq!(count(&purses), 3);
    let _ = purses.of(&session(193, 900_000), few, 2 * KEPT);
    assert_eq!(count(&purses), 3, "and it is forgotten after that");
}

#[test]
fn when_too_many_sessions_are_counted_the_next_is_refused() {
    let purses = Purses::default();
    let mut one = session(0, 900_000);
    for n in 0..SESSIONS_MAX / SHARDS {
        one.id.0[8..].copy_from_slice(&(n as u64).to_be_bytes());
        assert!(purses.of(&one, limits, 0).is_some());
    }
    assert!(purses.of(&one, limits, 0).is_some(), "those that are known go on");
    one.id.0[1] = 1;
    assert!(purses.of(&one, limits, 0).is_none());
    assert!(purses.of(&one, limits, 900_000 + KEPT).is_some(), "room is made of those that have ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_place_that_is_given_back_is_had_by_whoever_waits() {
    let purse = Arc::new(Purse::new(Limits { absent_per_session: 1, ..limits() }, 0));
    let asks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let purse = Arc::clone(&purse);
            tokio::spawn(async move { purse.place().await.map(drop).is_ok() })
        })
        .collect();
    for ask in asks {
        assert!(ask.await.unwrap(), "nobody is refused for what others did not spend");
    }
    assert!(purse.place().await.unwrap().spend());
    let refusal = purse.place().await.err().unwrap();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::AbsentBudgetSpent, None));
}

/// What one of many tasks does: so many bytes, of these types, and whether it is told "not there".
#[derive(Clone, Debug)]
struct Deed {
    bytes: u64,
    from: usize,
    types: usize,
    absent: bool,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = (0..50_u64, 0..20_usize, 0..4_usize, any::<bool>());
    let deed = deed.prop_map(|(bytes, from, types, absent)| Deed { bytes, from, types, absent });
    proptest::collection::vec(deed, AT_ONCE..3 * AT_ONCE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// S1-24, S1-25: 64 tasks at once, all budgets at once; none is ever exceeded, and what has no size of its own is used whole.
    #[test]
    fn no_budget_is_exceeded_by_tasks_at_once(
        deeds in deeds(),
        requests in 1..300_u32,
        bytes in 1..3_000_u64,
        types in 1..12_u32,
        absents in 1..60_u32,
    ) {
        let limits = Limits {
            requests_per_minute: requests,
            bytes_per_session: bytes,
            types_per_session: types,
            absent_per_session: absents,
            ..limits()
        };
        let purse = Arc::new(Purse::new(limits, 0));
        let had = Arc::new((AtomicU32::new(0), AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0)));
        let released = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
        let total = u32::try_from(deeds.len()).unwrap();
        let wanted = u32::try_from(deeds.iter().filter(|deed| deed.absent).count()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let lanes: Vec<Vec<Deed>> =
            (0..AT_ONCE).map(|lane| deeds.iter().skip(lane).step_by(AT_ONCE).cloned().collect()).collect();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for lane in lanes {
                let (purse, had, released) = (Arc::clone(&purse), Arc::clone(&had), Arc::clone(&released));
                tasks.spawn(async move {
                    let all = kinds();
                    for Deed { bytes, from, types, absent } in lane {
                        had.0.fetch_add(u32::from(purse.request(1).is_ok()), SeqCst);
                        if let Ok(place) = purse.place().await {
                            tokio::task::yield_now().await;
                            if absent {
                                had.2.fetch_add(1, SeqCst);
                                had.3.fetch_add(u32::from(place.spend()), SeqCst);
                            }
                        }
                        let kinds = &all[from..from + types];
                        if purse.take(bytes, kinds).is_ok() {
                            had.1.fetch_add(bytes, SeqCst);
                            released.lock().extend(kinds.iter().copied());
                        }
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
        });
        prop_assert_eq!(had.0.load(SeqCst), total.min(requests));
        prop_assert!(had.1.load(SeqCst) <= bytes);
        prop_assert!(released.lock().len() <= types as usize);
        prop_assert_eq!(had.2.load(SeqCst), wanted.min(absents));
        prop_assert_eq!(had.3.load(SeqCst), u32::from(wanted >= absents), "the last one is told once");
        let spent = purse.spent.lock();
        prop_assert_eq!((spent.requests, spent.bytes), (had.0.load(SeqCst), had.1.load(SeqCst)));
        prop_assert_eq!(spent.types.len(), released.lock().len());
    }
}
