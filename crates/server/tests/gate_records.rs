//! Versions, histories, `$everything`, `$lastn` and Binary before an upstream that lies about them (b.2, b.10, b.15, S1-36).
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

const KOBS: &str = "patient/Observation.rs";
const KPO: &str = "patient/Patient.rs patient/Observation.rs";
const KALL: &str = "patient/*.rs";
const KDOC: &str = "patient/DocumentReference.rs patient/Binary.r";

fn foreign(reply: &Reply) -> bool {
    let words = ["Patient/P2", "Patient/P12", "\"P2\"", "\"P12\"", "Zwei", "mrn-p2", "\"id\":\"O2\"", "127.0.0.1"];
    words.iter().any(|word| reply.text().contains(word))
}

fn headers(reply: &Reply) -> Vec<String> {
    reply.headers.keys().map(ToString::to_string).collect()
}

async fn ask(gate: &Gate, token: &str, path: &str, more: &[(&str, &str)]) -> Reply {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend_from_slice(more);
    gate.send("GET", path, &headers, "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vr_03_histories_are_judged_version_by_version() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    for fault in [
        Fault::HistoryWithForeign("Observation/O2".into()),
        Fault::HistoryWithForeign("Observation/O1L".into()),
        Fault::HistoryWithForeign("Patient/P2".into()),
    ] {
        gate.upstream.faults.only(fault.clone());
        let reply = gate.get(&token, "Observation/OMV/_history").await;
        assert_eq!((reply.status, reply.versions()), (200, vec!["2".to_owned()]), "{fault:?}");
        assert_eq!(reply.entries(), ["Observation/OMV"], "{fault:?}");
        assert!(!foreign(&reply) && reply.json().get("total").is_none(), "{fault:?}");
    }
    gate.upstream.faults.clear();
    let absent = gate.get(&token, "Observation/none/_history").await;
    let other = gate.get(&token, "Observation/O2/_history").await;
    assert_eq!((other.status, &other.body, headers(&other)), (404, &absent.body, headers(&absent)));
    for (fault, status) in [
        (Fault::HistoryOfOther("Observation/O2".into()), 404),
        (Fault::HistoryOfOther("Observation/O1L".into()), 404),
        (Fault::HistoryWithoutResources, 404),
        (Fault::Gone, 404),
        (Fault::Status(403), 404),
        (Fault::Accepted("http://elsewhere/status".into()), 502),
        (Fault::BundleType("searchset".into()), 502),
        (Fault::OutcomeWith200, 502),
        (Fault::MalformedJson, 502),
        (Fault::ForeignSubject("Patient/P2".into()), 404),
        (Fault::Subsetted, 404),
    ] {
        gate.upstream.faults.only(fault.clone());
        let reply = gate.get(&token, "Observation/O1/_history").await;
        assert_eq!(reply.status, status, "{fault:?}: {}", reply.text());
        assert!(status != 404 || reply.body == absent.body, "{fault:?}");
        assert!(!foreign(&reply) && reply.header("content-location").is_empty(), "{fault:?}");
    }
    gate.upstream.faults.only(Fault::NextLink("http://elsewhere/fhir?page=2".into()));
    let reply = gate.get(&token, "Observation/O1/_history").await;
    assert!(reply.status == 200 && reply.link("next").is_none(), "PG-06");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vr_05_a_version_is_the_one_asked_for() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    let absent = gate.get(&token, "Observation/O1/_history/99").await;
    for path in ["Observation/OMV/_history/1", "Observation/O2/_history/1", "Observation/none/_history/1"] {
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, &reply.body, headers(&reply)), (404, &absent.body, headers(&absent)), "{path}");
    }
    for other in ["Observation/O2", "Observation/O1L", "Patient/P2", "OperationOutcome/OO"] {
        gate.upstream.faults.only(Fault::OtherResource(other.into()));
        let reply = gate.get(&token, "Observation/O1/_history/1").await;
        assert!(reply.status == 502 && !foreign(&reply), "{other}: {}", reply.text());
    }
    gate.upstream.faults.clear();
    let reply = gate.get(&token, "Observation/O1/_history/1").await;
    let etag = reply.header("etag").to_owned();
    let again = ask(&gate, &token, "Observation/O1/_history/1", &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0), "RD-34");
    let other = ask(&gate, &token, "Observation/OMV/_history/1", &[("if-none-match", "*")]).await;
    assert_eq!(other.status, 404, "RD-34 never for what is not the session's");
}

