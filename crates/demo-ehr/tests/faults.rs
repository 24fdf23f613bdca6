//! Every fault mode shows on the wire as its documentation says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, get, send, small, start};
use demo_ehr::{Auth, Fault, Place, Running, Switchboard};
use serde_json::Value;

/// What a read and a search answer while a fault is on.
async fn under(fault: Fault, path: &str) -> Answer {
    let ehr = start(small()).await;
    ehr.faults.on(fault);
    get(&ehr, path).await
}

#[tokio::test]
async fn filters_can_be_ignored() {
    let all = under(Fault::IgnoreParameter("patient".into()), "Observation?patient=P1&category=vital-signs").await;
    assert_eq!(all.entries(), ["Observation/O1", "Observation/O2"]);
    let all = under(Fault::IgnoreAllParameters, "Observation?patient=P1&category=vital-signs").await;
    assert_eq!(all.entries().len(), 5);
    let all = under(Fault::IncludeEverything, "Observation?_id=O1&_include=Observation:patient").await;
    assert_eq!(all.entries(), ["Observation/O1", "Patient/P1", "Patient/P2"]);
}

#[tokio::test]
async fn foreign_entries_can_slip_in() {
    let search = "Observation?patient=P1&category=laboratory";
    for (fault, mode) in [
        (Fault::ForeignMatch("Observation/O2".into()), Value::from("match")),
        (Fault::ForeignInclude("Observation/O2".into()), Value::from("include")),
        (Fault::ForeignWithoutMode("Observation/O2".into()), Value::Null),
    ] {
        let answer = under(fault, search).await;
        assert_eq!(answer.entries(), ["Observation/O1L", "Observation/O2"]);
        assert_eq!(answer.json()["entry"][1]["search"]["mode"], mode);
    }
    assert!(under(Fault::MissingSearchMode, search).await.json()["entry"][0]["search"].is_null());
}

#[tokio::test]
async fn resources_can_be_wrong() {
    assert_eq!(under(Fault::OtherResource("Observation/O2".into()), "Observation/O1").await.json()["id"], "O2");
    let read = under(Fault::ForeignSubject("Patient/P2".into()), "Observation/O1").await.json();
    assert_eq!((read["id"].as_str(), read["subject"]["reference"].as_str()), (Some("O1"), Some("Patient/P2")));
    let read = under(Fault::ContainedPatient("p".into()), "Observation/O1").await.json();
    assert_eq!(read["contained"][0]["resourceType"], "Patient");
    let read = under(Fault::Subsetted, "Observation/O1").await.json();
    assert!(read["subject"].is_null() && read["meta"]["tag"][0]["code"] == "SUBSETTED");
    let read = under(Fault::EtagOnly, "Observation/O1").await;
    assert!(read.header("etag").is_some() && read.header("last-modified").is_none() && read.json()["meta"].is_null());
}

#[tokio::test]
async fn text_can_be_wrong() {
    for path in ["Observation/O1", "Observation?_id=O1"] {
        let parse = |answer: &Answer| serde_json::from_slice::<Value>(answer.body.as_ref().unwrap()).is_ok();
        assert!(!parse(&under(Fault::MalformedJson, path).await));
        let cut = under(Fault::TruncatedJson(60), path).await;
        assert!(!parse(&cut) && cut.body.unwrap().len() == 60);
        let bom = under(Fault::ByteOrderMark, path).await;
        assert!(bom.body.unwrap().starts_with(b"\xef\xbb\xbf{"));
        let broken = under(Fault::InvalidUtf8, path).await;
        assert!(std::str::from_utf8(broken.body.as_ref().unwrap()).is_err());
        let deep = under(Fault::DeepNesting(500), path).await;
        assert!(deep.text().contains(&"{\"a\":[".repeat(500)) && !parse(&deep));
        let number = under(Fault::NumberText("1.10".into()), path).await;
        assert!(number.text().contains("\"value\":1.10,") && parse(&number));
    }
}

#[tokio::test]
async fn members_can_come_twice() {
    let twice = |text: &str, key: &str| text.matches(&format!("\"{key}\":")).count();
    let text = under(Fault::duplicate_subject("Patient/P2", Place::First), "Observation/O1").await.text();
    assert_eq!(twice(&text, "subject"), 2);
    assert!(text.find("Patient/P2").unwrap() < text.find("Patient/P1").unwrap());
    let text = under(Fault::duplicate_subject("Patient/P2", Place::Last), "Observation/O1").await.text();
    assert!(text.find("Patient/P2").unwrap() > text.find("Patient/P1").unwrap());
    let text = under(Fault::escaped_duplicate_subject("Patient/P2", Place::Last), "Observation/O1").await.text();
    assert_eq!((twice(&text, "subject"), twice(&text, "\\u0073ubject")), (1, 1));
    let text = under(Fault::duplicate_type("Patient", Place::First), "Observation/O1").await.text();
    assert_eq!(twice(&text, "resourceType"), 2);
}

