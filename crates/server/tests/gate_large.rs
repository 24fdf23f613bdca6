//! Large answers: verified entry by entry from a sealed spool, never whole in memory, and never released in part.
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

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use demo_ehr::Fault;
use serde_json::{Value, json};
use support::{Gate, Reply};

const KOBS: &str = "patient/Observation.rs";

async fn gate() -> Gate {
    Gate::start_with(
        |ehr| ehr,
        |tenant| {
            tenant.upstream.body_bytes_max = 160 * 1024 * 1024;
            tenant.upstream.timeout = Duration::from_secs(120);
        },
    )
    .await
}

/// `GET`, as patient as a large answer needs.
async fn get(gate: &Gate, token: &str, path: &str) -> Reply {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = http::Request::builder()
        .uri(format!("http://{}/mercy/fhir/{path}", gate.server.public))
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    Reply { status: head.status.as_u16(), headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

fn observation(id: &str, patient: &str, text: usize) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"text": "x".repeat(text)}, "performer": [{"reference": "Patient/P2", "display": "Zwei"}],
    })
}

/// About 100 MB: the whole of it arrives, and of another patient's entries among it nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_entry_by_entry() {
    let gate = gate().await;
    let token = gate.token(KOBS).await;
    gate.upstream.put(observation("big", "P1", 4_000));
    gate.upstream.faults.on(Fault::Flood { reference: "Observation/big".into(), bytes: 100 * 1024 * 1024 });
    let reply = get(&gate, &token, "Observation?_id=big").await;
    assert_eq!(reply.status, 200, "{}", reply.body.len());
    assert!(reply.body.len() > 50 * 1024 * 1024, "{}", reply.body.len());
    let bundle = reply.json();
    let entries = bundle["entry"].as_array().unwrap();
    assert!(entries.len() > 1_000, "{}", entries.len());
    for entry in entries {
        assert_eq!(entry["resource"]["subject"]["reference"], "Patient/P1");
    }
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    let last = found.records.iter().find(|record| record.interaction == "search").unwrap();
    assert_eq!(last.released as usize, entries.len());
    assert_eq!(last.bytes as usize, reply.body.len());
    let spools = std::fs::read_dir(gate.folder.path().join("spool")).unwrap().count();
    assert_eq!(spools, 0, "nothing is left in the folder");
}

/// 1,000 entries in memory or out of it: the same judgement entry by entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_entries_are_each_judged() {
    for text in [200, 4_000] {
        let gate = gate().await;
        let token = gate.token(KOBS).await;
        gate.upstream.put(observation("own", "P1", text));
        gate.upstream.put(observation("other", "P2", text));
        let bytes = 1_000 * (text as u64 + 700);
        gate.upstream.faults.on(Fault::Flood { reference: "Observation/own".into(), bytes });
        gate.upstream.faults.on(Fault::ForeignMatch("Observation/other".into()));
        let reply = get(&gate, &token, "Observation?_id=own").await;
        assert_eq!(reply.status, 200);
        assert!(!reply.text().contains("Observation/other") && !reply.text().contains("Zwei"), "{text}");
        assert!(reply.entries().len() >= 900, "{text}: {}", reply.entries().len());
        assert!(reply.link("next").is_none(), "a foreign match ends the pages");
        assert!(reply.text().contains("left out"), "the upstream ignored the filter");
        assert_eq!(get(&gate, &token, "Observation").await.status, 502, "until it is proved again");
    }
}

/// A Bundle of 3 MB, spoilt in one place.
fn spoilt(how: &str) -> Vec<u8> {
    let one = observation("own", "P1", 4_000).to_string();
    let entries: Vec<String> =
        (0..700).map(|n| format!(r#"{{"resource":{}}}"#, one.replace("own", &format!("own{n}")))).collect();
    let whole = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{}]}}"#, entries.join(","));
    let text = match how {
        "whole" => whole,
        "truncated" => whole[..whole.len() - 40].to_owned(),
        "without its last brace" => whole[..whole.len() - 1].to_owned(),
        "trailing text" => whole + "x",
        "a second entry list" => format!(r#"{},"entry":[]}}"#, &whole[..whole.len() - 1]),
        "another type of Bundle" => whole.replacen("searchset", "document", 1),
        "no Bundle" => whole.replacen(r#""resourceType":"Bundle""#, r#""resourceType":"Basic""#, 1),
        "a duplicate deep inside" => whole.replacen(r#""status":"final""#, r#""status":"final","status":"final""#, 1),
        "an escaped duplicate" => whole.replacen(r#""status":"final""#, r#""status":"final","\u0073tatus":"x""#, 1),
        other => panic!("{other}"),
    };
    text.into_bytes()
}

/// Answers every request with `body`.
async fn serve(body: Vec<u8>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let body = body.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let _ = stream.read(&mut head).await;
                let line = "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\nconnection: close\r\n";
                let _ = stream.write_all(format!("{line}content-length: {}\r\n\r\n", body.len()).as_bytes()).await;
                let _ = stream.write_all(&body).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_anywhere_releases_nothing() {
    for how in [
        "whole",
        "truncated",
        "without its last brace",
        "trailing text",
        "a second entry list",
        "another type of Bundle",
        "no Bundle",
        "a duplicate deep inside",
        "an escaped duplicate",
    ] {
        let base = serve(spoilt(how)).await;
        let gate = Gate::start_with(
            |ehr| ehr,
            |tenant| {
                tenant.upstream.fhir = base;
                tenant.upstream.body_bytes_max = 16 * 1024 * 1024;
                tenant.upstream.timeout = Duration::from_secs(60);
            },
        )
        .await;
        let token = gate.token(KOBS).await;
        let reply = get(&gate, &token, "Observation").await;
        if how == "whole" {
            assert_eq!((reply.status, reply.entries().len()), (200, 700));
            continue;
        }
        assert_eq!(reply.status, 502, "{how}");
        assert!(!reply.text().contains("Patient/"), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_limit_is_refused() {
    let gate = gate().await;
    let token = gate.token(KOBS).await;
    gate.upstream.put(observation("big", "P1", 4_000));
    gate.upstream.faults.only(Fault::Flood { reference: "Observation/big".into(), bytes: 170 * 1024 * 1024 });
    assert_eq!(get(&gate, &token, "Observation?_id=big").await.status, 502);
}