/// The entries of all pages, none of which names anybody else or tells that something was left out.
async fn pages(gate: &Gate, token: &str, target: &str) -> Vec<String> {
    let mut page = gate.get(token, target).await;
    let mut seen = Vec::new();
    loop {
        assert!(page.status == 200 && !foreign(&page), "{target}: {}", page.text());
        assert!(page.json().get("total").is_none() && !page.text().contains("OperationOutcome"), "{target}");
        seen.extend(page.entries());
        let Some(next) = page.link("next") else { break };
        page = gate.follow(token, &next).await;
    }
    seen.sort();
    seen.dedup();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn op_01_everything_is_the_patients_own_whatever_comes() {
    let gate = Gate::start().await;
    let token = gate.token_with_operations(KALL).await;
    let target = "Patient/P1/$everything";
    let plain = pages(&gate, &token, target).await;
    for entry in ["Patient/P1", "Observation/O1", "Condition/C1", "Practitioner/PRA"] {
        assert!(plain.contains(&entry.to_owned()), "{entry}: {plain:?}");
    }
    for entry in ["Observation/O2", "Group/G12", "Appointment/A12", "CarePlan/CP1", "Coverage/CV"] {
        assert!(!plain.contains(&entry.to_owned()), "OP-06 {entry}");
    }
    for fault in [
        Fault::EverythingOfEveryone,
        Fault::ForeignMatch("Observation/O2".into()),
        Fault::ForeignNextPage("Observation/O2".into()),
        Fault::Total(99),
    ] {
        gate.upstream.faults.only(fault.clone());
        assert_eq!(pages(&gate, &token, target).await, plain, "{fault:?}");
        assert_eq!(pages(&gate, &token, &format!("{target}?_count=3")).await, plain, "{fault:?}");
    }
    gate.upstream.faults.clear();
    // OP-02, OP-03: each type by its own scope, and S1-36.
    let own = gate.token_with_operations("patient/Patient.rs").await;
    assert_eq!(gate.get(&own, target).await.entries(), ["Patient/P1"]);
    for (token, path) in [
        (gate.token(KALL).await, target),
        (token.clone(), "Patient/P2/$everything"),
        (token.clone(), "Patient/none/$everything"),
        (gate.token_with_operations(KOBS).await, target),
        (own, "Patient/P1/$everything?_type=Observation"),
    ] {
        gate.upstream.requests.clear();
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, gate.upstream.requests.count()), (403, 0), "{path}");
    }
    for fault in
        [Fault::Accepted("http://elsewhere".into()), Fault::BundleType("collection".into()), Fault::Status(500)]
    {
        gate.upstream.faults.only(fault.clone());
        let reply = gate.get(&token, target).await;
        assert!(reply.status == 502 && !foreign(&reply), "{fault:?}: {}", reply.status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn op_12_lastn_is_of_what_the_session_sees() {
    let gate = Gate::start().await;
    let token = gate.token_with_operations(KOBS).await;
    let plain = gate.get(&token, "Observation/$lastn?patient=P1&max=100").await;
    assert_eq!(plain.status, 200, "{}", plain.text());
    assert!(plain.entries().contains(&"Observation/O1".to_owned()) && !foreign(&plain));
    assert_eq!(gate.get(&token, "Observation/$lastn").await.entries().len(), 1, "one code, one value");
    gate.upstream.faults.only(Fault::LastnIgnoresPatient);
    assert_eq!(gate.get(&token, "Observation/$lastn?patient=P1&max=100").await.body, plain.body);
    gate.upstream.faults.only(Fault::IgnoreParameter("patient".into()));
    let reply = gate.get(&token, "Observation/$lastn?max=100").await;
    assert!(reply.status == 200 && !foreign(&reply), "{}", reply.text());
    gate.upstream.faults.clear();
    assert_eq!(gate.get(&token, "Observation/$lastn").await.status, 502, "an ignored filter is not trusted again");
    let gate = Gate::start().await;
    for (token, path) in [
        (gate.token(KOBS).await, "Observation/$lastn"),
        (gate.token_with_operations(KOBS).await, "Observation/$lastn?patient=P2"),
        (gate.token_with_operations("patient/Observation.r").await, "Observation/$lastn"),
    ] {
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, gate.upstream.requests.count()), (403, 0), "S1-36 {path}");
    }
}