#[tokio::test]
async fn bodies_can_be_huge_slow_or_cut_off() {
    for announced in [true, false] {
        let size = 3_000_001;
        let answer = under(Fault::Oversized { bytes: size, announced }, "Observation/O1").await;
        assert_eq!(answer.header("content-length").is_some(), announced);
        assert_eq!(answer.body.as_ref().unwrap().len() as u64, size);
        assert_eq!(answer.json()["id"], "O1");
    }
    let pause = Duration::from_millis(200);
    for fault in [Fault::SlowHeaders(pause), Fault::SlowBody(pause)] {
        let before = Instant::now();
        assert_eq!(under(fault, "Observation/O1").await.json()["id"], "O1");
        assert!(before.elapsed() >= pause);
    }
    let cut = under(Fault::CutOff, "Observation/O1").await;
    assert!(cut.status == 200 && cut.body.is_none());
}

#[tokio::test]
async fn a_later_page_can_be_foreign() {
    let ehr = start(small()).await;
    ehr.faults.on(Fault::ForeignNextPage("Observation/O2".into()));
    let first = get(&ehr, "Observation?patient=P1&_count=3").await;
    assert_eq!(first.entries(), ["Observation/O1", "Observation/O1L", "Observation/OAB"]);
    let second = send("GET", &first.link("next").unwrap(), &[], "").await;
    assert_eq!(second.entries(), ["Observation/OMV", "Observation/O2"]);
    assert_eq!(second.json()["entry"][1]["search"]["mode"], "match");
}

#[tokio::test]
async fn bodies_can_be_long_and_still_valid() {
    let fault = Fault::LongNarrative(2_000_003);
    let read = under(fault.clone(), "Observation/O1").await;
    assert_eq!(read.body.as_ref().unwrap().len(), 2_000_003);
    assert!(read.json()["id"] == "O1" && read.json()["text"]["div"].as_str().unwrap().ends_with("x</div>"));
    assert!(under(fault, "Observation?_id=O1").await.body.unwrap().len() < 5_000, "a list is no resource");

    let flood = Fault::Flood { reference: "Observation/O1".into(), bytes: 3_000_000 };
    for path in
        ["Observation?patient=P1", "Observation?patient=none", "Patient/P1/$everything", "Observation/O1/_history"]
    {
        let answer = under(flood.clone(), path).await;
        let size = answer.body.as_ref().unwrap().len();
        assert!(size > 2_990_000 && size <= 3_000_000 && answer.header("content-length").is_none(), "{path}: {size}");
        let entries = answer.entries();
        let ids: std::collections::BTreeSet<&String> = entries.iter().collect();
        assert_eq!(ids.len(), entries.len(), "{path}: every copy has an id of its own");
        let last = &answer.json()["entry"][entries.len() - 1];
        assert_eq!(last["resource"]["subject"]["reference"], "Patient/P1");
        assert!(last["fullUrl"].as_str().unwrap().ends_with(entries.last().unwrap()));
    }
    let ehr = start(small()).await;
    ehr.faults.on(flood);
    ehr.faults.on(Fault::ForeignSubject("Patient/P2".into()));
    let told = get(&ehr, "Observation?_id=O1").await.json();
    assert_eq!(told["entry"][500]["resource"]["subject"]["reference"], "Patient/P2");
}

