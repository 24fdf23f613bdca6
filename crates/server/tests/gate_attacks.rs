//! Every resource and every search the fixture allows, asked in every way by one patient's session: nobody else comes back.
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

use demo_ehr::Fault;
use fhir::ResourceType;
use fhir::params::{self, ParamKind};
use serde_json::Value;
use support::{Gate, Reply, fixture};

/// One session per type would be as good; a wildcard reaches everything that can be reached at all.
const KALL: &str = "patient/*.rs";

fn instances() -> Vec<(String, String)> {
    let name = |resource: &Value, key: &str| resource[key].as_str().unwrap().to_owned();
    fixture::resources().iter().map(|resource| (name(resource, "resourceType"), name(resource, "id"))).collect()
}

/// Words of P2 and P12 in the fixture, links and the caller's own words apart.
fn names_somebody_else(reply: &Reply) -> bool {
    if reply.status == 304 {
        return false;
    }
    // What is no JSON is the content of a Binary.
    let text = match serde_json::from_slice::<Value>(&reply.body) {
        Ok(mut body) => {
            if let Some(members) = body.as_object_mut() {
                members.remove("link");
            }
            body.to_string()
        }
        Err(_) => reply.text(),
    };
    ["Patient/P2", "Patient/P12", "\"P2\"", "\"P12\"", "Zwei", "mrn-p2", "mrn-p12", "FOREIGN-"]
        .iter()
        .any(|word| text.contains(word))
}

