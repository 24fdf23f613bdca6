//! `$everything` and `$lastn`, and how they can give away too much.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use std::collections::BTreeSet;

use common::{NOW, get, post, send, small, start};
use demo_ehr::{DemoEhr, Fault, PageLinks};
use serde_json::json;

async fn catalogue() -> demo_ehr::Running {
    start(DemoEhr::from_resources(demo_ehr::fixture()).deleted("Observation", "ODEL")).await
}

#[tokio::test]
async fn everything_is_the_chart_and_what_it_shares() {
    let ehr = catalogue().await;
    let answer = get(&ehr, "Patient/P1/$everything?_count=200").await;
    let entries = answer.entries();
    let has = |name: &str| entries.iter().any(|entry| entry == name);
    for inside in [
        "Patient/P1",
        "Observation/O1",
        "Observation/OPF",
        "Observation/OAB",
        "Observation/OVR",
        "Appointment/A12",
        "Encounter/E1",
        "Practitioner/PRA",
        "Location/LOC1",
        "Medication/MED1",
        "Group/G12",
        "List/L1",
        "Patient/P0",
    ] {
        assert!(has(inside), "{inside} is missing: {entries:?}");
    }
    for outside in [
        "Patient/P2",
        "Patient/P12",
        "Observation/O2",
        "Observation/OEX",
        "Observation/ODEL",
        "Condition/C2",
        "Binary/B1",
    ] {
        assert!(!has(outside), "{outside}");
    }
    assert_eq!(entries[0], "Patient/P1");
    assert_eq!(entries.len(), entries.iter().collect::<BTreeSet<_>>().len());
    let bundle = answer.json();
    assert_eq!(
        (bundle["type"].as_str(), bundle["entry"][0]["search"]["mode"].as_str()),
        (Some("searchset"), Some("match"))
    );
    assert_eq!(bundle["entry"].as_array().unwrap().last().unwrap()["search"]["mode"], "include");
    assert_eq!(get(&ehr, "Patient/none/$everything").await.status, 404);
}

#[tokio::test]
async fn everything_can_be_narrowed_and_paged() {
    let ehr = start(DemoEhr::new(1, 50, NOW)).await;
    let kinds = get(&ehr, "Patient/pat-001/$everything?_type=Condition,Patient&_count=100").await.entries();
    assert!(
        kinds.len() > 1 && kinds.iter().all(|name| name.starts_with("Condition/") || name == "Patient/pat-001"),
        "{kinds:?}"
    );
    let some =
        get(&ehr, "Patient/pat-001/$everything?start=2026-09-01&end=2026-12-31&_type=Observation&_count=300").await;
    for entry in some.json()["entry"].as_array().cloned().unwrap_or_default() {
        let date = entry["resource"]["effectiveDateTime"].as_str().unwrap().to_owned();
        assert!(date.as_str() >= "2026-09-01" && date.as_str() < "2027", "{date}");
    }
    let none = get(&ehr, "Patient/pat-001/$everything?_since=2031-01-01").await;
    assert_eq!((none.status, none.entries().len()), (200, 0));
    for links in [PageLinks::GetPages, PageLinks::PageParameter] {
        let ehr = start(DemoEhr::new(1, 50, NOW).page_links(links)).await;
        let whole = get(&ehr, "Patient/pat-001/$everything?_count=500").await.entries();
        let mut url = Some(format!("{}/Patient/pat-001/$everything?_count=13", ehr.base_url));
        let mut paged = Vec::new();
        while let Some(next) = url {
            let page = send("GET", &next, &[], "").await;
            paged.extend(page.entries());
            url = page.link("next");
        }
        assert_eq!(paged, whole);
    }
}

#[tokio::test]
async fn lastn_is_the_latest_of_each_code() {
    let ehr = start(small()).await;
    for (search, expected) in [
        ("patient=P1&category=vital-signs", "Observation/O1"),
        ("patient=Patient/P1&code=8867-4", "Observation/O1L"),
        ("subject=Patient/P1&code=http://loinc.org|8867-4&max=2", "Observation/O1L Observation/O1"),
        ("patient=P2&category=vital-signs&max=9", "Observation/O2"),
        ("patient=P1&category=none", ""),
    ] {
        assert_eq!(get(&ehr, &format!("Observation/$lastn?{search}")).await.entries().join(" "), expected, "{search}");
    }
    assert_eq!(get(&ehr, "Observation/$lastn?category=vital-signs").await.status, 400);
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "patient", "valueString": "Patient/P1"}, {"name": "code", "valueString": "8867-4"}, {"name": "max", "valueInteger": 2}]});
    assert_eq!(post(&ehr, "Observation/$lastn", &parameters).await.entries().len(), 2);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/Observation/$lastn?max=1", ehr.base_url);
    assert_eq!(send("POST", &url, &form, "patient=P1&code=8867-4").await.entries(), ["Observation/O1L"]);
    assert!(ehr.requests.writes().is_empty(), "nothing of this is a write");
}

#[tokio::test]
async fn operations_can_give_away_too_much() {
    let ehr = catalogue().await;
    ehr.faults.only(Fault::EverythingOfEveryone);
    let entries = get(&ehr, "Patient/P1/$everything?_count=200").await.entries();
    for name in ["Patient/P1", "Patient/P2", "Observation/O2", "Condition/C2"] {
        assert!(entries.iter().any(|entry| entry == name), "{name}");
    }
    ehr.faults.only(Fault::LastnIgnoresPatient);
    let all = get(&ehr, "Observation/$lastn?patient=P1&category=vital-signs&max=50").await.entries();
    assert!(all.contains(&"Observation/O2".to_owned()));
    ehr.faults.only(Fault::IgnoreParameter("patient".into()));
    let all = get(&ehr, "Observation/$lastn?patient=P1&category=vital-signs&max=50").await.entries();
    assert!(all.contains(&"Observation/O2".to_owned()));
    ehr.faults.only(Fault::ForeignMatch("Patient/P2".into()));
    for list in ["Patient/P1/$everything?_count=200", "Observation/$lastn?patient=P1"] {
        assert!(get(&ehr, list).await.entries().contains(&"Patient/P2".to_owned()), "{list}");
    }
    ehr.faults.only(Fault::ForeignSubject("Patient/P2".into()));
    let told = get(&ehr, "Observation/$lastn?patient=P1").await.json();
    assert_eq!(told["entry"][0]["resource"]["subject"]["reference"], "Patient/P2");
    ehr.faults.only(Fault::Gone);
    assert_eq!(get(&ehr, "Patient/P1/$everything").await.status, 410);
}