/// The address that a released document gives of its Binary.
async fn address(gate: &Gate, token: &str) -> String {
    let document = gate.get(token, "DocumentReference/D1").await.json();
    let url = document["content"][0]["attachment"]["url"].as_str().unwrap();
    url.strip_prefix("http://gate.test/mercy/fhir/").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bi_01_a_binary_is_had_by_what_leads_to_it() {
    let gate = Gate::start().await;
    let session = gate.session("P1", KDOC).await;
    let token = gate.sign(&session, |_| {});
    let path = address(&gate, &token).await;
    assert!(path.starts_with("Binary/B1?_hilum="), "{path}");
    for path in [path.as_str(), "Binary/B1"] {
        let raw = gate.get(&token, path).await;
        assert_eq!((raw.status, raw.text().as_str(), raw.header("content-type")), (200, "foo", "text/plain"), "BI-03");
        assert_eq!(raw.header("content-disposition"), "attachment");
        assert_eq!(raw.header("x-content-type-options"), "nosniff");
        assert!(raw.header("content-security-policy").contains("sandbox"));
        assert_eq!(raw.header("cache-control"), "no-store");
        let resource = ask(&gate, &token, path, &[("accept", "application/fhir+json")]).await.json();
        assert_eq!((&resource["resourceType"], &resource["data"]), (&json!("Binary"), &json!("Zm9v")));
    }
    // BI-02: another's, one of nobody, and none at all are one answer.
    let absent = gate.get(&token, "Binary/none").await;
    for id in ["B2", "BX"] {
        let reply = gate.get(&token, &format!("Binary/{id}")).await;
        assert_eq!((reply.status, &reply.body, headers(&reply)), (404, &absent.body, headers(&absent)), "{id}");
    }
    // A proof is of one session and one Binary, and no page.
    let sealed = path.split_once('?').unwrap().1;
    for (patient, scopes) in [("P1", KDOC), ("P2", KDOC), ("P1", KALL)] {
        let other = gate.token_for(patient, scopes).await;
        assert_eq!(gate.get(&other, &path).await.status, 403, "{patient} {scopes}");
    }
    for spoilt in [
        format!("Binary/B2?{sealed}"),
        format!("Binary/none?{sealed}"),
        format!("DocumentReference?{sealed}"),
        format!("{path}A"),
    ] {
        let reply = gate.get(&token, &spoilt).await;
        assert_eq!(reply.status, 403, "{spoilt}");
    }
    let link = gate.get(&gate.sign(&session, |_| {}), "DocumentReference?_count=1").await;
    assert!(link.link("next").is_none(), "P1 has one document");
    // BI-04: no grant of Binary, no proof.
    let documents = gate.token("patient/DocumentReference.rs").await;
    let text = gate.get(&documents, "DocumentReference/D1").await.text();
    assert!(!text.contains("_hilum"), "{text}");
    assert_eq!(gate.get(&documents, "Binary/B1").await.status, 403);
    // BI-05: a link that the session could have written proves nothing by itself.
    let writer = gate.token(&format!("{KDOC} patient/DocumentReference.cu")).await;
    assert_eq!(gate.get(&writer, "Binary/B1").await.status, 404);
    let etag = gate.get(&token, &path).await.header("etag").to_owned();
    let again = ask(&gate, &token, &path, &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = gate.send("HEAD", &path, &[("authorization", &format!("Bearer {token}"))], "").await;
    assert_eq!((head.status, head.body.len(), head.header("content-type")), (200, 0, "text/plain"));
    gate.clock.advance(900_001);
    assert!(gate.get(&token, &path).await.status >= 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bi_03_whatever_a_binary_claims_to_be_it_is_a_file() {
    let gate = Gate::start().await;
    let token = gate.token(KDOC).await;
    let path = address(&gate, &token).await;
    gate.upstream.faults.only(Fault::BinaryBytes(b"<script>alert(1)</script>".to_vec()));
    gate.upstream.faults.on(Fault::BinaryType("text/html".into()));
    for path in [path.as_str(), "Binary/B1"] {
        let reply = gate.get(&token, path).await;
        assert_eq!(reply.header("content-disposition"), "attachment", "{path}");
        assert_eq!(reply.header("content-security-policy"), "sandbox; default-src 'none'", "{path}");
    }
    assert_eq!(
        gate.get(&token, &path).await.header("content-type"),
        "text/plain",
        "the attachment's, not the Binary's"
    );
    for odd in ["text/html\r\nset-cookie: a=b", "", "nonsense", "a/b\u{e9}"] {
        gate.upstream.faults.only(Fault::BinaryType(odd.into()));
        let reply = gate.get(&token, "Binary/B1").await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/octet-stream"), "{odd:?}");
        assert!(reply.header("set-cookie").is_empty());
    }
    for other in ["Binary/B2", "Patient/P2"] {
        gate.upstream.faults.only(Fault::OtherResource(other.into()));
        let reply = gate.get(&token, &path).await;
        assert!(reply.status == 502 && !foreign(&reply), "{other}: {}", reply.text());
    }
    gate.upstream.faults.only(Fault::Accepted("http://elsewhere".into()));
    assert_eq!(gate.get(&token, &path).await.status, 502);
}

/// In a batch a Binary is a resource: content spliced into a Bundle would be read as whatever it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ba_a_binary_in_a_batch_is_a_resource() {
    let gate = Gate::start().await;
    let bearer = format!("Bearer {}", gate.token(KDOC).await);
    gate.upstream.faults.only(Fault::BinaryBytes(br#"{"resourceType":"Patient","id":"P1"},"x":1"#.to_vec()));
    let body = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Binary/B1"}}]}"#;
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let reply = gate.send("POST", "", &headers, body).await;
    let resource: &Value = &reply.json()["entry"][0]["resource"];
    assert_eq!(resource["resourceType"], "Binary", "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_01_forms_are_judged_like_queries() {
    let gate = Gate::start().await;
    let bearer = format!("Bearer {}", gate.token(KPO).await);
    let form = "application/x-www-form-urlencoded";
    let post = async |path: &str, media: &str, body: &str| {
        gate.upstream.requests.clear();
        let reply = gate.send("POST", path, &[("authorization", &bearer), ("content-type", media)], body).await;
        (reply, gate.upstream.requests.count())
    };
    let (reply, _) = post("Observation/_search", form, "_id=O1,O2").await;
    assert_eq!((reply.status, reply.entries()), (200, vec!["Observation/O1".to_owned()]), "PS-01");
    let (reply, _) = post("Patient/P1/Observation/_search", form, "_id=O1,O2").await;
    assert_eq!((reply.status, reply.entries()), (200, vec!["Observation/O1".to_owned()]), "CP-01");
    let (reply, _) = post("Observation/_search?_id=O1", form, "_id=O1L").await;
    assert!(reply.entries().is_empty(), "both hold");
    for (id, path, media, body, status) in [
        ("PS-02", "Observation/_search?patient=P1", form, "patient=P2", 403),
        ("PS-03", "Observation/_search?patient=P2", form, "patient=P1", 403),
        ("PS-03b", "Patient/P2/Observation/_search", form, "patient=P1", 403),
        ("PS-03c", "Patient/P1/Observation/_search", form, "patient=P2", 403),
        ("PS-05", "Observation/_search", "multipart/form-data; boundary=x", "code=1", 415),
        ("PS-06", "Observation/_search", "application/x-www-form-urlencoded; charset=utf-16", "code=1", 415),
        ("PS-07", "Observation/_search", form, "_include=Condition:subject", 400),
        ("PS-08", "Observation/_search", form, "_has:Condition:subject:code=x", 400),
        ("PS-08b", "Patient/_search", form, "_has:Condition:subject:code=x", 403),
        ("PS-09", "Observation/_search", "application/fhir+json", r#"{"resourceType":"Observation"}"#, 415),
        ("PS-11", "_search", form, "_type=Observation", 403),
        ("Binary", "Binary/_search", form, "_id=B1", 403),
        ("PG", "Observation/_search", form, "_hilum=AAAA", 400),
        ("operation", "Patient/P1/$everything", form, "", 403),
        ("operation", "Observation/$lastn", form, "patient=P1", 403),
    ] {
        let (reply, asked) = post(path, media, body).await;
        assert_eq!((reply.status, asked), (status, 0), "{id} {path} {body}: {}", reply.text());
    }
    let large = format!("code={}", "x".repeat(17 * 1024));
    assert_eq!(post("Observation/_search", form, &large).await.0.status, 413, "PS-16");
    let headers = [("authorization", bearer.as_str()), ("content-type", form), ("content-encoding", "gzip")];
    assert_eq!(gate.send("POST", "Observation/_search", &headers, "x").await.status, 415, "PS-15");
    assert_eq!(gate.send("PUT", "Observation/_search", &headers[..2], "x").await.status, 405, "PS-14");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_no_etag_to_match_and_no_head_a_body() {
    let gate = Gate::start().await;
    let token = gate.token_with_operations(KPO).await;
    let bearer = format!("Bearer {token}");
    for path in ["Observation?_id=O1", "Observation/O1/_history", "Patient/P1/$everything", "Observation/$lastn"] {
        for tag in ["*", "W/\"1\"", "\"\""] {
            let reply = ask(&gate, &token, path, &[("if-none-match", tag)]).await;
            assert_eq!((reply.status, reply.header("etag")), (200, ""), "{path} {tag}");
        }
        let head = gate.send("HEAD", path, &[("authorization", &bearer)], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn me_02_metadata_says_what_its_caller_may_do() {
    let gate = Gate::start().await;
    let types = |reply: &Reply| -> Vec<String> {
        let statement = reply.json();
        let resources = statement["rest"][0]["resource"].as_array().unwrap().clone();
        resources.iter().map(|resource| resource["type"].as_str().unwrap().to_owned()).collect()
    };
    let own = gate.get(&gate.token(KOBS).await, "metadata").await;
    assert_eq!((own.status, types(&own)), (200, vec!["Observation".to_owned()]));
    assert!(!own.text().contains("\"operation\"") && own.header("access-control-allow-origin").is_empty());
    let operated = gate.get(&gate.token_with_operations(KPO).await, "metadata").await;
    assert!(operated.text().contains("everything") && operated.text().contains("lastn"));
    assert!(!operated.text().contains("P1") && gate.upstream.requests.count() == 0);
    // A bad token is not nobody.
    for bad in ["x", "", "a.b.c"] {
        let reply = gate.get(bad, "metadata").await;
        assert_eq!(reply.status, 401, "`{bad}`: {}", reply.text());
    }
    let session = gate.session("P1", KOBS).await;
    let token = gate.sign(&session, |_| {});
    gate.end(&session).await;
    assert_eq!(gate.get(&token, "metadata").await.status, 401);
    for path in ["metadata?mode=terminology", "metadata/x"] {
        assert!(gate.send("GET", path, &[], "").await.status >= 400, "ME-04 {path}");
    }
}
