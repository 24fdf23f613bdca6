//! Budgets through the whole server, with 64 clients at once (S1-24, S1-25): never more than the budget, refusals on record, one alert.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use domain::Budgets;
use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{ABSENT_BUDGET, BUDGETS, Gate, Reply};

const AT_ONCE: usize = 64;
const KOBS: &str = "patient/Observation.rs";

async fn gate() -> Gate {
    // 64 calls at once on a busy machine.
    Gate::start_with(|ehr| ehr, |tenant| tenant.upstream.timeout = Duration::from_secs(60)).await
}

/// 64 requests at once, over these paths in turn.
async fn at_once(gate: &Gate, token: &str, paths: &[&str]) -> Vec<Reply> {
    join_all((0..AT_ONCE).map(|n| gate.get(token, paths[n % paths.len()]))).await
}

fn with(replies: &[Reply], status: u16) -> Vec<&Reply> {
    replies.iter().filter(|reply| reply.status == status).collect()
}

/// How many records of this kind have this reason.
async fn recorded(gate: &Gate, kind: &str, reason: &str) -> usize {
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    found.records.iter().filter(|record| record.kind == kind && record.reason == reason).count()
}

/// Every refusal is on record with its reason, and there was one alert.
async fn told(gate: &Gate, reason: &str, refused: usize) {
    assert_eq!(recorded(gate, "fhir.denied", reason).await, refused, "{reason}");
    assert_eq!(recorded(gate, "alert", reason).await, 1, "{reason}: one alert");
}

