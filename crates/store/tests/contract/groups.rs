//! Requests that are committed together: what they do to each other is what they would do one after the other.

use store::*;

use super::tokens::{assertion, issue, mint};
use super::{NOW, on_every_engine};

/// Sends all at once, so that they wait together, and gives the answers in the order of the requests.
async fn at_once(store: &Store, issues: Vec<Issue>) -> Vec<Result<Issued, IssueRefusal>> {
    let asks: Vec<_> = issues
        .into_iter()
        .map(|issue| {
            let store = store.clone();
            tokio::spawn(async move { store.issue(issue).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask.await.unwrap());
    }
    answers
}

async fn started(store: &Store) -> usize {
    store.sessions(&"mercy".parse().unwrap(), &SessionFilter::default()).await.unwrap().len()
}

#[tokio::test]
async fn of_one_assertion_in_a_group_the_first_passes_and_the_others_stay() {
    on_every_engine(async |store| {
        let before = issue(200, 1, None, NOW);
        assert!(store.issue(before).await.unwrap().is_ok());
        let issues = (0..90).map(|n| {
            let mut one = issue(n, 1, None, NOW);
            match n % 3 {
                0 => one.assertion = assertion("shared"),
                1 => one.assertion = assertion("i200"),
                _ => {}
            }
            one
        });
        let answers = at_once(&store, issues.collect()).await;
        for (n, answer) in answers.iter().enumerate() {
            let fits =
                if n == 0 || n % 3 == 2 { answer.is_ok() } else { *answer == Err(IssueRefusal::AssertionReplayed) };
            assert!(fits, "{n}: {answer:?}");
        }
        assert_eq!(started(&store).await, 1 + 1 + 30);
        let mut elsewhere = assertion("shared");
        elsewhere.issuer = "other".into();
        assert!(store.use_assertion(elsewhere).await.unwrap(), "a jti is its issuer's");
    })
    .await;
}

#[tokio::test]
async fn of_one_ticket_in_a_group_the_first_it_fits_redeems_it() {
    on_every_engine(async |store| {
        for n in 0..20 {
            store.mint(mint(n, 1, NOW)).await.unwrap().unwrap();
        }
        let issues = (0..60u8).map(|n| {
            let mut one = issue(n, 1, Some([n % 20; 32]), NOW + 1 + i64::from(n));
            if n < 20 && n % 2 == 0 {
                one.session.patient_tag = [9; 16]; // another patient: the ticket is left for the next
            }
            if n >= 40 {
                one.ticket = Some([n + 100; 32]); // never minted
            }
            one
        });
        let answers = at_once(&store, issues.collect()).await;
        for (n, answer) in answers.iter().enumerate() {
            let won = (n < 20 && n % 2 == 1) || ((20..40).contains(&n) && n % 2 == 0);
            let fits = if won { answer.is_ok() } else { *answer == Err(IssueRefusal::TicketUnusable) };
            assert!(fits, "{n}: {answer:?}");
        }
        for n in 0..20u8 {
            let winner = if n % 2 == 1 { n } else { n + 20 };
            let used_at = store.find_ticket(&[n; 32]).await.unwrap().unwrap().used_at;
            assert_eq!(used_at, Some(NOW + 1 + i64::from(winner)), "{n}");
        }
        assert_eq!(started(&store).await, 20);
    })
    .await;
}

#[tokio::test]
async fn the_last_place_of_a_budget_goes_to_one_of_a_group() {
    on_every_engine(async |store| {
        for patient in [1, 2] {
            assert!(store.issue(issue(200 + patient, patient, None, NOW)).await.unwrap().is_ok());
        }
        for n in 0..30 {
            let mut ticket = mint(n, 10 + n, NOW);
            ticket.patients_per_hour = 100;
            store.mint(ticket).await.unwrap().unwrap();
        }
        // Each patient asks twice; 1 was counted before; one integration has a budget of its own.
        let issues = (0..64u8).map(|n| match n {
            60 | 61 => issue(n, 1, None, NOW + 2),
            62 | 63 => {
                let mut other = issue(n, n, None, NOW + 2);
                other.session.integration = "other".parse().unwrap();
                other
            }
            _ => issue(n, 10 + n / 2, (n % 2 == 0).then_some([n / 2; 32]), NOW + 2),
        });
        let answers = at_once(&store, issues.collect()).await;
        for (n, answer) in answers.iter().enumerate() {
            let inside = !(2..60).contains(&n);
            let fits = if inside { answer.is_ok() } else { *answer == Err(IssueRefusal::PatientBudgetSpent) };
            assert!(fits, "{n}: {answer:?}");
        }
        assert_eq!(started(&store).await, 2 + 2 + 4);
        let over = store.find_ticket(&[7; 32]).await.unwrap().unwrap();
        assert_eq!(over.used_at, Some(NOW + 2), "a ticket redeemed over budget stays used");
        assert!(!store.use_assertion(assertion("i30")).await.unwrap(), "and so does the assertion");
    })
    .await;
}

#[tokio::test]
async fn each_request_of_a_group_is_held_to_its_own_budget() {
    on_every_engine(async |store| {
        for patient in 0..6 {
            let mut one = issue(200 + patient, 100 + patient, None, NOW);
            one.patients_per_hour = 6;
            assert!(store.issue(one).await.unwrap().is_ok());
        }
        // Two approvals of one integration with two budgets: six patients are over the one and within the other.
        let issues = (0..12u8).map(|n| {
            let mut one = issue(n, n, None, NOW + 1);
            one.patients_per_hour = if n % 2 == 0 { 3 } else { 8 };
            one
        });
        let answers = at_once(&store, issues.collect()).await;
        let passed: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n).collect();
        assert_eq!(passed, [1, 3]);
    })
    .await;
}

#[tokio::test]
async fn a_group_of_every_kind_and_size_is_answered_one_by_one() {
    on_every_engine(async |store| {
        let (mut n, mut sessions) = (0u32, 0);
        for size in [1, 2, 5, 33, 130, 257, 600] {
            let mut asks = tokio::task::JoinSet::new();
            for _ in 0..size {
                n += 1;
                let store = store.clone();
                let id = n.to_be_bytes();
                asks.spawn(async move {
                    let mut key = [0; 32];
                    key[..4].copy_from_slice(&id);
                    let mut first = mint(1, 1, NOW);
                    first.assertion.jti = format!("mint {n}");
                    first.ticket.hash = key;
                    let mut second = issue(1, 1, Some(key), NOW + 1);
                    second.assertion.jti = format!("issue {n}");
                    second.session.id.0[..4].copy_from_slice(&id);
                    assert_eq!(store.mint(first).await.unwrap(), Ok(()), "{n}");
                    assert!(store.use_assertion(assertion(&format!("use {n}"))).await.unwrap(), "{n}");
                    assert_eq!(store.issue(second.clone()).await.unwrap(), Ok(Issued { feed: 0 }), "{n}");
                    let row = store.find_session(&second.session.id).await.unwrap().unwrap();
                    assert_eq!(row.session, second.session);
                });
            }
            while let Some(done) = asks.join_next().await {
                done.unwrap();
                sessions += 1;
            }
        }
        assert_eq!(started(&store).await, sessions.min(1000));
    })
    .await;
}
