//! Every version is kept and told, and histories can lie.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::{get, send, small, start};
use demo_ehr::{Fault, PageLinks, Running};
use serde_json::{Value, json};

fn condition(patient: &str) -> Value {
    json!({"resourceType": "Condition", "id": "C9", "subject": {"reference": format!("Patient/{patient}")}})
}

/// A Condition that came, changed, went and came again: four versions.
async fn storied(links: PageLinks) -> Running {
    let ehr = start(small().page_links(links)).await;
    ehr.put(condition("P1"));
    ehr.put(condition("P2"));
    ehr.delete("Condition", "C9");
    ehr.put(condition("P1"));
    ehr
}

fn of(entry: &Value, pointer: &str) -> String {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned()
}

#[tokio::test]
async fn a_history_is_every_version_newest_first() {
    let ehr = storied(PageLinks::GetPages).await;
    let answer = get(&ehr, "Condition/C9/_history").await;
    let bundle = answer.json();
    assert_eq!((answer.status, bundle["type"].as_str(), bundle["total"].as_u64()), (200, Some("history"), Some(4)));
    let told: Vec<String> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let parts =
                ["/request/method", "/request/url", "/response/status", "/response/etag", "/resource/meta/versionId"];
            parts.map(|pointer| of(entry, pointer)).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "POST Condition 201 Created W/\"4\" 4",
            "DELETE Condition/C9 204 No Content W/\"3\" -",
            "PUT Condition/C9 200 OK W/\"2\" 2",
            "POST Condition 201 Created W/\"1\" 1",
        ]
    );
    assert_eq!(of(&bundle["entry"][1], "/fullUrl"), format!("{}/Condition/C9", ehr.base_url));
    assert_eq!(get(&ehr, "Condition/C9/_history/2").await.json()["subject"]["reference"], "Patient/P2");
    assert_eq!(get(&ehr, "Condition/C9/_history/3").await.status, 410);
    assert_eq!(get(&ehr, "Condition/C9/_history/5").await.status, 404);
    assert_eq!(get(&ehr, "Condition/none/_history").await.status, 404);
    assert_eq!(get(&ehr, "Observation/ODEL/_history").await.json()["total"], 2);
    let since = of(&bundle["entry"][1], "/response/lastModified");
    assert_eq!(get(&ehr, &format!("Condition/C9/_history?_since={since}")).await.json()["total"], 2);
    assert_eq!(get(&ehr, "Condition/C9/_history?_count=0").await.json()["entry"], Value::Null);
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    for links in [PageLinks::GetPages, PageLinks::PageParameter] {
        let ehr = storied(links).await;
        let first = get(&ehr, "Condition/C9/_history?_count=3").await;
        assert_eq!(first.json()["entry"].as_array().unwrap().len(), 3);
        let second = send("GET", &first.link("next").unwrap(), &[], "").await;
        assert_eq!(of(&second.json(), "/entry/0/resource/meta/versionId"), "1");
        assert!(second.link("next").is_none() && second.json()["entry"].as_array().unwrap().len() == 1);
    }
}

#[tokio::test]
async fn histories_can_lie() {
    let ehr = storied(PageLinks::GetPages).await;
    ehr.faults.only(Fault::HistoryWithForeign("Observation/O2".into()));
    let told = get(&ehr, "Condition/C9/_history").await.entries();
    assert!(told.len() == 5 && told.contains(&"Observation/O2".to_owned()), "{told:?}");
    ehr.faults.only(Fault::HistoryOfOther("Observation/O2".into()));
    assert_eq!(get(&ehr, "Condition/C9/_history").await.entries(), ["Observation/O2"]);
    ehr.faults.only(Fault::HistoryWithoutResources);
    assert_eq!(get(&ehr, "Condition/C9/_history").await.entries(), ["?/?", "?/?", "?/?", "?/?"]);
    ehr.faults.only(Fault::ForeignSubject("Patient/P2".into()));
    assert_eq!(
        get(&ehr, "Condition/C9/_history").await.json()["entry"][0]["resource"]["subject"]["reference"],
        "Patient/P2"
    );
    ehr.faults.only(Fault::ForeignNextPage("Observation/O2".into()));
    let first = get(&ehr, "Condition/C9/_history?_count=3").await;
    assert_eq!(first.entries().len(), 3);
    assert_eq!(send("GET", &first.link("next").unwrap(), &[], "").await.entries(), ["Condition/C9", "Observation/O2"]);
    ehr.faults.only(Fault::Gone);
    assert_eq!(get(&ehr, "Condition/C9/_history").await.status, 410);
}

#[tokio::test]
async fn a_history_of_all_is_every_change_since() {
    let ehr = storied(PageLinks::GetPages).await;
    let all = get(&ehr, "_history?_count=500").await.json();
    assert_eq!(all["entry"].as_array().unwrap().len() as u64, all["total"].as_u64().unwrap());
    let since = of(&get(&ehr, "Condition/C9/_history/2").await.json(), "/meta/lastUpdated");
    let page = get(&ehr, &format!("_history?_since={since}&_count=2")).await;
    assert_eq!(of(&page.json(), "/entry/0/response/etag"), "W/\"4\"");
    assert_eq!(of(&page.json(), "/entry/1/request/method"), "DELETE");
    let next = send("GET", &page.link("next").unwrap(), &[], "").await.json();
    assert_eq!((of(&next, "/entry/0/response/etag").as_str(), next["entry"].as_array().unwrap().len()), ("W/\"2\"", 1));
}