#[tokio::test]
async fn a_hundred_megabytes_are_made_while_they_are_sent() {
    let ehr = start(small()).await;
    let size = 100 * 1024 * 1024;
    ehr.faults.on(Fault::Flood { reference: "Observation/O1".into(), bytes: size });
    ehr.faults.on(Fault::LongNarrative(size));
    for path in ["Observation?patient=P1", "Observation/O1"] {
        let mut stream = tokio::net::TcpStream::connect(ehr.base_url.split('/').nth(2).unwrap()).await.unwrap();
        let request = format!("GET /fhir/{path} HTTP/1.1\r\nhost: ehr\r\nconnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let (mut read, mut buffer) = (0, vec![0; 256 * 1024]);
        loop {
            match tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap() {
                0 => break,
                some => read += some as u64,
            }
        }
        // Chunked framing adds a little.
        assert!(read > size - 1000 && read < size + size / 50, "{path}: {read}");
    }
}

#[tokio::test]
async fn an_answer_can_be_missing_or_put_off() {
    let cut = start(small()).await;
    cut.faults.times(1, Fault::CutBeforeAnswer);
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let url: http::Uri = format!("{}/Observation/O1", cut.base_url).parse().unwrap();
    assert!(client.get(url).await.is_err());
    assert_eq!(cut.requests.count(), 1);
    let later = under(Fault::Accepted("http://ehr/status/1".into()), "Observation/O1").await;
    assert_eq!(
        (later.status, later.header("content-location"), later.text().as_str()),
        (202, Some("http://ehr/status/1"), "")
    );
}

#[tokio::test]
async fn responses_can_be_of_another_kind() {
    for (fault, status, kind, says) in [
        (Fault::ContentType("text/plain".into()), 200, "text/plain", "\"O1\""),
        (Fault::Html, 200, "text/html;charset=utf-8", "<html>"),
        (Fault::Xml, 200, "application/fhir+xml;charset=utf-8", "<Patient"),
        (Fault::Status(202), 202, "application/fhir+json;charset=utf-8", "\"O1\""),
        (Fault::Status(206), 206, "application/fhir+json;charset=utf-8", "\"O1\""),
        (Fault::NotModified, 304, "application/fhir+json;charset=utf-8", ""),
        (Fault::Gone, 410, "application/fhir+json;charset=utf-8", "deleted"),
        (
            Fault::StackTrace("Patient/P2".into()),
            500,
            "application/fhir+json;charset=utf-8",
            "NullPointerException: subject of Patient/P2",
        ),
        (Fault::OutcomeWith200, 200, "application/fhir+json;charset=utf-8", "OperationOutcome"),
    ] {
        let answer = under(fault.clone(), "Observation/O1").await;
        assert_eq!((answer.status, answer.header("content-type")), (status, Some(kind)), "{fault:?}");
        assert!(answer.text().contains(says), "{fault:?}: {}", answer.text());
    }
    let moved = under(Fault::Redirect("http://elsewhere.example/Patient/P2".into()), "Observation/O1").await;
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://elsewhere.example/Patient/P2")));
    let odd = under(Fault::OddHeaders, "Observation/O1").await;
    for name in ["set-cookie", "x-powered-by", "link", "content-location"] {
        assert!(odd.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn bundles_can_lie() {
    let search = "Observation?patient=P1&_count=2";
    assert_eq!(under(Fault::Total(99), search).await.json()["total"], 99);
    assert_eq!(under(Fault::BundleType("batch-response".into()), search).await.json()["type"], "batch-response");
    let elsewhere = "https://evil.example/fhir?_getpages=1";
    assert_eq!(under(Fault::NextLink(elsewhere.into()), search).await.link("next").as_deref(), Some(elsewhere));
    let foreign = "https://ehr/Observation?patient=P2";
    assert_eq!(under(Fault::SelfLink(foreign.into()), search).await.link("self").as_deref(), Some(foreign));
    let named = under(Fault::FullUrl("Observation/O2".into()), search).await.json();
    assert!(named["entry"][0]["fullUrl"].as_str().unwrap().ends_with("/fhir/Observation/O2"));
    assert_eq!(named["entry"][0]["resource"]["id"], "O1");
}

#[tokio::test]
async fn faults_are_switched_while_it_runs() {
    let ehr = start(small()).await;
    ehr.faults.times(1, Fault::Gone);
    assert_eq!(get(&ehr, "Observation/O1").await.status, 410);
    assert_eq!(get(&ehr, "Observation/O1").await.status, 200);
    ehr.faults.on_path("Patient", Fault::Gone);
    assert_eq!(get(&ehr, "Observation/O1").await.status, 200);
    assert_eq!(get(&ehr, "Patient/P1").await.status, 410);
    ehr.faults.only(Fault::Status(206));
    assert_eq!(get(&ehr, "Patient/P1").await.status, 206);
    assert_eq!(get(&ehr, "metadata").await.status, 200);
    ehr.faults.clear();
    assert_eq!(get(&ehr, "Patient/P1").await.status, 200);
    ehr.faults.on(Fault::MalformedCapabilities);
    assert_eq!(get(&ehr, "metadata").await.text(), "null");
    assert_eq!(ehr.requests.count(), 8);
}

#[tokio::test]
async fn the_token_endpoint_can_refuse_and_dawdle() {
    let ehr = start(small().auth(Auth::SmartBackend { seconds: 60 })).await;
    ehr.faults.on(Fault::TokenRefused);
    ehr.faults.on(Fault::TokenSlow(Duration::from_millis(100)));
    let before = Instant::now();
    let answer = send("POST", &ehr.token_url, &[], "grant_type=client_credentials").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_client")));
    assert!(before.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn faults_can_be_switched_over_http() {
    let ehr = small().switchboard(Switchboard::Outside);
    let ehr = start(ehr).await;
    let switchboard = |ehr: &Running| ehr.base_url.replace("/fhir", "/faults");
    let put = async |body: &str| send("PUT", &switchboard(&ehr), &[], body).await;
    assert_eq!(put("foreign-match=Observation/O2\ntotal=7").await.status, 200);
    let bundle = get(&ehr, "Observation?patient=P1&category=laboratory").await.json();
    assert_eq!((bundle["total"].as_u64(), bundle["entry"][1]["resource"]["id"].as_str()), (Some(7), Some("O2")));
    assert_eq!(put("gone\nnonsense").await.status, 400);
    assert_eq!(get(&ehr, "Observation?patient=P1").await.json()["total"], 7, "a mistake changes nothing");
    assert_eq!(put("").await.status, 200);
    assert_ne!(get(&ehr, "Observation?patient=P1").await.json()["total"], 7);
    let listed = send("GET", &switchboard(&ehr), &[], "").await.json();
    assert_eq!(listed.as_array().unwrap().len(), demo_ehr::named().count());
    let plain = start(small()).await;
    assert_eq!(send("GET", &switchboard(&plain), &[], "").await.status, 404, "only where it is asked for");
}
