//! Writes through the whole server: what the upstream is sent, what leaves, and what is on record (b.12, b.15).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use demo_ehr::Fault;
use serde_json::{Value, json};
use support::{Gate, Reply};

const KW: &str = "patient/Observation.cruds";
const JSON: &str = "application/fhir+json";

struct Client<'g> {
    gate: &'g Gate,
    token: String,
}

impl<'g> Client<'g> {
    async fn new(gate: &'g Gate, scopes: &str) -> Self {
        Self { gate, token: gate.token(scopes).await }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", JSON));
        }
        all.extend_from_slice(headers);
        self.gate.send(method, path, &all, body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], &body.to_string()).await
    }

    async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[], &body.to_string()).await
    }
}

fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}})
}

fn of(id: &str) -> Value {
    let mut out = observation("Patient/P1");
    out["id"] = id.into();
    out
}

fn says_nothing(reply: &Reply, what: &str) {
    for word in ["P2", "Zwei", "mrn-p2", "127.0.0.1", "HAPI", "O2"] {
        assert!(!reply.text().contains(word), "{what}: {}", reply.text());
        assert!(!reply.header("location").contains(word), "{what}: {}", reply.header("location"));
    }
}

/// Kind, phase, status and reason of the records, oldest first.
async fn records(gate: &Gate) -> Vec<(String, String, String)> {
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    let mut out: Vec<_> = found
        .records
        .iter()
        .map(|record| (record.kind.to_string(), record.phase.to_string(), record.reason.clone()))
        .collect();
    out.reverse();
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wr_01_13_22_28_changes_are_made_and_recorded_before_and_after() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, KW).await;
    let reply = client.post("Observation", &observation("Patient/P1")).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let location = reply.header("location").to_owned();
    assert!(location.starts_with("http://gate.test/mercy/fhir/Observation/"), "{location}");
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(gate.follow(&client.token, &location).await.status, 200);
    let path = format!("Observation/{id}");
    let mut new = gate.get(&client.token, &path).await.json();
    new["status"] = "amended".into();
    let reply = client.put(&path, &new).await;
    assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("amended")), "{}", reply.text());
    assert_ne!(reply.header("etag"), "");
    let sent = gate.upstream.requests.writes().last().unwrap().clone();
    assert_eq!((sent.method.as_str(), sent.header("if-match")), ("PUT", Some("W/\"1\"")));
    let patch = r#"[{"op":"replace","path":"/status","value":"corrected"}]"#;
    let reply = client.send("PATCH", &path, &[("content-type", "application/json-patch+json")], patch).await;
    assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("corrected")), "{}", reply.text());
    let reply = client.send("DELETE", &path, &[], "").await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(gate.get(&client.token, &path).await.status, 404);
    let records = records(&gate).await;
    for kind in ["fhir.create", "fhir.update", "fhir.patch", "fhir.delete"] {
        let phases: Vec<&str> =
            records.iter().filter(|(found, ..)| found == kind).map(|(_, phase, _)| phase.as_str()).collect();
        assert_eq!(phases, ["intent", "outcome"], "{kind} {records:?}");
    }
    for seen in gate.upstream.requests.all() {
        assert!(!seen.headers.iter().any(|(_, value)| value.contains(&client.token)), "the token stays here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_writes_reach_nobody() {
    let gate = Gate::start().await;
    let client =
        Client::new(&gate, "patient/Observation.cruds patient/Patient.cruds patient/DocumentReference.cruds").await;
    let with = |name: &str, value: Value| {
        let mut out = observation("Patient/P1");
        out[name] = value;
        out
    };
    let mut other_id = of("O1");
    other_id["id"] = "O2".into();
    for (id, method, path, body, status) in [
        ("WR-03", "POST", "Observation", observation("Patient/P2"), 403),
        ("WR-03", "POST", "Observation", with("performer", json!([{"reference": "Patient/P2"}])), 403),
        (
            "WR-03",
            "POST",
            "Observation",
            with("extension", json!([{"url": "u", "valueReference": {"reference": "Patient/P2"}}])),
            403,
        ),
        ("WR-03", "POST", "Observation", with("encounter", json!({"reference": "Encounter/E2"})), 403),
        ("WR-03", "POST", "Observation", with("encounter", json!({"reference": "Encounter/E9"})), 403),
        ("WR-08", "POST", "Observation", json!({"resourceType": "Condition"}), 400),
        (
            "WR-09",
            "POST",
            "Condition",
            json!({"resourceType": "Condition", "subject": {"reference": "Patient/P1"}}),
            403,
        ),
        ("WR-11", "POST", "Patient", json!({"resourceType": "Patient"}), 403),
        ("WR-12", "POST", "Observation/O9", of("O9"), 405),
        ("WR-17", "PUT", "Observation/O1", other_id, 400),
        (
            "WR-21",
            "PUT",
            "Observation/O1",
            {
                let mut v = of("O1");
                v["meta"] = json!({"tag": [{"code": "x"}]});
                v
            },
            403,
        ),
        ("WR-24", "PUT", "Observation/O2", of("O2"), 404),
        ("upsert", "PUT", "Observation/O999", of("O999"), 404),
        ("deleted", "PUT", "Observation/ODEL", of("ODEL"), 404),
        ("WR-27", "PATCH", "Observation?subject=P1", json!([]), 403),
        ("WR-29", "DELETE", "Observation/O2", Value::Null, 404),
        ("WR-31", "DELETE", "Patient/P1", Value::Null, 403),
        ("WR-33", "DELETE", "Observation/O1/_history", Value::Null, 403),
        ("WR-33", "DELETE", "Observation/O1/_history/1", Value::Null, 403),
        ("WR-33", "DELETE", "Observation/O1?_expunge=true", Value::Null, 400),
        ("WR-36", "DELETE", "Observation?patient=P1&status=final", Value::Null, 403),
        ("WR-37", "DELETE", "Observation", Value::Null, 403),
        ("p2", "PUT", "Patient/P2", json!({"resourceType": "Patient", "id": "P2"}), 403),
        (
            "BI-06",
            "POST",
            "DocumentReference",
            json!({"resourceType": "DocumentReference", "subject": {"reference": "Patient/P1"}, "content": [{"attachment": {"url": "Binary/B2"}}]}),
            403,
        ),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let media = if method == "PATCH" { "application/json-patch+json" } else { JSON };
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", media)] };
        let reply = client.send(method, path, headers, &body).await;
        assert_eq!(reply.status, status, "{id} {method} {path}: {}", reply.text());
        assert_eq!(reply.json()["resourceType"], "OperationOutcome", "{id}");
        if !path.contains("O2") {
            says_nothing(&reply, id);
        }
        assert!(gate.upstream.requests.writes().is_empty(), "{id} {method} {path}");
    }
    for headers in [[("if-none-exist", "identifier=1")], [("if-none-match", "*")]] {
        let reply = client.send("POST", "Observation", &headers, &observation("Patient/P1").to_string()).await;
        assert_eq!(reply.status, 403, "p9: {}", reply.text());
    }
    for (headers, status) in [([("if-match", "W/\"99\"")], 412), ([("if-match", "*")], 400)] {
        assert_eq!(client.send("DELETE", "Observation/O1", &headers, "").await.status, status);
    }
    for (media, status) in [("text/plain", 415), ("application/fhir+xml", 415), ("application/xml", 415)] {
        let reply = client.send("POST", "Observation", &[("content-type", media)], "<x/>").await;
        assert_eq!(reply.status, status, "{media}");
    }
    let huge = format!(r#"{{"resourceType":"Observation","x":"{}"}}"#, "x".repeat(8 * 1024 * 1024));
    assert_eq!(client.send("POST", "Observation", &[], &huge).await.status, 413);
    assert!(gate.upstream.requests.writes().is_empty());
    assert!(
        records(&gate).await.iter().all(|(kind, phase, _)| !kind.starts_with("fhir") || phase == "done"),
        "no intent without a permit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_absent_are_the_same_bytes() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, "patient/Observation.cruds patient/Encounter.r").await;
    for (method, media, body) in [
        ("PUT", JSON, "put"),
        ("DELETE", "", ""),
        ("PATCH", "application/json-patch+json", r#"[{"op":"test","path":"/subject/reference","value":"Patient/P2"}]"#),
    ] {
        let ask = |id: &'static str| {
            let body = if body == "put" { of(id).to_string() } else { body.to_owned() };
            let client = &client;
            async move {
                let headers: &[(&str, &str)] = if media.is_empty() { &[] } else { &[("content-type", media)] };
                client.send(method, &format!("Observation/{id}"), headers, &body).await
            }
        };
        let (foreign, absent) = (ask("O2").await, ask("O9").await);
        assert_eq!((foreign.status, &foreign.body), (404, &absent.body), "{method}");
        let names = |reply: &Reply| {
            reply
                .headers
                .iter()
                .filter(|(name, _)| *name != "date")
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&foreign), names(&absent));
    }
    let refers = |to: &str| {
        let mut out = observation("Patient/P1");
        out["encounter"] = json!({"reference": to});
        out
    };
    let (foreign, absent) = (
        client.post("Observation", &refers("Encounter/E2")).await,
        client.post("Observation", &refers("Encounter/E9")).await,
    );
    assert_eq!((foreign.status, &foreign.body), (403, &absent.body));
    assert!(gate.upstream.requests.writes().is_empty());
    let reply = client.post("Observation", &refers("Encounter/E1")).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    // Of a type that is not granted nothing is told, not even that it is there.
    let blind = Client::new(&gate, KW).await;
    let own = blind.post("Observation", &refers("Encounter/E1")).await;
    assert_eq!((own.status, &own.body), (403, &foreign.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_lies_about_a_change_shows_nothing_of_others() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, KW).await;
    for (id, fault, status, alert) in [
        ("WR-38", Fault::RewriteSubject("Patient/P2".into()), 201, true),
        ("answers other", Fault::WriteAnswersOther("Observation/O2".into()), 201, true),
        ("location", Fault::WriteLocation("Observation/O2".into()), 201, true),
        ("location of a patient", Fault::WriteLocation("Patient/P2".into()), 201, false),
        ("WR-39", Fault::WriteOutcome("Patient/P2 Zwei mrn-p2".into()), 201, false),
        ("contained", Fault::ContainedPatient("Patient/P2".into()), 201, false),
        ("conflict", Fault::WriteConflict, 412, false),
        ("cut", Fault::CutBeforeAnswer, 500, false),
        ("cut off", Fault::CutOff, 500, false),
        ("too late", Fault::SlowHeaders(std::time::Duration::from_secs(3)), 500, false),
        ("EX-10", Fault::Accepted("Patient/P2".into()), 500, false),
        ("202", Fault::Status(202), 500, false),
        ("500", Fault::StackTrace("Patient/P2 mrn-p2".into()), 500, false),
        ("redirect", Fault::Redirect("http://127.0.0.1:9/P2".into()), 500, false),
        ("outcome", Fault::OutcomeWith200, 201, false),
        ("html", Fault::Html, 201, false),
        ("json", Fault::MalformedJson, 201, false),
        ("dup", Fault::duplicate_subject("Patient/P2", demo_ehr::Place::First), 201, false),
        ("odd headers", Fault::OddHeaders, 201, false),
        ("401", Fault::Status(401), 502, false),
    ] {
        gate.upstream.faults.only(fault);
        gate.upstream.requests.clear();
        let before = gate.codes().await.len();
        let reply = client.post("Observation", &observation("Patient/P1")).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
        says_nothing(&reply, id);
        assert_eq!(gate.upstream.requests.writes().len(), 1, "{id}: nothing is sent twice");
        assert_eq!(reply.header("set-cookie"), "", "{id}");
        let codes: Vec<String> = gate.codes().await.split_off(before);
        assert_eq!(codes.iter().any(|code| code == "upstream-rewrote"), alert, "{id} {codes:?}");
        if status == 500 {
            assert!(codes.iter().any(|code| code.contains("unknown")), "{id} {codes:?}");
            assert_eq!(reply.header("retry-after"), "", "{id}: nobody is told to try again");
        }
    }
    let phases: Vec<String> = records(&gate)
        .await
        .into_iter()
        .filter(|(kind, ..)| kind == "fhir.create")
        .map(|(_, phase, _)| phase)
        .collect();
    assert!(phases.len() > 20);
    assert!(phases.chunks(2).all(|pair| pair == ["intent", "outcome"]), "{phases:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_in_one_voice_names_no_stranger() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, KW).await;
    let location = || Fault::WriteLocation("Observation/O2".into());
    for (id, lies, alert) in [
        ("record and location", vec![Fault::WriteAnswersOther("Observation/O2".into()), location()], true),
        ("record of another type", vec![Fault::WriteAnswersOther("Patient/P2".into()), location()], false),
        ("outcome", vec![Fault::WriteOutcome("done".into()), location()], false),
        ("no body that can be read", vec![Fault::MalformedJson, location()], false),
    ] {
        gate.upstream.faults.set(lies.clone());
        let before = gate.codes().await.len();
        let created = client.post("Observation", &observation("Patient/P1")).await;
        assert_eq!((created.status, created.header("location")), (201, ""), "{id}: {}", created.text());
        says_nothing(&created, id);
        let codes = gate.codes().await.split_off(before);
        assert_eq!(codes.iter().any(|code| code == "upstream-rewrote"), alert, "{id} {codes:?}");
    }
    // Without a lie, the record in the answer proves its id.
    gate.upstream.faults.clear();
    let created = client.post("Observation", &observation("Patient/P1")).await;
    assert!(created.header("location").contains("/Observation/"), "{}", created.header("location"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_between_the_look_and_the_write_is_a_conflict() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, KW).await;
    let mut raced = of("O1");
    raced["subject"]["reference"] = "Patient/P2".into();
    gate.upstream.faults.on(Fault::Raced(raced));
    let reply = client.put("Observation/O1", &of("O1")).await;
    assert_eq!(reply.status, 412, "{}", reply.text());
    says_nothing(&Reply { body: reply.body.clone(), ..reply }, "raced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefer_says_what_is_answered() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, KW).await;
    for (prefer, kind) in [
        ("return=minimal", None),
        ("return=OperationOutcome", Some("OperationOutcome")),
        ("return=representation", Some("Observation")),
    ] {
        let reply =
            client.send("POST", "Observation", &[("prefer", prefer)], &observation("Patient/P1").to_string()).await;
        assert_eq!(reply.status, 201);
        let found = (!reply.body.is_empty()).then(|| reply.json()["resourceType"].as_str().unwrap().to_owned());
        assert_eq!(found.as_deref(), kind, "{prefer}");
        assert_ne!(reply.header("location"), "");
    }
    let update = Client::new(&gate, "patient/Observation.u").await;
    let reply = update.put("Observation/O1", &of("O1")).await;
    assert_eq!((reply.status, reply.json()["resourceType"].as_str()), (200, Some("OperationOutcome")), "WR-18");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_written_back_keep_their_links() {
    let gate = Gate::start().await;
    let client = Client::new(&gate, "patient/DocumentReference.cruds patient/Binary.r").await;
    let read = gate.get(&client.token, "DocumentReference/D1").await.json();
    assert!(read["content"][0]["attachment"]["url"].as_str().unwrap().contains("_hilum="), "{read}");
    let reply = client.put("DocumentReference/D1", &read).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = gate.upstream.requests.writes().last().unwrap().json().unwrap();
    assert_eq!(sent["content"][0]["attachment"]["url"], "Binary/B1");
    // The proof serves for another document of the same session, and for no other.
    let mut new = read.clone();
    new.as_object_mut().unwrap().retain(|name, _| name != "id" && name != "meta");
    assert_eq!(client.post("DocumentReference", &new).await.status, 201);
    let stranger = Client::new(&gate, "patient/DocumentReference.cruds patient/Binary.r").await;
    assert_eq!(stranger.post("DocumentReference", &new).await.status, 403, "BI-06");
}

/// Until the upstream has been asked something more.
async fn arrived(gate: &Gate, before: usize) {
    for _ in 0..5_000 {
        if gate.upstream.requests.count() > before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("the upstream was asked nothing")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_counts_before_and_after_the_change() {
    let gate = Gate::start().await;
    let session = gate.session("P1", KW).await;
    let token = gate.sign(&session, |_| {});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
    // Ended while the stored resource is looked at: nothing is changed.
    gate.upstream.faults.times(1, Fault::SlowHeaders(std::time::Duration::from_millis(1_000)));
    let before = gate.upstream.requests.count();
    let body = of("O1").to_string();
    let (reply, ended) = tokio::join!(gate.send("PUT", "Observation/O1", &headers, &body), async {
        arrived(&gate, before).await;
        gate.end(&session).await
    });
    assert!(ended);
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert!(gate.upstream.requests.writes().is_empty());
    // Ended while the change is made: it is on record as made, and not shown.
    let session = gate.session("P1", KW).await;
    let token = gate.sign(&session, |_| {});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
    gate.upstream.faults.times(1, Fault::SlowHeaders(std::time::Duration::from_millis(1_000)));
    let before = gate.upstream.requests.count();
    let body = observation("Patient/P1").to_string();
    let (reply, _) = tokio::join!(gate.send("POST", "Observation", &headers, &body), async {
        arrived(&gate, before).await;
        gate.end(&session).await
    });
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert_eq!(gate.upstream.requests.writes().len(), 1);
    let records = records(&gate).await;
    let phases: Vec<&str> =
        records.iter().filter(|(kind, ..)| kind == "fhir.create").map(|(_, phase, _)| phase.as_str()).collect();
    assert_eq!(phases, ["intent", "outcome"]);
}
