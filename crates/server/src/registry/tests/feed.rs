//! Two processes on one store: each sees the other's changes, ends of sessions and marks within a second.

use std::time::Duration;

use axum::http::StatusCode;
use domain::session::LaunchKind;
use domain::{ApprovalId, SessionId};
use serde_json::{Value, json};
use store::{Change, FilterRow, FilterState, Issue, NewSession, Store, UsedAssertion};

use super::{Bench, NOW, mercy, registration};

async fn within_a_second(seen: impl Fn() -> bool) -> bool {
    for _ in 0..100 {
        if seen() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn session(store: &Store, byte: u8) -> SessionId {
    let session = NewSession {
        id: SessionId([byte; 16]),
        tenant: mercy(),
        integration: "sched".parse().unwrap(),
        approval: ApprovalId([1; 16]),
        task: super::super::api::task_ref("scheduling@1").unwrap(),
        epoch: 1,
        launch: LaunchKind::Ticket,
        patient_sealed: vec![1],
        patient_tag: [1; 16],
        scope: "patient/Patient.rs".into(),
        jti: "j".into(),
        created_at: NOW,
        expires_at: NOW + 900_000,
    };
    let assertion = UsedAssertion { issuer: "sched".into(), jti: byte.to_string(), expires_at: NOW + 1 };
    let id = session.id;
    store
        .issue(Issue { assertion, ticket: None, person: None, session, patients_per_hour: 10, patients_per_day: 100 })
        .await
        .unwrap()
        .unwrap();
    id
}

#[tokio::test]
async fn changes_reach_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("hilum.db").display());
    let one = Bench::on(Store::open(&url).await.unwrap()).await;
    let two = Bench::on(Store::open(&url).await.unwrap()).await;
    one.staff().await;
    let id = one.approved().await;
    assert!(one.registry.snapshot().standing(&id, NOW).is_ok(), "at once where it was made");
    assert!(within_a_second(|| two.registry.snapshot().standing(&id, NOW).is_ok()).await);
    assert_eq!(one.registry.feed(), two.registry.feed());
    let sid = session(&one.store, 9).await;
    let path = format!("/tenants/mercy/sessions/{sid}/end");
    let (status, shown) = one.olga("POST", &path, json!({})).await;
    assert_eq!((status, shown["ended_by"].as_str()), (StatusCode::OK, Some("olga@mercy.example")), "{shown}");
    assert!(one.registry.session_ended(&sid), "at once");
    assert!(within_a_second(|| two.registry.session_ended(&sid)).await);
    assert!(!two.registry.session_ended(&SessionId([8; 16])));
    let kind = "Observation".parse().unwrap();
    two.registry.poison(&mercy(), kind, "patient").await;
    assert!(two.registry.snapshot().rules(&mercy()).unwrap().filters.poisoned.contains(&(kind, "patient".into())));
    assert!(
        within_a_second(|| one.registry.snapshot().filters(&mercy()).any(|row| row.state == FilterState::Poisoned))
            .await
    );
    let (_, list) = one.olga("GET", "/tenants/mercy/filters", Value::Null).await;
    assert_eq!(list["items"][0]["state"], "poisoned");
    // A process that starts later knows what ended before.
    let three = Bench::on(Store::open(&url).await.unwrap()).await;
    assert!(three.registry.session_ended(&sid));
    assert!(three.registry.fresh());
}

#[tokio::test]
async fn a_gap_in_the_feed_reads_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("hilum.db").display());
    let one = Bench::on(Store::open(&url).await.unwrap()).await;
    one.staff().await;
    let old = one.registry.snapshot();
    one.register(registration()).await;
    let sid = session(&one.store, 5).await;
    one.store.end_session(&sid, NOW, "x").await.unwrap();
    one.store.purge(NOW + 2 * 3_600_000).await.unwrap();
    one.register({
        let mut body = registration();
        body["vendor"] = json!("Other");
        body
    })
    .await;
    // As if this node had slept through all of it.
    one.registry.0.snapshot.store(old);
    assert!(one.registry.reached(one.store.feed().await.unwrap()).await);
    assert_eq!(one.registry.snapshot().integration(&"sched".parse().unwrap()).unwrap().vendor, "Other");
    assert!(one.registry.session_ended(&sid));
    assert!(!one.registry.reached(1_000).await, "a number nobody gave out is not reached");
}