/// `Type/id` and the status of what a session may read, with a new session where the budget of absent ones is spent.
async fn readable(gate: &Gate, patient: &str) -> BTreeSet<String> {
    let mut token = gate.token_for(patient, KALL).await;
    let (mut found, mut absent) = (BTreeSet::new(), 0);
    for (kind, id) in instances() {
        let target = format!("{kind}/{id}");
        let reply = gate.get(&token, &target).await;
        if patient == "P1" {
            assert!(!names_somebody_else(&reply), "{target}: {}", reply.text());
        }
        match reply.status {
            200 => {
                found.insert(target);
            }
            404 => absent += 1,
            status => assert_eq!(status, 403, "{target}: {}", reply.text()),
        }
        if absent == support::ABSENT_BUDGET - 1 {
            token = gate.token_for(patient, KALL).await;
            absent = 0;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_patients_read_nothing_in_common_but_what_is_shared() {
    let gate = Gate::start().await;
    let (first, second) = (readable(&gate, "P1").await, readable(&gate, "P2").await);
    assert!(first.contains("Observation/O1") && second.contains("Observation/O2"), "{first:?} {second:?}");
    for common in first.intersection(&second) {
        let kind: ResourceType = common.split('/').next().unwrap().parse().unwrap();
        assert!(fhir::owner::shareable(kind), "{common} is read by two patients");
    }
}

/// Whatever a search says and an upstream makes of it, its entries are among what the session may read by id.
async fn search_all(gate: &Gate, queries: &[String], allowed: &BTreeSet<String>) -> usize {
    let mut token = gate.token(KALL).await;
    let mut answered = 0;
    for (count, query) in queries.iter().enumerate() {
        if count % 200 == 199 {
            token = gate.token(KALL).await;
        }
        let reply = gate.get(&token, query).await;
        assert!(!names_somebody_else(&reply), "{query}: {}", reply.text());
        if reply.status == 200 {
            answered += 1;
            for entry in reply.entries() {
                assert!(allowed.contains(&entry), "{query}: {entry}");
            }
            assert!(reply.json().get("total").is_none(), "{query}");
        }
    }
    answered
}

/// Each type of the fixture by each reference parameter, `_id`, include and reverse include.
fn queries() -> Vec<String> {
    let instances = instances();
    let kinds: BTreeSet<ResourceType> = instances.iter().map(|(kind, _)| kind.parse().unwrap()).collect();
    let mut all = Vec::new();
    for kind in &kinds {
        all.extend([kind.to_string(), format!("{kind}?_sort=-_lastUpdated&_count=1"), format!("{kind}?_elements=id")]);
        let ids: Vec<&str> =
            instances.iter().filter(|(known, _)| known == kind.name()).map(|(_, id)| id.as_str()).collect();
        all.push(format!("{kind}?_id={}", ids.join(",")));
        for param in params::all(*kind).iter().filter(|param| param.kind == ParamKind::Reference) {
            all.push(format!("{kind}?_include={kind}:{}", param.name));
            for value in ["Patient/P1,Patient/P2", "P2", "Practitioner/PRA", "Observation/O2", "Group/G12"] {
                all.push(format!("{kind}?{}={value}", param.name));
            }
            for target in kinds.iter().filter(|target| param.targets.contains(target)) {
                all.push(format!("{target}?_revinclude={kind}:{}", param.name));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_search_finds_more_than_the_session_may_read() {
    let gate = Gate::start().await;
    let allowed = readable(&gate, "P1").await;
    let answered = search_all(&gate, &queries(), &allowed).await;
    assert!(answered > 100, "{answered}");
}

/// The same before an upstream that ignores every parameter and adds whatever it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_search_finds_more_when_the_upstream_ignores_everything() {
    let gate = Gate::start().await;
    let allowed = readable(&gate, "P1").await;
    for faults in [vec![Fault::IgnoreAllParameters], vec![Fault::IncludeEverything, Fault::MissingSearchMode]] {
        gate.upstream.faults.clear();
        faults.into_iter().for_each(|fault| gate.upstream.faults.on(fault));
        let answered = search_all(&gate, &queries(), &allowed).await;
        assert!(answered > 10, "{answered}");
    }
}

/// Spellings of one path and one query that some reader in between could take for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_spellings_reach_nobody() {
    let gate = Gate::start().await;
    let token = gate.token(KALL).await;
    for path in [
        "Patient%2FP2",
        "Patient/P1%2F..%2FP2",
        "Patient/P1/../P2",
        "Patient/%2e%2e/Patient/P2",
        "Patient/P1%00/P2",
        "Patient/P1;x=/P2",
        "Patient/P1%3F_id=P2",
        "Patient/P1%23/P2",
        "Patient//P2",
        "./Patient/P2",
        "patient/P2",
        "PATIENT/P2",
        "Patient/P2/",
        "Patient/P2?_format=json",
        "Patient/P1/Patient/P2",
        "Patient/P2/_history/1",
        "Patient/P2/_history",
        "Patient/P2/Observation",
        "Patient/P1/Patient/_search?_id=P2",
        "Patient/P2/Observation?patient=P1",
        "Binary/B2?_hilum=AAAA",
        "Binary/B2/_history",
        "Observation/O2/_history?_elements=id",
        "Observation/O2/_history/1?_summary=true",
        "Observation/$lastn?patient=P2",
        "Patient?_has:Observation:performer:patient=P2",
        "Condition?encounter.patient=P2",
        "Patient?_id=P2",
        "Patient?_id=P1&_id=P2",
        "Patient?_id=P1%00P2",
        "Patient?%5Fid=P2",
        "Patient?%255Fid=P2",
        "Patient?_id:exact=P2",
        "Patient?_ID=P2",
        "Patient?_id=P1;_id=P2",
        "Observation?patient=P1;patient=P2",
        "Observation?patient[]=P2",
        "Observation?patient=P1&Patient=P2",
        "Observation?patient=P1&patient=P2",
        "Observation?subject=%2550atient/P2",
        "Observation?subject=Patient%252FP2",
        "Observation?subject=Patient/P1%0d%0asubject=Patient/P2",
        "Observation?_include=Observation:subject:Patient:Patient",
        "Observation?_include:iterate=*",
        "Observation?_revinclude=*",
        "Observation?_filter=subject%20eq%20Patient/P2",
        "Observation?_content=Zwei",
        "Observation?subject.name=Zwei",
        "Observation?_has:Observation:derived-from:subject=P2",
        "Observation?_sort=subject.name",
        "Observation?_elements=subject.display",
        "Observation?_summary=count",
        "Observation?_count=0",
        "?_type=Patient",
        "_search?_type=Patient",
        "Patient/_search?_id=P2",
        "Patient/$everything",
        "Patient/P2/%24everything",
        "Group/G12/$export",
        "Binary/B2",
        "Bundle/doc",
        "DEFAULT/Patient/P2",
    ] {
        let reply = gate.get(&token, path).await;
        assert!(!names_somebody_else(&reply), "{path}: {}", reply.text());
        assert!(
            reply.status >= 400 || reply.entries().iter().all(|entry| entry == "Patient/P1"),
            "{path}: {}",
            reply.text()
        );
    }
    // Nothing sent upstream named P2 either.
    assert!(gate.upstream.requests.all().iter().all(|request| !format!("{request:?}").contains("P2")));
}

/// A page link is no right: it is tried by everybody but the session it was made for, and in other shapes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_links_serve_their_own_session_only() {
    let gate = Gate::start().await;
    let session = gate.session("P1", "patient/Observation.rs").await;
    let token = gate.sign(&session, |_| {});
    let first = gate.get(&token, "Observation?_count=1").await;
    let link = first.link("next").unwrap();
    let path = link.strip_prefix("http://gate.test/mercy/fhir/").unwrap().to_owned();
    for patient in ["P1", "P2"] {
        for scopes in ["patient/Observation.rs", KALL] {
            let other = gate.token_for(patient, scopes).await;
            assert!(gate.get(&other, &path).await.status >= 400, "{patient} {scopes}");
        }
    }
    let sealed = path.split_once('=').unwrap().1;
    for spoilt in [
        path.replacen("Observation", "Condition", 1),
        format!("{path}&patient=P2"),
        format!("{path}&_count=100"),
        format!("{path}A"),
        path[..path.len() - 1].to_owned(),
        format!("Observation?_hilum={}", sealed.to_uppercase()),
        format!("Observation?_hilum={sealed}&_hilum={sealed}"),
        "Observation?_hilum=AAAA".to_owned(),
    ] {
        assert!(gate.get(&token, &spoilt).await.status >= 400, "{spoilt}");
    }
    assert_eq!(gate.get(&token, &path).await.status, 200);
    gate.clock.advance(900_001);
    assert!(gate.get(&token, &path).await.status >= 400, "and no longer than the session");
}

/// What a browser, a client library or `curl` sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_headers_of_ordinary_clients_are_taken() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Observation.rs").await;
    let bearer = format!("Bearer {token}");
    for accept in [
        "*/*",
        "application/json",
        "application/fhir+json",
        "application/fhir+json; fhirVersion=4.0",
        "application/fhir+json;charset=utf-8",
        "application/fhir+json, application/json;q=0.9, */*;q=0.8",
        "application/fhir+xml;q=1.0, application/fhir+json;q=1.0, application/xml+fhir;q=0.9, application/json+fhir;q=0.9",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", accept),
            ("prefer", "handling=strict"),
            ("cache-control", "no-cache"),
        ];
        let reply = gate.send("GET", "Observation?patient=Patient/P1&_sort=-date&_count=5000", &headers, "").await;
        assert_eq!(reply.status, 200, "{accept}: {}", reply.text());
        assert!(reply.entries().contains(&"Observation/O1".to_owned()));
    }
}
