//! A bulk export from its kick-off to its last line, and everything that must end it before (S1-12, S1-14, S1-15).
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

use bytes::Bytes;
use demo_ehr::{DemoEhr, Fault};
use domain::approval::ExportRule;
use domain::{Budgets, Class, LaunchMode, Session, Subject, Terms};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use server::audit::{Filter, PhiAccess, RecordView};
use support::{BUDGETS, Gate, Reply};

const SCOPES: &str = "system/Patient.rs system/Observation.rs system/Condition.rs system/Practitioner.rs";

async fn session(gate: &Gate, of: &str, budgets: Budgets, scopes: &str) -> Session {
    let launch = vec![LaunchMode::Export(ExportRule { of: of.parse().unwrap() })];
    let terms = Terms { launch, token_seconds: 300, budgets };
    let session = gate.session_as(Class::Analytics, Subject::Cohort, terms, scopes, |_| {}).await;
    gate.reach(session.feed).await;
    session
}

async fn token(gate: &Gate, of: &str) -> String {
    gate.sign(&session(gate, of, BUDGETS, SCOPES).await, |_| {})
}

/// A file as far as it came, and whether it came to its proper end.
async fn file(gate: &Gate, token: &str, path: &str) -> (u16, String, bool) {
    let uri = format!("http://{}/mercy/fhir/{path}", gate.server.public);
    let request = http::Request::get(uri).header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let response = tokio::time::timeout(Duration::from_secs(20), gate.client.request(request)).await.unwrap().unwrap();
    let status = response.status().as_u16();
    let (mut body, mut text) = (response.into_body(), Vec::new());
    loop {
        match body.frame().await {
            None => return (status, String::from_utf8(text).unwrap(), true),
            Some(Err(_)) => return (status, String::from_utf8(text).unwrap(), false),
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
    }
}

/// A path below the base from an address of ours.
fn below(url: &str) -> String {
    url.strip_prefix("http://gate.test/mercy/fhir/").unwrap_or_else(|| panic!("not ours: {url}")).to_owned()
}

/// Begins an export and gives its job's path.
async fn begin(gate: &Gate, token: &str, path: &str) -> String {
    let reply = gate.get(token, path).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert!(reply.body.is_empty());
    below(reply.header("content-location"))
}

/// Asks until it is complete, and gives the manifest.
async fn complete(gate: &Gate, token: &str, job: &str) -> Value {
    for _ in 0..3 {
        let reply = gate.get(token, job).await;
        if reply.status == 200 {
            assert_eq!(reply.header("content-type"), "application/json");
            return reply.json();
        }
        assert_eq!(reply.status, 202, "{}", reply.text());
        assert_eq!((reply.header("retry-after"), reply.header("x-progress")), ("1", "in progress"));
    }
    panic!("never complete");
}

fn file_of(manifest: &Value, kind: &str) -> String {
    let files = manifest["output"].as_array().unwrap();
    let found = files.iter().find(|file| file["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {manifest}"));
    below(found["url"].as_str().unwrap())
}

fn ids(text: &str) -> BTreeSet<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    text.lines().map(line).collect()
}

async fn records(gate: &Gate) -> Vec<RecordView> {
    let filter = Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let mut found = gate.server.parts.audit.search(filter, PhiAccess::Open).await.unwrap().records;
    found.reverse();
    found
}

