//! Assertions, tickets, sessions, budgets and the purge.

use domain::session::LaunchKind;
use domain::*;
use store::*;

use super::{NOW, on_every_engine, profile};

const MINUTE: Millis = 60_000;

pub fn assertion(jti: &str) -> UsedAssertion {
    UsedAssertion { issuer: "sched".into(), jti: jti.into(), expires_at: NOW + 5 * MINUTE }
}

pub fn issue(n: u8, patient: u8, ticket: Option<[u8; 32]>, at: Millis) -> Issue {
    let session = NewSession {
        id: SessionId([n; 16]),
        tenant: "mercy".parse().unwrap(),
        integration: "sched".parse().unwrap(),
        approval: ApprovalId([1; 16]),
        task: profile(1).reference(),
        epoch: 3,
        launch: LaunchKind::Ticket,
        patient_sealed: vec![patient, patient],
        patient_tag: [patient; 16],
        scope: "patient/Patient.rs".into(),
        jti: format!("t{n}"),
        created_at: at,
        expires_at: at + 15 * MINUTE,
    };
    Issue {
        assertion: assertion(&format!("i{n}")),
        ticket,
        person: None,
        session,
        patients_per_hour: 3,
        patients_per_day: 100,
    }
}

pub fn mint(n: u8, patient: u8, at: Millis) -> Mint {
    let ticket = NewTicket {
        hash: [n; 32],
        tenant: "mercy".parse().unwrap(),
        launcher: "engine".parse().unwrap(),
        integration: "sched".parse().unwrap(),
        task: "scheduling".parse().unwrap(),
        patient_sealed: vec![patient],
        patient_tag: [patient; 16],
        encounter_sealed: n.is_multiple_of(2).then(|| vec![n]),
        created_at: at,
        expires_at: at + 5 * MINUTE,
    };
    Mint { assertion: assertion(&format!("m{n}")), ticket, patients_per_hour: 2, patients_per_day: 100 }
}

#[tokio::test]
async fn an_assertion_is_used_once_however_many_ask() {
    on_every_engine(async |store| {
        let asks = (0..50).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.use_assertion(assertion("one")).await.unwrap() })
        });
        let mut accepted = 0;
        for ask in asks.collect::<Vec<_>>() {
            accepted += u32::from(ask.await.unwrap());
        }
        assert_eq!(accepted, 1);
    })
    .await;
}

