//! What a client sees of an upstream that behaves: read, vread, search, includes, pages, conditions, authentication.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::{NOW, get, send, small, start};
use demo_ehr::{Auth, DemoEhr, PageLinks, UnknownParameters};
use serde_json::Value;

#[tokio::test]
async fn the_capability_statement_says_what_this_is() {
    let ehr = start(small()).await;
    let statement = get(&ehr, "metadata").await.json();
    assert_eq!(statement["resourceType"], "CapabilityStatement");
    assert_eq!(statement["fhirVersion"], "4.0.1");
    let text = statement["implementation"]["description"].as_str().unwrap();
    assert!(text.contains("demonstration upstream") && text.contains("not a FHIR server product"), "{text}");
    assert_eq!(statement["implementation"]["url"], ehr.base_url.as_str());
    let observation = statement["rest"][0]["resource"].as_array().unwrap().iter().find(|r| r["type"] == "Observation");
    let codes: Vec<&str> =
        observation.unwrap()["interaction"].as_array().unwrap().iter().map(|i| i["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["read", "vread", "history-instance", "search-type", "create", "update", "delete"]);
    assert_eq!(observation.unwrap()["operation"][0]["name"], "lastn");
    let whole: Vec<&Value> =
        statement["rest"][0]["interaction"].as_array().unwrap().iter().map(|i| &i["code"]).collect();
    assert_eq!(whole, ["transaction", "batch", "history-system"]);
    assert!(observation.unwrap()["searchParam"].as_array().unwrap().iter().any(|p| p["name"] == "patient"));
}

#[tokio::test]
async fn reads_answer_the_current_version_with_its_validators() {
    let ehr = start(small()).await;
    let read = get(&ehr, "Observation/OMV").await;
    assert_eq!((read.status, read.header("etag")), (200, Some("W/\"2\"")));
    assert_eq!(read.header("content-type"), Some("application/fhir+json;charset=utf-8"));
    assert_eq!(read.json()["subject"]["reference"], "Patient/P1");
    assert_eq!(get(&ehr, "Observation/OMV/_history/1").await.json()["subject"]["reference"], "Patient/P2");
    assert_eq!(get(&ehr, "Observation/OMV/_history/9").await.status, 404);
    let url = format!("{}/Observation/OMV", ehr.base_url);
    assert_eq!(send("GET", &url, &[("if-none-match", "W/\"2\"")], "").await.status, 304);
    assert_eq!(send("GET", &url, &[("if-none-match", "W/\"1\"")], "").await.status, 200);
    let modified = read.header("last-modified").unwrap();
    assert_eq!(send("GET", &url, &[("if-modified-since", modified)], "").await.status, 304);
    assert_eq!(
        get(&ehr, "Observation/OAB").await.json()["subject"]["reference"],
        format!("{}/Patient/P1", ehr.base_url)
    );
}

#[tokio::test]
async fn refusals_are_outcomes_that_say_too_much() {
    let ehr = start(small()).await;
    for (method, path, status) in [
        ("GET", "Observation/none", 404),
        ("GET", "Observation/ODEL", 410),
        ("GET", "observation/O1", 404),
        ("GET", "Nonsense", 404),
        ("GET", "Patient/$export", 400),
        ("POST", "Observation", 400),
        ("PUT", "Observation/O1", 400),
        ("PUT", "Observation?_id=O1", 412),
        ("DELETE", "Observation?_id=O1", 412),
        ("DELETE", "Observation/none", 404),
        ("PATCH", "Observation/O1", 405),
    ] {
        let answer = send(method, &format!("{}/{path}", ehr.base_url), &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{method} {path}");
    }
    let absent = get(&ehr, "Observation/none").await.text();
    assert!(absent.contains("HFJ_RESOURCE") && absent.contains("Patient/P"), "{absent}");
}

#[tokio::test]
async fn searches_filter_sort_and_include() {
    let ehr = start(small()).await;
    for (search, expected) in [
        ("Observation?patient=P1", "Observation/O1 Observation/O1L Observation/OAB Observation/OMV"),
        ("Observation?subject=Patient/P1&category=laboratory", "Observation/O1L"),
        ("Observation?subject:Patient=P2", "Observation/O2"),
        ("Observation?patient=P1,P2&category:not=laboratory&code=8867-4", "Observation/O1 Observation/O2"),
        ("Observation?date=ge2026-02-01&_sort=-date", "Observation/O2 Observation/O1L"),
        ("Observation?_id=O1,O2&_sort=-_id", "Observation/O2 Observation/O1"),
        ("Patient?family=tw", "Patient/P2"),
        ("Patient?birthdate=lt1985", "Patient/P1"),
        ("Patient?name:exact=Ana", "Patient/P1"),
        ("Observation?_id=O1&_include=Observation:patient", "Observation/O1 Patient/P1"),
        ("Observation?_id=O1&_include=Observation:performer:Practitioner", "Observation/O1 Practitioner/PRA"),
        ("Observation?_id=O1&_include=Observation:performer:Patient", "Observation/O1"),
        ("Patient?_id=P2&_revinclude=Observation:subject", "Patient/P2 Observation/O2"),
        ("Observation?patient=P1&_count=0", ""),
        ("Observation?made-up=1&patient=P2", "Observation/O2"),
    ] {
        let answer = get(&ehr, search).await;
        assert_eq!((answer.status, answer.entries().join(" ").as_str()), (200, expected), "{search}");
    }
    let included = get(&ehr, "Observation?_id=O1&_include=Observation:patient").await.json();
    assert_eq!(included["total"], 1);
    assert_eq!(included["entry"][1]["search"]["mode"], "include");
    assert_eq!(included["entry"][0]["fullUrl"], format!("{}/Observation/O1", ehr.base_url));
    let cut = get(&ehr, "Observation?_id=O1&_elements=code").await.json();
    assert_eq!(cut["entry"][0]["resource"]["meta"]["tag"][0]["code"], "SUBSETTED");
    assert!(cut["entry"][0]["resource"]["subject"].is_null());
    assert!(get(&ehr, "Observation?_total=none").await.json()["total"].is_null());
}

#[tokio::test]
async fn post_search_joins_query_and_form() {
    let ehr = start(small()).await;
    let url = format!("{}/Observation/_search?category=vital-signs", ehr.base_url);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = send("POST", &url, &form, "patient=Patient%2FP1").await;
    assert_eq!(answer.entries(), ["Observation/O1"]);
    let seen = ehr.requests.last().unwrap();
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "patient=Patient%2FP1"));
    assert_eq!(seen.parameter("category"), ["vital-signs"]);
    assert_eq!(seen.header("content-type"), Some(form[0].1));
}

#[tokio::test]
async fn repeated_parameters_all_hold_and_lists_are_alternatives() {
    let ehr = start(small()).await;
    for (search, expected) in [
        ("category=vital-signs,laboratory&patient=P1", "Observation/O1 Observation/O1L"),
        ("category=vital-signs&category=laboratory&patient=P1", ""),
        ("date=ge2026-01-05&date=lt2026-02-01", "Observation/O1"),
        ("category=x,http://terminology.hl7.org/CodeSystem/observation-category|laboratory", "Observation/O1L"),
        ("category=http://elsewhere.example|laboratory", ""),
        ("code=8867-4&code=http://loinc.org|", "Observation/O1 Observation/O1L Observation/O2"),
        ("_id=O1,O2&patient=P1", "Observation/O1"),
        ("patient=P1&patient=P2", ""),
        ("_lastUpdated=ge2026-01-01&_id=O1", "Observation/O1"),
        ("_lastUpdated=lt2026-01-01", ""),
        ("_lastUpdated=gt2025-01-01&_lastUpdated=lt2027-01-01&_id=O2", "Observation/O2"),
    ] {
        let answer = get(&ehr, &format!("Observation?{search}")).await;
        assert_eq!((answer.status, answer.entries().join(" ").as_str()), (200, expected), "{search}");
    }
}

#[tokio::test]
async fn includes_iterate_until_nothing_new_comes() {
    let ehr = start(DemoEhr::from_resources(vec![
        serde_json::json!({"resourceType": "Organization", "id": "A", "partOf": {"reference": "Organization/B"}}),
        serde_json::json!({"resourceType": "Organization", "id": "B", "partOf": {"reference": "Organization/C"}}),
        serde_json::json!({"resourceType": "Organization", "id": "C", "partOf": {"reference": "Organization/A"}}),
        serde_json::json!({"resourceType": "Patient", "id": "P1", "managingOrganization": {"reference": "Organization/A"}}),
        serde_json::json!({"resourceType": "Encounter", "id": "E1", "subject": {"reference": "Patient/P1"}}),
        serde_json::json!({"resourceType": "Observation", "id": "O1", "encounter": {"reference": "Encounter/E1"}}),
    ]))
    .await;
    for (search, expected) in [
        ("Organization?_id=A&_include=Organization:partof", "Organization/A Organization/B"),
        ("Organization?_id=A&_include:iterate=Organization:partof", "Organization/A Organization/B Organization/C"),
        ("Organization?_id=A&_include:recurse=Organization:partof", "Organization/A Organization/B Organization/C"),
        ("Observation?_include=Observation:encounter&_include=Encounter:subject", "Observation/O1 Encounter/E1"),
        (
            "Observation?_include=Observation:encounter&_include:iterate=Encounter:subject&_include:iterate=Patient:organization",
            "Observation/O1 Encounter/E1 Patient/P1 Organization/A",
        ),
        ("Patient?_revinclude=Encounter:subject&_revinclude=Observation:encounter", "Patient/P1 Encounter/E1"),
        (
            "Patient?_revinclude=Encounter:subject&_revinclude:iterate=Observation:encounter",
            "Patient/P1 Encounter/E1 Observation/O1",
        ),
    ] {
        assert_eq!(get(&ehr, search).await.entries().join(" "), expected, "{search}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    for links in [PageLinks::GetPages, PageLinks::PageParameter] {
        let ehr = start(DemoEhr::new(1, 50, NOW).page_links(links)).await;
        let mut url = format!("{}/Observation?patient=pat-001&_count=7", ehr.base_url);
        let mut seen = std::collections::BTreeSet::new();
        let mut pages = 0;
        loop {
            let page = send("GET", &url, &[], "").await;
            for entry in page.entries() {
                assert!(seen.insert(entry), "an entry came twice");
            }
            pages += 1;
            assert!(pages < 30);
            match page.link("next") {
                Some(next) => url = next,
                None => {
                    assert_eq!(page.json()["total"], seen.len());
                    break;
                }
            }
        }
        assert!(pages > 2 && seen.len() > 14, "{pages} pages, {} entries", seen.len());
    }
}

#[tokio::test]
async fn strict_servers_refuse_unknown_parameters() {
    let ehr = start(small().unknown_parameters(UnknownParameters::Refuse)).await;
    let answer = get(&ehr, "Observation?made-up=1").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("made-up"));
    assert_eq!(get(&ehr, "Observation?patient=P1&_count=5&_format=json").await.status, 200);
}

#[tokio::test]
async fn bearer_and_smart_backend_let_only_their_tokens_in() {
    let ehr = start(small().auth(Auth::Bearer("letmein".into()))).await;
    assert_eq!(get(&ehr, "metadata").await.status, 200);
    let refused = get(&ehr, "Patient/P1").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    let url = format!("{}/Patient/P1", ehr.base_url);
    assert_eq!(send("GET", &url, &[("authorization", "Bearer wrong")], "").await.status, 401);
    assert_eq!(send("GET", &url, &[("authorization", "Bearer letmein")], "").await.status, 200);

    let ehr = start(small().auth(Auth::SmartBackend { seconds: 300 })).await;
    let url = format!("{}/Patient/P1", ehr.base_url);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "grant_type=client_credentials&scope=system%2F*.rs&client_assertion=aa.bb.cc&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    assert_eq!(send("POST", &ehr.token_url, &form, "grant_type=password").await.status, 400);
    let answer = send("POST", &ehr.token_url, &form, body).await;
    assert_eq!(answer.status, 200);
    let token = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    assert_eq!(send("GET", &url, &[("authorization", &token)], "").await.status, 200);
    assert_eq!(ehr.token_requests(), 2);
    ehr.forget_tokens();
    assert_eq!(send("GET", &url, &[("authorization", &token)], "").await.status, 401);
    assert_eq!(get(&ehr, ".well-known/smart-configuration").await.json()["token_endpoint"], ehr.token_url.as_str());
}

#[tokio::test]
async fn resources_can_come_and_go_while_it_runs() {
    let ehr = start(small()).await;
    ehr.put(serde_json::json!({"resourceType": "Condition", "id": "C9", "subject": {"reference": "Patient/P1"}}));
    assert_eq!(get(&ehr, "Condition?patient=P1").await.entries(), ["Condition/C9"]);
    ehr.delete("Condition", "C9");
    assert_eq!(get(&ehr, "Condition/C9").await.status, 410);
    assert!(get(&ehr, "Condition?patient=P1").await.entries().is_empty());
}

#[tokio::test]
async fn the_catalogue_fixture_answers_as_an_upstream_would() {
    let ehr = start(DemoEhr::from_resources(demo_ehr::fixture()).deleted("Observation", "ODEL")).await;
    for (search, expected) in [
        ("Appointment?actor=Patient/P1", "Appointment/A1 Appointment/A12"),
        ("Appointment?patient=P1", "Appointment/A1 Appointment/A12"),
        ("Appointment?location=P1", ""),
        ("Provenance?patient=P1", ""),
        ("Group?member=Patient/P1", "Group/G12"),
        ("Patient?_id=P1&_revinclude=Observation:performer", "Patient/P1 Observation/OPF"),
        ("Patient?_id=P1&_include=Patient:link", "Patient/P1 Patient/P0"),
        ("Observation?subject=https://elsewhere/fhir/Patient/P1", "Observation/OEX"),
    ] {
        assert_eq!(get(&ehr, search).await.entries().join(" "), expected, "{search}");
    }
    assert_eq!(get(&ehr, "Observation/ODEL").await.status, 410);
}