/// The record of the end of the last file; it is written after the client sees that.
async fn close(gate: &Gate) -> RecordView {
    for _ in 0..100 {
        if let Some(found) = records(gate).await.into_iter().rev().find(|record| record.phase == "close") {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no file has ended");
}

async fn alerts(gate: &Gate, code: &str) -> usize {
    records(gate).await.iter().filter(|record| record.kind == "alert" && record.reason == code).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_15_an_approved_group_is_exported_to_the_end() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export?_type=Patient,Observation,Practitioner").await;
    let seen = gate.upstream.requests.all();
    assert_eq!(
        seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(),
        ["/fhir/Group/G12", "/fhir/Group/G12/$export"]
    );
    assert_eq!(seen[1].header("prefer"), Some("respond-async"));
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()), "the client's token stays here");
    let written: Vec<_> = records(&gate).await.into_iter().filter(|record| record.kind != "registry.change").collect();
    let said: Vec<_> = written.iter().map(|record| (record.kind, record.phase)).collect();
    assert_eq!(said, [("alert", "done"), ("fhir.export", "intent"), ("fhir.export", "outcome")]);
    assert_eq!(written[0].reason, "export-started", "S1-12: an alert for every job");

    let manifest = complete(&gate, &token, &job).await;
    let text = manifest.to_string();
    assert!(!text.contains("127.0.0.1"), "nothing of where the upstream keeps it: {text}");
    assert_eq!(
        manifest["request"],
        "http://gate.test/mercy/fhir/Group/G12/$export?_type=Patient,Observation,Practitioner"
    );
    assert_eq!((&manifest["requiresAccessToken"], &manifest["error"]), (&json!(true), &json!([])));
    assert_eq!(manifest, complete(&gate, &token, &job).await, "asked again, the same");

    let (status, patients, whole) = file(&gate, &token, &file_of(&manifest, "Patient")).await;
    assert_eq!((status, whole), (200, true));
    assert_eq!(ids(&patients), ["P1", "P2"].map(str::to_owned).into());
    let closed = close(&gate).await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, patients.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((closed.digest.as_str(), closed.bytes, closed.released), (digest.as_str(), patients.len() as u64, 2));
    let opened: Vec<_> = records(&gate).await.into_iter().filter(|record| record.phase == "open").collect();
    let named: BTreeSet<String> =
        opened.iter().flat_map(|record| record.phi.as_ref().unwrap().patients.clone()).collect();
    assert_eq!(named, ["P1", "P2"].map(str::to_owned).into(), "whose records left is on record before they do");

    let (_, observations, whole) = file(&gate, &token, &file_of(&manifest, "Observation")).await;
    assert!(whole);
    let found = ids(&observations);
    for id in ["O1", "O1L", "O1S", "O2"] {
        assert!(found.contains(id), "{id}: {found:?}");
    }
    for id in ["O12", "ONO", "OID", "OEX"] {
        assert!(!found.contains(id), "{id}: {found:?}");
    }
    for line in observations.lines() {
        let subject = serde_json::from_str::<Value>(line).unwrap()["subject"]["reference"].as_str().unwrap().to_owned();
        assert!(
            ["Patient/P1", "Patient/P2"].iter().any(|member| subject
                .split("/_history")
                .next()
                .unwrap()
                .ends_with(member)),
            "{line}"
        );
    }
    let (_, practitioners, whole) = file(&gate, &token, &file_of(&manifest, "Practitioner")).await;
    assert!(whole && ids(&practitioners).contains("PRA"));
    assert_eq!(gate.get(&token, &format!("{job}/9")).await.status, 404, "no such file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_15_whatever_the_upstream_puts_in_only_members_leave() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let manifest = complete(&gate, &token, &job).await;
    let path = file_of(&manifest, "Observation");
    let (_, as_it_should, _) = file(&gate, &token, &path).await;
    gate.upstream.faults.on(Fault::ExportOfEveryone);
    gate.upstream.faults.on(Fault::ExportLine(r#"{"resourceType":"Patient","id":"P1"}"#.into()));
    let (status, text, whole) = file(&gate, &token, &path).await;
    assert_eq!((status, whole), (200, true));
    assert_eq!(text, as_it_should);
    let closed = close(&gate).await;
    assert!(
        closed.filtered > 0
            && closed
                .phi
                .unwrap()
                .attributes
                .iter()
                .any(|(name, said)| name == "export.held" && said.starts_with("other type 1,"))
    );
    assert!(alerts(&gate, "upstream-foreign-line").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_15_what_is_no_line_ends_the_file_and_never_properly() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let path = file_of(&complete(&gate, &token, &job).await, "Observation");
    let double = r#"{"resourceType":"Observation","id":"X","subject":{"reference":"Patient/P1"},"subject":{"reference":"Patient/P12"}}"#;
    for (what, fault) in [
        ("no JSON", Fault::ExportLine("{nonsense".into())),
        ("half a line", Fault::ExportLine(r#"{"resourceType":"Observation","id":"X""#.into())),
        ("a member twice", Fault::ExportLine(double.into())),
        ("no id", Fault::ExportLine(r#"{"resourceType":"Observation"}"#.into())),
        ("a line that is too long", Fault::ExportLine("x".repeat(17 * 1024 * 1024))),
        ("cut off", Fault::CutOff),
    ] {
        gate.upstream.faults.only(fault);
        let (status, _, whole) = file(&gate, &token, &path).await;
        assert_eq!((status, whole), (200, false), "{what}");
        let closed = close(&gate).await;
        assert_eq!((closed.outcome, closed.reason.as_str()), ("failed", "upstream-broken"), "{what}");
    }
    for (what, fault, expected) in [
        ("an error", Fault::Status(500), 502),
        ("another kind", Fault::ContentType("text/html".into()), 502),
        ("no longer there", Fault::Status(404), 502),
        ("busy", Fault::Status(503), 503),
        ("a way elsewhere", Fault::Redirect("http://127.0.0.1:9/x".into()), 502),
    ] {
        gate.upstream.faults.only(fault);
        let (status, text, _) = file(&gate, &token, &path).await;
        assert_eq!(status, expected, "{what}: {text}");
        assert!(!text.contains("127.0.0.1") && !text.contains("PSQL"), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_12_nothing_but_the_approved_population_in_granted_types() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let bearer = format!("Bearer {token}");
    for (method, path, status) in [
        ("GET", "Group/other/$export", 403),
        ("GET", "Patient/$export", 403),
        ("GET", "$export", 403),
        ("GET", "Patient/P1/$export", 403),
        ("POST", "Group/G12/$export", 403),
        ("HEAD", "Group/G12/$export", 403),
        ("GET", "Group/G12/$export?_type=MedicationRequest", 403),
        ("GET", "Group/G12/$export?_type=Patient,Binary", 403),
        ("GET", "Group/G12/$export?_type=Nonsense", 400),
        ("GET", "Group/G12/$export?_since=2026-01-01T00:00:00Z", 400),
        ("GET", "Group/G12/$export?patient=Patient/P1", 400),
        ("GET", "Group/G12/$export?_outputFormat=text/csv", 400),
        ("GET", "Group/G12/$export?_typeFilter=MedicationRequest%3Fstatus%3Dactive", 403),
        ("GET", "Group/G12/$export?_type=Observation&_typeFilter=Observation%3Fpatient%3DP9", 400),
    ] {
        let reply = gate.send(method, path, &[("authorization", &bearer), ("prefer", "respond-async")], "").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    assert!(gate.upstream.requests.all().is_empty(), "the upstream saw something: {:?}", gate.upstream.requests.all());
    assert!(alerts(&gate, "export-refused").await >= 6);
    for path in ["Patient/P1", "Observation?patient=P1", "Group/G12"] {
        assert_eq!(gate.get(&token, path).await.status, 403, "{path}: a population is exported and nothing else");
    }
    assert!(gate.upstream.requests.all().is_empty());
    // The right population without an approval by two people is none.
    let everyone = session(&gate, "all-patients", BUDGETS, SCOPES).await;
    let all = gate.sign(&everyone, |_| {});
    assert_eq!(gate.get(&all, "Group/G12/$export").await.status, 403);
    let job = begin(&gate, &all, "Patient/$export?_type=Patient").await;
    let (_, text, whole) = file(&gate, &all, &file_of(&complete(&gate, &all, &job).await, "Patient")).await;
    assert!(whole && ids(&text).contains("P12"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_14_a_job_is_its_makers_while_it_is_approved() {
    let gate = Gate::start().await;
    let mine = session(&gate, "Group/G12", BUDGETS, SCOPES).await;
    let (token, other) = (gate.sign(&mine, |_| {}), token(&gate, "Group/G12").await);
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let path = file_of(&complete(&gate, &token, &job).await, "Patient");
    let bearer = format!("Bearer {other}");
    for (method, path) in [("GET", &job), ("DELETE", &job), ("GET", &path)] {
        let reply = gate.send(method, path, &[("authorization", &bearer)], "").await;
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
    }
    assert_eq!(gate.get(&token, &path).await.status, 200, "nobody has cancelled it");
    let bearer = format!("Bearer {token}");
    assert_eq!(gate.send("DELETE", &job, &[("authorization", &bearer)], "").await.status, 202);
    let last = gate.upstream.requests.all().pop().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("DELETE", "/fhir/export-job/1"));
    for (method, path) in [("GET", &job), ("DELETE", &job), ("GET", &path)] {
        assert_eq!(gate.send(method, path, &[("authorization", &bearer)], "").await.status, 404, "{method} {path}");
    }
    let again = begin(&gate, &token, "Group/G12/$export").await;
    gate.end(&mine).await;
    assert_eq!(gate.get(&token, &again).await.status, 401, "the session has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_14_an_end_cuts_a_file_under_way() {
    let gate = Gate::start().await;
    let mine = session(&gate, "Group/G12", BUDGETS, SCOPES).await;
    let token = gate.sign(&mine, |_| {});
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let path = file_of(&complete(&gate, &token, &job).await, "Observation");
    gate.upstream.faults.only(Fault::SlowBody(Duration::from_millis(700)));
    let (ended, (status, text, whole)) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            gate.end(&mine).await
        },
        file(&gate, &token, &path)
    );
    assert!(ended);
    assert_eq!((status, text.as_str(), whole), (200, "", false));
    assert_eq!(close(&gate).await.reason, "session-ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_no_line() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let path = file_of(&complete(&gate, &token, &job).await, "Observation");
    // The ledger goes while the file is under way: neither another block nor a proper end.
    gate.upstream.faults.only(Fault::SlowBody(Duration::from_millis(700)));
    let (_, (status, text, whole)) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            gate.server.parts.audit.close().await;
        },
        file(&gate, &token, &path)
    );
    assert_eq!((status, text.as_str(), whole), (200, "", false));
    gate.upstream.faults.clear();
    let seen = gate.upstream.requests.all().len();
    assert_eq!(file(&gate, &token, &path).await.0, 503);
    assert_eq!(gate.get(&token, "Group/G12/$export").await.status, 503);
    let after: Vec<_> = gate.upstream.requests.all().split_off(seen);
    assert!(after.iter().all(|seen| !seen.path.contains("$export")), "nothing begins without its intent: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_begin_or_does_not_end_is_an_error() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    for (what, fault, status) in [
        ("an error", Fault::Status(500), 502),
        ("done at once", Fault::Status(200), 502),
        ("busy", Fault::Status(503), 503),
        ("too many", Fault::Status(429), 503),
        ("nowhere", Fault::Accepted(String::new()), 502),
        ("a relative place", Fault::Accepted("/jobs/1".into()), 502),
        ("cut off", Fault::CutBeforeAnswer, 503),
    ] {
        gate.upstream.faults.clear();
        gate.upstream.faults.on_path("Group/G12/$export", fault);
        let reply = gate.get(&token, "Group/G12/$export").await;
        assert!(
            reply.status == status || (what == "cut off" && reply.status == 502),
            "{what}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.headers.contains_key("content-location"), "{what}");
    }
    gate.upstream.faults.clear();
    let job = begin(&gate, &token, "Group/G12/$export").await;
    assert_eq!(gate.get(&token, &job).await.status, 202);
    let with = |manifest: Value| Fault::ExportManifest(manifest);
    let time = "2026-01-01T00:00:00Z";
    for (what, fault, status) in [
        ("no manifest", with(json!({})), 502),
        ("no time", with(json!({"output": []})), 502),
        ("further parts", with(json!({"transactionTime": time, "output": [], "link": []})), 502),
        (
            "no address",
            with(json!({"transactionTime": time, "output": [{"type": "Patient", "url": "file:///x"}]})),
            502,
        ),
        ("an error", Fault::Status(500), 502),
        ("busy", Fault::Status(503), 202),
        ("another kind", Fault::ContentType("text/html".into()), 502),
    ] {
        gate.upstream.faults.only(fault);
        let reply = gate.get(&token, &job).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
    }
    gate.upstream.faults.only(Fault::Status(404));
    assert_eq!(gate.get(&token, &job).await.status, 404);
    gate.upstream.faults.only(with(
        json!({"transactionTime": time, "output": [{"type": "MedicationRequest", "url": "http://127.0.0.1:9/x"}]}),
    ));
    let manifest = gate.get(&token, &job).await;
    assert_eq!((manifest.status, &manifest.json()["output"]), (200, &json!([])), "only what was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_go_to_the_origin_of_the_base_alone() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "upstream-secret").unwrap();
    let gate = Gate::start_with(
        |ehr| ehr,
        |tenant| tenant.upstream.auth = server::settings::UpstreamAuth::Bearer { token: secret.clone() },
    )
    .await;
    let elsewhere = DemoEhr::from_resources(vec![]).start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export").await;
    assert_eq!(gate.get(&token, &job).await.status, 202);
    gate.upstream.faults.on(Fault::ExportFilesAt(elsewhere.base_url.clone()));
    let manifest = complete(&gate, &token, &job).await;
    let path = file_of(&manifest, "Patient");
    assert_eq!(file(&gate, &token, &path).await.0, 502, "there is no such file there");
    let there = elsewhere.requests.all();
    assert_eq!(there.len(), 1);
    assert!(there[0].header("authorization").is_none(), "{there:?}");
    for seen in gate.upstream.requests.all() {
        assert_eq!(seen.header("authorization"), Some("Bearer upstream-secret"), "{}", seen.path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_and_consents_hold_for_exports() {
    let gate =
        Gate::start_with(|ehr| ehr, |tenant| tenant.upstream.consent = server::settings::ConsentSource::Upstream).await;
    gate.upstream.put(
        json!({ "resourceType": "Consent", "id": "no", "status": "active", "patient": { "reference": "Patient/P2" },
        "scope": { "coding": [{ "code": "patient-privacy" }] }, "category": [{ "coding": [{ "code": "x" }] }],
        "provision": { "type": "deny" } }),
    );
    let mine = token(&gate, "Group/G12").await;
    let job = begin(&gate, &mine, "Group/G12/$export?_type=Patient").await;
    let (_, text, whole) = file(&gate, &mine, &file_of(&complete(&gate, &mine, &job).await, "Patient")).await;
    assert!(whole);
    assert_eq!(ids(&text), ["P1".to_owned()].into(), "P2 has said no");

    let little = Budgets { bytes_per_session: Some(400), ..BUDGETS };
    let small = session(&gate, "Group/G12", little, SCOPES).await;
    let small = gate.sign(&small, |_| {});
    let job = begin(&gate, &small, "Group/G12/$export?_type=Patient,Observation").await;
    let manifest = complete(&gate, &small, &job).await;
    assert!(file(&gate, &small, &file_of(&manifest, "Patient")).await.2, "it fits");
    let (status, text, whole) = file(&gate, &small, &file_of(&manifest, "Observation")).await;
    assert_eq!((status, text.as_str(), whole), (200, "", false), "the bytes of a job count together");
    assert_eq!(close(&gate).await.reason, "byte-budget-spent");
    gate.upstream.faults.on_path("Consent", Fault::Status(500));
    let (_, _, whole) = file(&gate, &mine, &format!("{}/0", begin_and_complete(&gate, &mine).await)).await;
    assert!(!whole, "what cannot be asked is no permission");
}

async fn begin_and_complete(gate: &Gate, token: &str) -> String {
    let job = begin(gate, token, "Group/G12/$export?_type=Condition").await;
    complete(gate, token, &job).await;
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_35_the_statement_of_a_population_lists_what_may_be_exported() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let reply: Reply = gate.get(&token, "metadata").await;
    let statement = reply.json();
    let kinds = statement["rest"][0]["resource"].as_array().unwrap().clone();
    let names: BTreeSet<&str> = kinds.iter().map(|kind| kind["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["Patient", "Observation", "Condition", "Practitioner", "Group"].into());
    assert!(kinds.iter().all(|kind| kind["interaction"].is_null() && kind["searchParam"].is_null()));
    let group = kinds.iter().find(|kind| kind["type"] == "Group").unwrap();
    assert_eq!(group["operation"][0]["name"], "export");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_exports_at_once() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let first = begin(&gate, &token, "Group/G12/$export").await;
    for _ in 1..10 {
        begin(&gate, &token, "Group/G12/$export").await;
    }
    let seen = gate.upstream.requests.all().len();
    assert_eq!(gate.get(&token, "Group/G12/$export").await.status, 429);
    assert_eq!(gate.upstream.requests.all().len(), seen);
    let bearer = format!("Bearer {token}");
    assert_eq!(gate.send("DELETE", &first, &[("authorization", &bearer)], "").await.status, 202);
    begin(&gate, &token, "Group/G12/$export").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_away_leaves_a_record_of_it() {
    let gate = Gate::start().await;
    let token = token(&gate, "Group/G12").await;
    let job = begin(&gate, &token, "Group/G12/$export").await;
    let path = file_of(&complete(&gate, &token, &job).await, "Observation");
    gate.upstream.faults.only(Fault::SlowBody(Duration::from_millis(500)));
    let taken = tokio::time::timeout(Duration::from_millis(200), file(&gate, &token, &path)).await;
    assert!(taken.is_err(), "it goes away while the file is under way");
    let closed = close(&gate).await;
    assert_eq!((closed.outcome, closed.released, closed.bytes), ("failed", 0, 0));
    assert_eq!(closed.phi.unwrap().note, "the client went away");
}
