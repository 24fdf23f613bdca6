//! A change whose client has gone away is on record to its end, and the end of the process waits for it.
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

use demo_ehr::Fault;
use server::audit::{Audit, Filter, PhiAccess};
use support::Gate;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const KW: &str = "patient/Observation.cruds";
const HELD: Duration = Duration::from_millis(600);

fn observation(id: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/P1"}}{id}}}"#
    )
}

/// Sends a request by hand, waits until the upstream has its change and is holding the answer, and closes the connection.
async fn ask_and_leave(gate: &Gate, token: &str, line: &str, body: &str) {
    let before = gate.upstream.requests.writes().len();
    let mut stream = TcpStream::connect(gate.server.public).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/fhir+json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    for _ in 0..500 {
        if gate.upstream.requests.writes().len() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("`{line}` is not sent");
}

/// Kind, phase and status of the records of writes, oldest first.
async fn written(audit: &Audit) -> Vec<(String, String, u16)> {
    let filter = Filter { tenant: Some("mercy".into()), limit: 1_000, ..Default::default() };
    let found = audit.search(filter, PhiAccess::Sealed).await.unwrap();
    let records = found
        .records
        .iter()
        .rev()
        .filter(|record| record.phase != "done" && record.kind.to_string().starts_with("fhir."));
    records.map(|record| (record.kind.to_string(), record.phase.to_string(), record.status)).collect()
}

fn both(kind: &str, status: u16) -> Vec<(String, String, u16)> {
    vec![(kind.into(), "intent".into(), 0), (kind.into(), "outcome".into(), status)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_runs_on_when_its_client_goes_away() {
    for (line, body, kind, status) in [
        ("POST /mercy/fhir/Observation", observation(""), "fhir.create", 201),
        ("DELETE /mercy/fhir/Observation/O1", String::new(), "fhir.delete", 204),
        (
            "POST /mercy/fhir",
            format!(
                r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{},"request":{{"method":"POST","url":"Observation"}}}}]}}"#,
                observation("")
            ),
            "fhir.transaction",
            200,
        ),
        // The entries that follow in a batch are not begun any more.
        (
            "POST /mercy/fhir",
            format!(
                r#"{{"resourceType":"Bundle","type":"batch","entry":[{0},{0},{0}]}}"#,
                format_args!(r#"{{"resource":{},"request":{{"method":"POST","url":"Observation"}}}}"#, observation(""))
            ),
            "fhir.create",
            201,
        ),
    ] {
        let gate = Gate::start().await;
        let token = gate.token(KW).await;
        // What is read first is held too, so its wait comes before.
        gate.upstream.faults.only(Fault::SlowHeaders(HELD));
        ask_and_leave(&gate, &token, line, &body).await;
        assert_eq!(written(&gate.server.parts.audit).await.len(), 1, "{line}: held");
        let mut found = Vec::new();
        for _ in 0..100 {
            found = written(&gate.server.parts.audit).await;
            if found.len() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(HELD / 2).await;
        assert_eq!(written(&gate.server.parts.audit).await, found, "{line}: nothing follows");
        assert_eq!(found, both(kind, status), "{line}");
        assert_eq!(gate.upstream.requests.writes().len(), 1, "{line}: sent once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_process_waits_for_changes_that_nobody_waits_for() {
    let gate = Gate::start().await;
    let token = gate.token(KW).await;
    gate.upstream.faults.only(Fault::SlowHeaders(HELD));
    ask_and_leave(&gate, &token, "POST /mercy/fhir/Observation", &observation("")).await;
    let Gate { server, upstream: _upstream, folder: _folder, .. } = gate;
    let audit = server.parts.audit.clone();
    server.stop().await;
    assert_eq!(written(&audit).await, both("fhir.create", 201));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_process_waits_for_requests_under_way() {
    let gate = Gate::start().await;
    let token = gate.token(KW).await;
    gate.upstream.faults.only(Fault::SlowHeaders(HELD));
    let uri = format!("http://{}/mercy/fhir/Observation/O1", gate.server.public);
    let request = http::Request::builder().uri(uri).header("authorization", format!("Bearer {token}"));
    let request = request.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let reply = tokio::spawn(client.request(request));
    while gate.upstream.requests.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let Gate { server, upstream: _upstream, folder: _folder, .. } = gate;
    server.stop().await;
    assert_eq!(reply.await.unwrap().unwrap().status(), 200);
}
