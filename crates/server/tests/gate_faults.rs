//! A hostile upstream: whatever it answers, no byte of another patient passes, and nothing of its own trouble shows (S1-31).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use demo_ehr::{Fault, Place};
use serde_json::json;
use support::Gate;

const KOBS: &str = "patient/Observation.rs";
const KPO: &str = "patient/Patient.rs patient/Observation.rs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_read_is_502_and_says_nothing_of_the_upstream() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    for (id, fault) in [
        ("RD-26", Fault::OtherResource("Observation/O2".into())),
        ("RD-28", Fault::OtherResource("OperationOutcome/OO".into())),
        ("RD-29", Fault::MalformedJson),
        ("RD-29b", Fault::TruncatedJson(40)),
        ("RD-30", Fault::duplicate_subject("Patient/P2", Place::First)),
        ("RD-30b", Fault::duplicate_subject("Patient/P2", Place::Last)),
        ("RD-30c", Fault::escaped_duplicate_subject("Patient/P2", Place::First)),
        ("RD-30d", Fault::escaped_duplicate_subject("Patient/P2", Place::Last)),
        ("RD-31", Fault::duplicate_type("Patient", Place::Last)),
        ("FM-07 BOM", Fault::ByteOrderMark),
        ("UTF-8", Fault::InvalidUtf8),
        ("depth", Fault::DeepNesting(5_000)),
        ("size", Fault::Oversized { bytes: 8 * 1024 * 1024, announced: true }),
        ("size chunked", Fault::Oversized { bytes: 8 * 1024 * 1024, announced: false }),
        ("cut off", Fault::CutOff),
        ("FM-04", Fault::ContentType("text/plain".into())),
        ("FM-04 html", Fault::Html),
        ("FM-04 xml", Fault::Xml),
        ("ER-03", Fault::Redirect("http://127.0.0.1:9/elsewhere".into())),
        ("EX-10", Fault::Status(202)),
        ("206", Fault::Status(206)),
        ("304", Fault::NotModified),
        ("401", Fault::Status(401)),
        ("ER-02", Fault::StackTrace("Patient/P2 mrn-p2 Zwei".into())),
    ] {
        gate.upstream.faults.only(fault);
        let reply = gate.get(&token, "Observation/O1").await;
        assert_eq!(reply.status, 502, "{id}: {}", reply.text());
        let outcome = reply.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{id}");
        for word in ["P2", "Zwei", "127.0.0.1", "elsewhere", "Exception", "SELECT"] {
            assert!(!reply.text().contains(word), "{id}: {}", reply.text());
        }
        assert_eq!(reply.header("location"), "", "{id}");
    }
    gate.upstream.faults.clear();
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "and then it works again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_absent_upstream_is_503_and_a_gone_one_404() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    for fault in
        [Fault::SlowHeaders(Duration::from_secs(5)), Fault::SlowBody(Duration::from_secs(5)), Fault::Status(503)]
    {
        gate.upstream.faults.only(fault.clone());
        let reply = gate.get(&token, "Observation/O1").await;
        assert!([502, 503, 504].contains(&reply.status), "{fault:?}: {}", reply.status);
    }
    gate.upstream.faults.only(Fault::Gone);
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 404, "RD-36");
    gate.upstream.faults.only(Fault::Status(403));
    assert_eq!(gate.get(&token, "Observation/O2").await.status, 404, "as if absent");
    assert_eq!(gate.get(&token, "Observation").await.status, 502, "a search has nothing to hide here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_subject_anywhere_is_not_released() {
    let gate = Gate::start().await;
    let token = gate.token(KPO).await;
    for fault in [Fault::ForeignSubject("Patient/P2".into()), Fault::ContainedPatient("P2".into()), Fault::Subsetted] {
        gate.upstream.faults.only(fault.clone());
        let read = gate.get(&token, "Observation/O1").await;
        assert!([404, 502].contains(&read.status), "{fault:?}: {}", read.text());
        let search = gate.get(&token, "Observation?_id=O1").await;
        if search.status == 200 {
            assert!(search.entries().is_empty(), "{fault:?}: {}", search.text());
        } else {
            assert_eq!(search.status, 502);
        }
    }
}

