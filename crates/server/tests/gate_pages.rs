//! Pages through the whole server: what is held back shows in none of them (b.14).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use demo_ehr::{DemoEhr, PageLinks};
use serde_json::{Value, json};
use support::{Gate, Reply};

const KPO: &str = "patient/Patient.rs patient/Observation.rs";

/// The patient with 45 observations, and among them, where asked for, as many again that are labelled, at every kind of place.
async fn gate(hidden: bool, links: PageLinks) -> Gate {
    let mut all = vec![json!({"resourceType": "Patient", "id": "P1"})];
    for at in 0..45 {
        let one = |id: String, meta: Value| {
            json!({"resourceType": "Observation", "id": id, "status": "final", "meta": meta,
                "code": {"text": "x"}, "subject": {"reference": "Patient/P1"}})
        };
        let times = if hidden { [1, 0, 3, 0, 0, 2, 1][at % 7] + if at == 44 { 30 } else { 0 } } else { 0 };
        all.push(one(format!("O{at:02}"), json!({})));
        for time in 0..times {
            let label = json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]});
            all.push(one(format!("O{at:02}-{time:02}"), label));
        }
    }
    Gate::start_with(|_| DemoEhr::from_resources(all).page_links(links), |_| {}).await
}

/// What a caller sees of all pages, but for the seals.
async fn pages(gate: &Gate, token: &str, method: &str, target: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let (path, body) = if method == "POST" { target.split_once('?').unwrap() } else { (target, "") };
    let form = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let headers = if method == "POST" { &form[..] } else { &form[..1] };
    let mut page = gate.send(method, path, headers, body).await;
    let mut out = Vec::new();
    loop {
        assert_eq!(page.status, 200, "{target}: {}", page.text());
        out.push(seen(&page));
        let Some(next) = page.link("next") else { return out };
        page = gate.follow(token, &next).await;
    }
}

fn seen(page: &Reply) -> Value {
    let mut page = page.json();
    for link in page["link"].as_array_mut().unwrap() {
        let url = link["url"].as_str().unwrap();
        link["url"] = url.split_once("_hilum=").map_or(url, |(before, _)| before).into();
    }
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_those_of_an_upstream_without_what_is_held_back() {
    for links in [PageLinks::GetPages, PageLinks::PageParameter] {
        let (with, without) = (gate(true, links).await, gate(false, links).await);
        let (token, plain) = (with.token_with_operations(KPO).await, without.token_with_operations(KPO).await);
        for (method, target, sizes) in [
            ("GET", "Observation", vec![20, 20, 5]),
            ("GET", "Observation?_count=10&_sort=-_id", vec![10, 10, 10, 10, 5]),
            ("GET", "Observation?_count=15&_include=Observation:subject", vec![16, 16, 16]),
            ("GET", "Observation?_count=100", vec![45]),
            ("POST", "Observation/_search?_count=15", vec![15, 15, 15]),
            ("GET", "Patient/P1/$everything?_count=23", vec![23, 23]),
        ] {
            if links == PageLinks::PageParameter && target.contains('$') {
                // A link with `$` in its path is no plain one, and dropped.
                continue;
            }
            let expected = pages(&without, &plain, method, target).await;
            let lengths: Vec<usize> = expected.iter().map(|page| page["entry"].as_array().unwrap().len()).collect();
            assert_eq!(lengths, sizes, "{target}");
            assert_eq!(pages(&with, &token, method, target).await, expected, "{method} {target}");
        }
    }
}

/// However many calls a page takes, it is one release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_has_its_own_record() {
    let gate = gate(true, PageLinks::GetPages).await;
    let token = gate.token(KPO).await;
    let count = pages(&gate, &token, "GET", "Observation?_count=9").await.len();
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    let released: Vec<u32> = found
        .records
        .iter()
        .filter(|record| ["search", "page"].contains(&record.interaction.as_str()))
        .map(|record| record.released)
        .collect();
    assert_eq!((released.len(), released.iter().sum::<u32>()), (count, 45));
}