fn refused(reply: &Reply, budget: &str, retry_after: &str) {
    assert_eq!((reply.status, reply.header("retry-after")), (429, retry_after), "{}", reply.text());
    let outcome = reply.json();
    assert_eq!(outcome["issue"][0]["code"], "throttled");
    assert!(outcome["issue"][0]["details"]["text"].as_str().unwrap().contains(&format!("`{budget}`")), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_24_requests_per_minute() {
    let gate = gate().await;
    let budgets = Budgets { requests_per_minute: Some(20), ..BUDGETS };
    let (token, other) = (gate.token_within(budgets, KOBS).await, gate.token_within(budgets, KOBS).await);
    // Requests that cannot be understood count like any other.
    let replies = at_once(&gate, &token, &["Observation/O1", "Observation?bad=1"]).await;
    let over = with(&replies, 429);
    assert_eq!(over.len(), AT_ONCE - 20);
    over.iter().for_each(|reply| refused(reply, "requests_per_minute", "60"));
    assert_eq!(gate.upstream.requests.count(), with(&replies, 200).len(), "refused before the upstream is asked");
    assert_eq!(gate.get(&other, "Observation/O1").await.status, 200, "another integration is not affected");
    told(&gate, "request-budget-spent", AT_ONCE - 20).await;
    gate.clock.advance(45_500);
    refused(&gate.get(&token, "Observation/O1").await, "requests_per_minute", "15");
    gate.clock.advance(14_500);
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "the next minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_bundles_are_requests() {
    let gate = gate().await;
    let budgets = Budgets { requests_per_minute: Some(6), ..BUDGETS };
    let send = async |token: &str, kind: &str, count: usize| {
        let entries = vec![json!({"request": {"method": "GET", "url": "Observation/O1"}}); count];
        let body = json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        gate.send("POST", "", &headers, &body).await
    };
    let token = gate.token_within(budgets, KOBS).await;
    let reply = send(&token, "batch", 8).await.json();
    let statuses: Vec<&str> =
        reply["entry"].as_array().unwrap().iter().map(|entry| entry["response"]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "200", "200", "429", "429"]);
    told(&gate, "request-budget-spent", 2).await;
    let token = gate.token_within(budgets, KOBS).await;
    assert_eq!(send(&token, "transaction", 4).await.status, 200);
    refused(&send(&token, "transaction", 3).await, "requests_per_minute", "60");
    refused(&send(&gate.token_within(budgets, KOBS).await, "transaction", 7).await, "requests_per_minute", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_24_bytes_per_session() {
    let gate = gate().await;
    let size = gate.get(&gate.token(KOBS).await, "Observation/O1").await.body.len();
    let bytes = u64::try_from(size * 10 + size / 2).unwrap();
    let token = gate.token_within(Budgets { bytes_per_session: Some(bytes), ..BUDGETS }, KOBS).await;
    let replies = at_once(&gate, &token, &["Observation/O1"]).await;
    assert_eq!(with(&replies, 200).len(), 10);
    let over = with(&replies, 429);
    assert_eq!(over.len(), AT_ONCE - 10);
    over.iter().for_each(|reply| refused(reply, "bytes_per_session", ""));
    gate.clock.advance(120_000);
    refused(&gate.get(&token, "Observation/O1").await, "bytes_per_session", "");
    told(&gate, "byte-budget-spent", AT_ONCE - 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_25_types_per_session() {
    let gate = gate().await;
    let budgets = Budgets { types_per_session: Some(2), ..BUDGETS };
    let token = gate.token_within(budgets, "patient/Patient.rs patient/Observation.rs patient/Encounter.rs").await;
    let paths = ["Patient/P1", "Observation/O1", "Encounter?patient=P1", "Observation?_include=Observation:subject"];
    let replies = at_once(&gate, &token, &paths).await;
    let mut types = BTreeSet::new();
    for reply in with(&replies, 200) {
        let body = reply.json();
        let entries = body["entry"].as_array().cloned().unwrap_or_else(|| vec![json!({"resource": body})]);
        types.extend(entries.iter().map(|entry| entry["resource"]["resourceType"].as_str().unwrap().to_owned()));
    }
    types.remove("Bundle");
    assert_eq!(types.len(), 2, "{types:?}");
    let over = with(&replies, 429);
    over.iter().for_each(|reply| refused(reply, "types_per_session", ""));
    assert_eq!(with(&replies, 200).len() + over.len(), AT_ONCE);
    told(&gate, "type-budget-spent", over.len()).await;
    let known = if types.contains("Patient") { "Patient/P1" } else { "Observation/O1" };
    assert_eq!(gate.get(&token, known).await.status, 200, "a type it has had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_24_pages_per_search() {
    let gate = gate().await;
    let token = gate.token_within(Budgets { pages_per_search: Some(2), ..BUDGETS }, KOBS).await;
    let first = gate.get(&token, "Observation?_count=1").await;
    let second = gate.follow(&token, &first.link("next").unwrap()).await;
    assert_eq!(second.status, 200, "{}", second.text());
    // Shown, so that nobody takes the second page for the last one.
    let third = second.link("next").unwrap();
    let replies = join_all((0..AT_ONCE).map(|_| gate.follow(&token, &third))).await;
    replies.iter().for_each(|reply| refused(reply, "pages_per_search", ""));
    told(&gate, "page-budget-spent", AT_ONCE).await;
    let again = gate.follow(&token, &first.link("next").unwrap()).await;
    assert_eq!(again.status, 200, "a page within the budget, also again");
    assert_eq!(gate.get(&token, "Observation?_count=1&status=final").await.status, 200, "another search");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_and_foreign_answers_at_once_are_no_more_than_the_budget() {
    let gate = gate().await;
    let token = gate.token(KOBS).await;
    // More at once than there are places: whoever finds something is not refused for it.
    assert_eq!(with(&at_once(&gate, &token, &["Observation/O1"]).await, 200).len(), AT_ONCE);
    let replies = at_once(&gate, &token, &["Observation/O2", "Observation/none"]).await;
    assert_eq!(with(&replies, 404).len(), ABSENT_BUDGET as usize);
    let over = with(&replies, 429);
    assert_eq!(over.len(), AT_ONCE - ABSENT_BUDGET as usize);
    over.iter().for_each(|reply| refused(reply, "absent_per_session", ""));
    told(&gate, "absent-budget-spent", over.len()).await;
}

/// What was changed is answered as changed; what it says is withheld where there are no bytes left for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_made_is_never_answered_429() {
    let gate = gate().await;
    let budgets = Budgets { bytes_per_session: Some(10), ..BUDGETS };
    let token = gate.token_within(budgets, "patient/Observation.cruds").await;
    let body: Value = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/P1"}});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let reply = gate.send("POST", "Observation", &headers, &body.to_string()).await;
    assert_eq!((reply.status, reply.body.len()), (201, 0), "{}", reply.text());
    assert!(reply.header("location").contains("Observation/"));
    assert_eq!(recorded(&gate, "fhir.create", "byte-budget-spent").await, 1, "on record with its outcome");
    assert_eq!(recorded(&gate, "alert", "byte-budget-spent").await, 1);
    refused(&gate.get(&token, "Observation/O1").await, "bytes_per_session", "");
}
