//! What the pool does with connections that end.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::outbound::{Limits, Outbound};
use crate::settings::OutboundSettings;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// An answer with the head of another behind it that nobody asked for.
const ANSWER_AND_MORE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad";

/// Answers each connection's requests with these in turn, then closes it; counts connections and requests.
async fn server(answers: &'static [&'static [u8]]) -> (Uri, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted[0].fetch_add(1, Ordering::SeqCst);
            for answer in answers {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                if !head.is_empty() {
                    counted[1].fetch_add(1, Ordering::SeqCst);
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    (url, counts)
}

fn outbound() -> Outbound {
    crate::listen::install_crypto();
    let allow_private = ["127.0.0.1".to_owned()].into();
    Outbound::new(&OutboundSettings { allow_private, ..OutboundSettings::default() }).unwrap()
}

async fn call(outbound: &Outbound, method: Method, url: &Uri) -> Result<Vec<u8>, FetchError> {
    let mut request = Request::new(Full::default());
    (*request.method_mut(), *request.uri_mut()) = (method, url.clone());
    let limits = Limits { timeout: Duration::from_secs(5), body_bytes_max: 1024 };
    outbound.call(request, limits).await.map(|received| received.body)
}

fn seen(counts: &[AtomicUsize; 2]) -> (usize, usize) {
    (counts[0].load(Ordering::SeqCst), counts[1].load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other() {
    let (url, counts) = server(&[ANSWER; 3]).await;
    let outbound = outbound();
    for _ in 0..3 {
        assert_eq!(call(&outbound, Method::GET, &url).await.unwrap(), b"ok");
    }
    assert_eq!(seen(&counts), (1, 3));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    let (url, counts) = server(&[ANSWER]).await;
    let outbound = outbound();
    for _ in 0..3 {
        assert_eq!(call(&outbound, Method::POST, &url).await.unwrap(), b"ok");
        // Until its end has arrived here.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seen(&counts), (3, 3));
}

#[tokio::test]
async fn a_request_that_was_written_is_not_repeated() {
    let (url, counts) = server(&[ANSWER, b""]).await;
    let outbound = outbound();
    assert_eq!(call(&outbound, Method::POST, &url).await.unwrap(), b"ok");
    assert_eq!(call(&outbound, Method::POST, &url).await, Err(FetchError::Broken));
    assert_eq!(seen(&counts), (1, 2));
}

#[tokio::test]
async fn what_nobody_asked_for_answers_nothing() {
    let (url, _) = server(&[ANSWER_AND_MORE, ANSWER_AND_MORE]).await;
    let outbound = outbound();
    for _ in 0..3 {
        assert_eq!(call(&outbound, Method::GET, &url).await.unwrap(), b"ok");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_request_is_written_in_origin_form() {
    for (url, target, host) in [
        ("http://ehr.example:80/fhir/Patient/P1?a=b", "/fhir/Patient/P1?a=b", "ehr.example"),
        ("https://ehr.example:80/x", "/x", "ehr.example:80"),
        ("https://ehr.example:443", "/", "ehr.example"),
        ("http://127.0.0.1:8080/x", "/x", "127.0.0.1:8080"),
        ("http://[::1]:8080/x", "/x", "[::1]:8080"),
    ] {
        let (_, request) = to_origin(Request::get(url).body(Full::default()).unwrap()).unwrap();
        assert_eq!((request.uri().to_string().as_str(), request.headers()[HOST].to_str().unwrap()), (target, host));
    }
}