/// S1-31: a mixed Bundle is filtered, the rest noted, an alert raised, and the filter not trusted again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ignored_filter_is_filtered_alerted_and_then_refused() {
    let gate = Gate::start().await;
    let token = gate.token(KPO).await;
    gate.upstream.faults.only(Fault::IgnoreAllParameters);
    let reply = gate.get(&token, "Observation?_count=100").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let entries = reply.entries();
    assert!(
        entries.contains(&"Observation/O1".to_owned())
            && !entries.iter().any(|e| e.ends_with("/O2") || e.ends_with("/O12")),
        "{entries:?}"
    );
    assert!(reply.link("next").is_none() && reply.json().get("total").is_none(), "next and total go");
    assert!(!reply.text().contains("\"Patient/P2\"") && !reply.text().contains("Patient/P12"), "{}", reply.text());
    let outcome = reply.json()["entry"].as_array().unwrap().iter().any(|entry| entry["search"]["mode"] == "outcome");
    assert!(outcome, "the caller is told that something was left out");
    assert!(gate.codes().await.contains(&"upstream-ignored-filter".to_owned()), "an alert");
    gate.upstream.faults.clear();
    assert_eq!(gate.get(&token, "Observation").await.status, 502, "not trusted until proved");
    assert_eq!(gate.get(&token, "Patient").await.status, 200, "another type is");
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "and so is a read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_entries_are_judged_whatever_mode_they_claim() {
    for fault in [
        Fault::ForeignInclude("Patient/P2".into()),
        Fault::ForeignInclude("Observation/O2".into()),
        Fault::ForeignWithoutMode("Observation/O2".into()),
        Fault::ForeignWithoutMode("Condition/C1".into()),
        Fault::IncludeEverything,
        Fault::MissingSearchMode,
    ] {
        let gate = Gate::start().await;
        let token = gate.token(KPO).await;
        gate.upstream.faults.only(fault.clone());
        let reply = gate.get(&token, "Observation?_id=O1&_include=Observation:subject").await;
        assert_eq!(reply.status, 200, "{fault:?}: {}", reply.text());
        let entries = reply.entries();
        assert!(
            entries.iter().all(|e| ["Observation/O1", "Patient/P1"].contains(&e.as_str())),
            "SR-23 {fault:?}: {entries:?}"
        );
        assert!(entries.contains(&"Observation/O1".to_owned()), "{fault:?}");
        assert!(!reply.text().contains("Zwei"), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_links_totals_and_headers_do_not_pass() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    for (id, fault) in [
        ("SR-34", Fault::Total(4_711)),
        ("PG-06", Fault::NextLink("https://evil.example/steal?x=1".into())),
        ("PG-07", Fault::SelfLink("https://ehr/Observation?patient=P2".into())),
        ("fullUrl", Fault::FullUrl("https://ehr/Patient/P2".into())),
        ("HD-10", Fault::OddHeaders),
    ] {
        gate.upstream.faults.only(fault);
        let reply = gate.get(&token, "Observation?_id=O1").await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text());
        for word in ["4711", "evil.example", "P2", "https://ehr"] {
            assert!(!reply.text().contains(word), "{id}: {}", reply.text());
        }
        for name in ["set-cookie", "x-powered-by", "link", "content-location", "server"] {
            assert_eq!(reply.header(name), "", "{id} {name}");
        }
        assert_eq!(reply.header("etag"), "", "HD-10: no ETag of a filtered Bundle");
    }
    gate.upstream.faults.only(Fault::BundleType("collection".into()));
    assert_eq!(gate.get(&token, "Observation?_id=O1").await.status, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fm_07_numbers_leave_as_they_came() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    gate.upstream.put(json!({ "resourceType": "Observation", "id": "ONU", "status": "final", "code": { "text": "x" }, "subject": { "reference": "Patient/P1" } }));
    gate.upstream.faults.only(Fault::NumberText("1.10".into()));
    let reply = gate.get(&token, "Observation/ONU").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("1.10"), "{}", reply.text());
}