#[tokio::test]
async fn a_ticket_is_redeemed_once_by_the_right_one_in_time() {
    on_every_engine(async |store| {
        store.mint(mint(1, 7, NOW)).await.unwrap().unwrap();
        store.mint(mint(2, 7, NOW)).await.unwrap().unwrap();
        let found = store.find_ticket(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((found.ticket, found.used_at), (mint(2, 7, NOW).ticket, None));
        assert!(store.find_ticket(&[9; 32]).await.unwrap().is_none());
        let mut wrong = issue(1, 7, Some([1; 32]), NOW + 1);
        wrong.session.integration = "other".parse().unwrap();
        assert_eq!(store.issue(wrong).await.unwrap(), Err(IssueRefusal::TicketUnusable));
        let other_patient = issue(2, 8, Some([1; 32]), NOW + 1);
        assert_eq!(store.issue(other_patient).await.unwrap(), Err(IssueRefusal::TicketUnusable));
        let late = issue(3, 7, Some([1; 32]), NOW + 5 * MINUTE);
        assert_eq!(store.issue(late).await.unwrap(), Err(IssueRefusal::TicketUnusable));
        let mut raced = Vec::new();
        for n in 10..30 {
            let store = store.clone();
            raced.push(tokio::spawn(async move { store.issue(issue(n, 7, Some([1; 32]), NOW + 1)).await.unwrap() }));
        }
        let mut won = 0;
        for one in raced {
            won += u32::from(one.await.unwrap().is_ok());
        }
        assert_eq!(won, 1, "one session per ticket");
        assert_eq!(store.find_ticket(&[1; 32]).await.unwrap().unwrap().used_at, Some(NOW + 1));
        let all = store.sessions(&"mercy".parse().unwrap(), &SessionFilter::default()).await.unwrap();
        assert_eq!(all.len(), 1, "a refused request starts nothing");
    })
    .await;
}

#[tokio::test]
async fn one_refusal_leaves_its_neighbours_alone() {
    on_every_engine(async |store| {
        // Two sessions with one id: the second breaks the primary key, which fails the whole group once.
        let mut twin = issue(1, 1, None, NOW);
        twin.assertion = assertion("twin");
        let mut replay = issue(2, 1, None, NOW);
        replay.assertion = assertion("i3");
        let (a, b, c, d) = tokio::join!(
            store.issue(issue(1, 1, None, NOW)),
            store.issue(twin),
            store.issue(issue(3, 1, None, NOW)),
            store.issue(replay),
        );
        assert!(a.is_ok() != b.is_ok(), "one of the twins");
        assert!(c.unwrap().is_ok() != d.unwrap().is_ok(), "one of the two with one assertion");
        let all = store.sessions(&"mercy".parse().unwrap(), &SessionFilter::default()).await.unwrap();
        assert_eq!(all.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn distinct_patients_are_counted_over_the_last_hour() {
    on_every_engine(async |store| {
        for (n, patient) in [(1, 1), (2, 2), (3, 1), (4, 3)] {
            assert!(store.issue(issue(n, patient, None, NOW)).await.unwrap().is_ok(), "{n}");
        }
        let fourth = store.issue(issue(5, 4, None, NOW + 1)).await.unwrap();
        assert_eq!(fourth, Err(IssueRefusal::PatientBudgetSpent));
        assert!(store.issue(issue(6, 2, None, NOW + 30 * MINUTE)).await.unwrap().is_ok(), "a known patient still");
        let later = NOW + 60 * MINUTE;
        assert!(store.issue(issue(7, 4, None, later)).await.unwrap().is_ok(), "1 and 3 have left the window");
        assert!(store.issue(issue(8, 5, None, later)).await.unwrap().is_ok());
        assert_eq!(store.issue(issue(9, 6, None, later)).await.unwrap(), Err(IssueRefusal::PatientBudgetSpent));
        assert!(store.mint(mint(1, 1, NOW)).await.unwrap().is_ok());
        assert!(store.mint(mint(2, 2, NOW)).await.unwrap().is_ok());
        assert_eq!(store.mint(mint(3, 3, NOW)).await.unwrap(), Err(IssueRefusal::PatientBudgetSpent));
    })
    .await;
}

#[tokio::test]
async fn distinct_patients_are_counted_over_the_last_day() {
    on_every_engine(async |store| {
        let hour = 60 * MINUTE;
        let ask = async |n: u8, patient: u8, at: Millis| {
            let mut one = issue(n, patient, None, at);
            (one.patients_per_hour, one.patients_per_day) = (2, 3);
            store.issue(one).await.unwrap().map(drop)
        };
        for (n, patient, at) in [(1, 1, NOW), (2, 2, NOW), (3, 3, NOW + hour)] {
            assert_eq!(ask(n, patient, at).await, Ok(()), "{n}");
        }
        assert_eq!(ask(4, 4, NOW + 2 * hour).await, Err(IssueRefusal::PatientDayBudgetSpent));
        // Patients of the day take a place of the hour again, and of the day none; a refused one takes neither.
        assert_eq!(ask(5, 1, NOW + 3 * hour).await, Ok(()));
        assert_eq!(ask(6, 3, NOW + 3 * hour).await, Ok(()));
        assert_eq!(ask(7, 2, NOW + 3 * hour).await, Err(IssueRefusal::PatientBudgetSpent));
        // 2 leaves the window of the day, whatever the purge has done.
        while store.purge(NOW + 24 * hour).await.unwrap() {}
        assert_eq!(ask(8, 4, NOW + 24 * hour).await, Ok(()));
        assert_eq!(ask(9, 5, NOW + 24 * hour).await, Err(IssueRefusal::PatientDayBudgetSpent));
    })
    .await;
}

#[tokio::test]
async fn a_budget_holds_when_many_ask_at_once() {
    on_every_engine(async |store| {
        let asks: Vec<_> = (0..40)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.issue(issue(n, n, None, NOW)).await.unwrap() })
            })
            .collect();
        let mut started = 0;
        for ask in asks {
            started += u32::from(ask.await.unwrap().is_ok());
        }
        assert_eq!(started, 3);
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_once_and_tells_the_feed() {
    on_every_engine(async |store| {
        let issued = store.issue(issue(1, 1, None, NOW)).await.unwrap().unwrap();
        assert_eq!(issued.feed, 0);
        store.issue(issue(2, 2, None, NOW + 1)).await.unwrap().unwrap();
        let id = SessionId([1; 16]);
        assert_eq!(store.end_session(&id, NOW + 5, "dana@x").await.unwrap(), Some(1));
        assert_eq!(store.end_session(&id, NOW + 6, "dana@x").await.unwrap(), None);
        assert_eq!(store.end_session(&SessionId([9; 16]), NOW, "dana@x").await.unwrap(), None);
        let row = store.find_session(&id).await.unwrap().unwrap();
        assert_eq!(row.session, issue(1, 1, None, NOW).session);
        assert_eq!(row.ended, Some(Ended { at: NOW + 5, by: "dana@x".into() }));
        assert_eq!(store.ended_since(NOW + 5).await.unwrap(), [id]);
        assert!(store.ended_since(NOW + 6).await.unwrap().is_empty());
        let entry = FeedEntry { n: 1, kind: FeedKind::SessionEnded, key: id.to_string() };
        assert_eq!(store.feed_since(0).await.unwrap(), [entry]);
        assert_eq!(store.issue(issue(3, 2, None, NOW)).await.unwrap().unwrap().feed, 1);
    })
    .await;
}

#[tokio::test]
async fn sessions_are_listed_by_what_is_asked() {
    on_every_engine(async |store| {
        for (n, patient) in [(1, 1), (2, 2), (3, 1)] {
            store.issue(issue(n, patient, None, NOW + i64::from(n))).await.unwrap().unwrap();
        }
        store.end_session(&SessionId([3; 16]), NOW + 10, "x").await.unwrap();
        let list = async |filter: SessionFilter| {
            let rows = store.sessions(&"mercy".parse().unwrap(), &filter).await.unwrap();
            rows.into_iter().map(|row| row.session.id.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(list(SessionFilter::default()).await, [3, 2, 1]);
        assert_eq!(list(SessionFilter { patient_tag: Some([1; 16]), ..Default::default() }).await, [3, 1]);
        assert_eq!(list(SessionFilter { live_at: Some(NOW + 20), ..Default::default() }).await, [2, 1]);
        assert_eq!(list(SessionFilter { live_at: Some(NOW + 16 * MINUTE), ..Default::default() }).await, [0u8; 0]);
        assert_eq!(list(SessionFilter { before: Some(NOW + 3), limit: 1, ..Default::default() }).await, [2]);
        let other = Some("other".parse().unwrap());
        assert_eq!(list(SessionFilter { integration: other, ..Default::default() }).await, [0u8; 0]);
        assert!(store.sessions(&"other".parse().unwrap(), &SessionFilter::default()).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_purge_takes_what_expired_and_nothing_else() {
    on_every_engine(async |store| {
        store.mint(mint(1, 7, NOW)).await.unwrap().unwrap();
        store.issue(issue(1, 1, None, NOW)).await.unwrap().unwrap();
        store.end_session(&SessionId([1; 16]), NOW, "x").await.unwrap();
        assert!(!store.purge(NOW + 14 * MINUTE).await.unwrap());
        assert!(!store.use_assertion(assertion("i1")).await.unwrap(), "kept while a slow clock could accept it");
        store.purge(NOW + 120 * MINUTE + 1).await.unwrap();
        assert!(store.use_assertion(assertion("i1")).await.unwrap());
        assert!(store.find_ticket(&[1; 32]).await.unwrap().is_none());
        assert!(store.find_session(&SessionId([1; 16])).await.unwrap().is_some(), "a week");
        assert!(store.feed_since(0).await.unwrap().is_empty());
        assert_eq!(store.feed().await.unwrap(), 1, "the number stays");
        store.purge(NOW + 8 * 24 * 60 * MINUTE).await.unwrap();
        assert!(store.find_session(&SessionId([1; 16])).await.unwrap().is_none());
    })
    .await;
}
