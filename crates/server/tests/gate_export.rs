//! Bulk export through the whole server (b.11, S1-12 … S1-15).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use domain::{Class, LaunchMode, Subject, Terms};
use serde_json::json;
use support::{BUDGETS, Gate};

/// Every way to ask for an export that somebody may think of.
const SPELLINGS: [&str; 14] = [
    "$export",
    "%24export",
    "%24%65%78port",
    "%2524export",
    "$EXPORT",
    "Patient/$export",
    "Patient/%24export?_type=Patient",
    "Patient/P1/$export",
    "Group/G12/$export",
    "Group/G12/$export?nonsense",
    "Group/G12/$group-export",
    "Group/G12//$export",
    "Group/G12/$export/",
    "$export-poll-status?_jobId=1",
];

/// Tokens of every class but `analytics`, each about patient P1.
async fn others(gate: &Gate) -> Vec<(Class, String)> {
    let mut out = Vec::new();
    for (class, scopes) in [
        (Class::ClinicalAi, "patient/Patient.rs patient/Group.rs patient/Observation.rs"),
        (Class::PatientApp, "patient/*.rs"),
        (Class::ClinicianApp, "user/Patient.rs patient/Observation.rs"),
        (Class::Launcher, "patient/Patient.rs"),
    ] {
        let terms = Terms { launch: vec![LaunchMode::Ticket {}], token_seconds: 900, budgets: BUDGETS };
        let subject = Subject::Patient("P1".parse().unwrap());
        let session = gate.session_as(class, subject, terms, scopes, |_| {}).await;
        gate.reach(session.feed).await;
        out.push((class, gate.sign(&session, |_| {})));
    }
    out
}

/// How many records there are of this kind with this reason.
async fn count(gate: &Gate, kind: &str, reason: &str) -> usize {
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    found.records.iter().filter(|record| record.kind == kind && record.reason == reason).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_13_every_other_class_is_refused_in_every_spelling_with_an_alert() {
    let gate = Gate::start().await;
    let mut refused = 0;
    for (class, token) in others(&gate).await {
        let bearer = format!("Bearer {token}");
        for path in SPELLINGS {
            let reply = gate.get(&token, path).await;
            refused += 1;
            assert_eq!(reply.status, 403, "{class:?} {path}: {}", reply.text());
            assert!(reply.header("www-authenticate").contains("insufficient_scope"), "{class:?} {path}");
            assert_eq!(count(&gate, "alert", "export-refused").await, refused, "{class:?} {path}");
            assert_eq!(count(&gate, "fhir.denied", "export-refused").await, refused, "{class:?} {path}");
        }
        // Whatever else is wrong with it, and before any of it is read.
        for (method, headers, body) in [
            ("POST", &[("content-type", "application/fhir+json")][..], r#"{"resourceType":"Parameters"}"#),
            ("POST", &[("content-encoding", "gzip")], "no gzip"),
            ("POST", &[("content-type", "text/plain")], "x"),
            ("PUT", &[], "{}"),
            ("PATCH", &[], ""),
            ("DELETE", &[], ""),
            ("HEAD", &[], ""),
            ("OPTIONS", &[], ""),
            ("GET", &[("accept", "application/fhir+ndjson"), ("prefer", "respond-async")], ""),
        ] {
            let mut headers = headers.to_vec();
            headers.push(("authorization", &bearer));
            let reply = gate.send(method, "Patient/$export", &headers, body).await;
            refused += 1;
            assert_eq!(reply.status, 403, "{class:?} {method} {headers:?}");
            assert_eq!(count(&gate, "alert", "export-refused").await, refused, "{class:?} {method}");
        }
    }
    assert!(gate.upstream.requests.all().is_empty(), "the upstream saw something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_13_within_a_bundle_nobody_exports() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Patient.rs patient/Observation.rs").await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("content-type", "application/fhir+json"), ("prefer", "respond-async")];
    let entry = |method: &str, url: &str| json!({"request": {"method": method, "url": url}});
    let entries = [
        entry("GET", "$export"),
        entry("GET", "/Patient/$export"),
        entry("GET", "Group/G12/%24export?_type=Patient"),
        entry("POST", "Group/G12/$export"),
        entry("GET", "http://gate.test/mercy/fhir/Patient/$export"),
    ];
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string();
    let reply = gate.send("POST", "", &headers, &batch).await;
    assert_eq!(reply.status, 200);
    let answers = reply.json();
    for answer in answers["entry"].as_array().unwrap() {
        assert_eq!(answer["response"]["status"], "403", "{answer}");
    }
    assert_eq!(count(&gate, "alert", "export-refused").await, 1, "one for the batch");
    assert_eq!(count(&gate, "fhir.denied", "export-refused").await, entries.len());
    // An export behind something else that is wrong is seen all the same.
    let entries = [entry("GET", "Nonsense/x"), entry("GET", "Patient/$export")];
    let transaction = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
    assert!(gate.send("POST", "", &headers, &transaction).await.status >= 400);
    assert_eq!(count(&gate, "alert", "export-refused").await, 2);
    assert!(gate.upstream.requests.all().is_empty(), "the upstream saw something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ex_07_ex_08_jobs_are_nobodys_but_their_makers() {
    let gate = Gate::start().await;
    let job = "0123456789abcdef0123456789abcdef";
    for (class, token) in others(&gate).await {
        let bearer = format!("Bearer {token}");
        for (method, path) in [
            ("GET", format!("$bulk/{job}")),
            ("DELETE", format!("$bulk/{job}")),
            ("GET", format!("$bulk/{job}/0")),
            ("GET", "$bulk/nonsense".to_owned()),
        ] {
            let reply = gate.send(method, &path, &[("authorization", &bearer)], "").await;
            assert_eq!(reply.status, 404, "{class:?} {method} {path}: {}", reply.text());
        }
    }
    assert!(gate.upstream.requests.all().is_empty(), "the upstream saw something");
}