#[tokio::test]
async fn a_session_is_ended_in_its_own_tenant_only() {
    let bench = Bench::new().await;
    bench.staff().await;
    let sid = session(&bench.store, 3).await;
    assert!(!bench.registry.end_session(&"other".parse().unwrap(), &sid, "x").await.unwrap());
    assert!(!bench.registry.session_ended(&sid));
    assert!(bench.registry.end_session(&mercy(), &sid, "sched").await.unwrap());
    assert!(!bench.registry.end_session(&mercy(), &sid, "sched").await.unwrap(), "once");
    assert!(bench.registry.session_ended(&sid));
    let kinds: Vec<_> = bench.fake.records.lock().iter().map(|record| record.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == domain::audit::Kind::SessionEnd).count(), 1);
    let (_, shown) = bench.olga("GET", &format!("/tenants/mercy/sessions/{sid}"), Value::Null).await;
    assert!(shown.get("patient").is_none(), "no patient is shown: {shown}");
    let (_, live) = bench.olga("GET", "/tenants/mercy/sessions?live=true", Value::Null).await;
    assert_eq!(live["items"], json!([]));
}

#[tokio::test]
async fn a_node_whose_store_is_silent_stops() {
    let at = Duration::from_secs;
    assert!(super::super::fresh_at(at(130), at(100)));
    assert!(!super::super::fresh_at(at(131), at(100)));
    let bench = Bench::new().await;
    bench.store.close().await;
    assert!(bench.registry.poll().await.is_err());
    assert!(!bench.registry.reached(99).await);
    bench.staff_token_fails().await;
}

#[tokio::test]
async fn a_filter_the_upstream_ignored_is_refused_even_when_the_store_fails() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("hilum.db").display());
    let bench = Bench::on(Store::open(&url).await.unwrap()).await;
    let kind = "Observation".parse().unwrap();
    let proved =
        FilterRow { tenant: mercy(), kind: "Observation".into(), param: "patient".into(), state: FilterState::Proved };
    let change = Change { filters: vec![proved], ..Change::default() };
    bench.store.apply(&change, NOW).await.unwrap().unwrap();
    bench.registry.poll().await.unwrap();
    let filters = || bench.registry.snapshot().rules(&mercy()).unwrap().filters.clone();
    assert!(filters().proved.contains(&(kind, "patient".into())));
    bench.store.close().await;
    bench.registry.poison(&mercy(), kind, "patient").await;
    bench.registry.poison(&mercy(), kind, "subject").await;
    for param in ["patient", "subject"] {
        assert!(filters().poisoned.contains(&(kind, param.into())), "{param}");
        assert!(!filters().proved.contains(&(kind, param.into())), "{param}");
    }
    // A snapshot that is built anew keeps them.
    let rows = store::RegistryRows { feed: bench.registry.feed(), ..store::RegistryRows::default() };
    bench.registry.publish(super::super::Snapshot::build(&[super::tenant("mercy")], rows));
    assert!(filters().poisoned.contains(&(kind, "patient".into())));
}

#[tokio::test]
async fn a_mark_the_store_did_not_take_is_offered_again() {
    let bench = Bench::new().await;
    let kind = "Observation".parse().unwrap();
    // As a failed write leaves it.
    bench.registry.mark(|marks| marks.extend([(mercy(), kind, "patient".to_owned())]));
    let kept = async || bench.store.filters().await.unwrap().iter().any(|row| row.state == FilterState::Poisoned);
    for _ in 0..100 {
        if kept().await && bench.registry.0.marks.lock().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(kept().await && bench.registry.0.marks.lock().is_empty());
    assert!(bench.registry.snapshot().rules(&mercy()).unwrap().filters.poisoned.contains(&(kind, "patient".into())));
}
