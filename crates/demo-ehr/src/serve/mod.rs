//! The listener: takes requests off the wire, notes them, and sends answers with the faults of the transport.

mod body;
mod outcome;
pub(crate) mod render;
pub(crate) mod route;
pub(crate) mod token;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::fault::{Fault, Faults};
use crate::requests::{Requests, Seen};
use crate::search;
use crate::serve::body::{Step, StepBody};
use crate::serve::route::{Ask, Content, Reply, State};
use crate::serve::token::{Auth, Tokens};

/// Path under which the FHIR endpoint lives.
const BASE_PATH: &str = "/fhir";
/// Most bytes of a request body that are read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A connection that sends no complete head in this time is closed.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
const FHIR_JSON: &str = "application/fhir+json;charset=utf-8";

/// A running upstream; dropping it closes the listener and every connection.
pub struct Running {
    /// FHIR base without a slash at its end, e.g. `http://127.0.0.1:40123/fhir`.
    pub base_url: String,
    /// Token endpoint, for SMART Backend Services.
    pub token_url: String,
    /// What was received.
    pub requests: Requests,
    /// How it misbehaves.
    pub faults: Faults,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    state: State,
    auth: Auth,
    tokens: Tokens,
    requests: Requests,
    faults: Faults,
}

impl Running {
    /// Puts a resource (a new version, if it is there already), as if another system had written it.
    pub fn put(&self, resource: Value) {
        let now = self.shared.state.now;
        let _known = self.shared.state.shelf.write().unwrap_or_else(PoisonError::into_inner).put(resource, now);
    }

    /// Deletes an instance.
    pub fn delete(&self, kind: &str, id: &str) {
        self.shared.state.shelf.write().unwrap_or_else(PoisonError::into_inner).delete(kind, id);
    }

    /// How many token requests came in.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.shared.tokens.requests()
    }

    /// Forgets every token given out: the next FHIR request with one is a 401.
    pub fn forget_tokens(&self) {
        self.shared.tokens.forget();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds and serves until the returned handle is dropped.
pub(crate) async fn start(ehr: crate::DemoEhr, address: SocketAddr) -> io::Result<Running> {
    let listener = TcpListener::bind(address).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let base_url = format!("{origin}{BASE_PATH}");
    let token_url = format!("{origin}/token");
    let mut shelf = ehr.shelf;
    shelf.set_base(&base_url);
    let mut state = State::new(base_url.clone(), ehr.now, shelf, ehr.unknown, ehr.links);
    state.security = matches!(ehr.auth, Auth::SmartBackend { .. }).then(|| token_url.clone());
    let (requests, faults) = (Requests::default(), Faults::default());
    let shared = Arc::new(Shared {
        state,
        auth: ehr.auth,
        tokens: Tokens::default(),
        requests: requests.clone(),
        faults: faults.clone(),
    });
    let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
    Ok(Running { base_url, token_url, requests, faults, shared, task })
}

/// Accepts for ever; connections live in the set, so that aborting this task closes them.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _nodelay = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.handle(request).await) }
            });
            // A connection that breaks (often on purpose) concerns nobody here.
            let _broken = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Response = http::Response<StepBody>;

impl Shared {
    async fn handle(&self, request: http::Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let seen = Seen {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or("").to_owned(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: read(body).await,
        };
        self.requests.push(seen.clone());
        if seen.path == "/token" {
            return self.token(&seen).await;
        }
        let below = seen.path.strip_prefix(BASE_PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(below) = below else {
            return plain(404, outcome::outcome("not-found", "no such path; the FHIR base is /fhir"));
        };
        let below = below.trim_start_matches('/');
        if below == ".well-known/smart-configuration" && matches!(self.auth, Auth::SmartBackend { .. }) {
            return plain(200, self.smart_configuration());
        }
        let open = below == "metadata" || below.starts_with(".well-known");
        if !open && !self.tokens.admits(&self.auth, seen.header("authorization")) {
            let mut response =
                plain(401, outcome::outcome("login", "missing or expired token for realm hospital-prod"));
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        let faults = self.faults.meet(below);
        if open {
            let reply = self.state.answer(&ask(&seen, below), &faults);
            return send(&reply, &self.state.base, &[]);
        }
        for fault in &faults {
            if let Fault::SlowHeaders(how_long) = fault {
                tokio::time::sleep(*how_long).await;
            }
        }
        if let Some(response) = faults.iter().find_map(instead) {
            return response;
        }
        send(&self.state.answer(&ask(&seen, below), &faults), &self.state.base, &faults)
    }

    async fn token(&self, seen: &Seen) -> Response {
        let Auth::SmartBackend { seconds } = self.auth else {
            return plain(404, json!({"error": "invalid_request"}));
        };
        let faults = self.faults.meet("token");
        for fault in &faults {
            if let Fault::TokenSlow(how_long) = fault {
                tokio::time::sleep(*how_long).await;
            }
        }
        let refused = seen.method != "POST" || faults.contains(&Fault::TokenRefused);
        let (status, body) = self.tokens.answer(&search::pairs(&seen.body), seconds, refused);
        let mut response = plain(status, body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn smart_configuration(&self) -> Value {
        json!({
            "token_endpoint": self.state.security,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256", "ES384", "RS384"],
            "scopes_supported": ["system/*.rs"],
            "capabilities": ["client-confidential-asymmetric", "permission-v2"]
        })
    }
}

fn ask<'a>(seen: &'a Seen, below: &'a str) -> Ask<'a> {
    Ask {
        method: &seen.method,
        path: below,
        query: &seen.query,
        form: (!seen.body.is_empty()).then_some(seen.body.as_str()),
        if_none_match: seen.header("if-none-match"),
        if_modified_since: seen.header("if-modified-since"),
    }
}

/// Reads a request body up to the limit; what is longer or broken counts as empty.
async fn read(body: Incoming) -> String {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}

fn plain(status: u16, body: Value) -> Response {
    send(&Reply { status, headers: Vec::new(), content: Content::Plain(body) }, "", &[])
}

/// Faults that answer something else altogether.
fn instead(fault: &Fault) -> Option<Response> {
    let text = |status: u16, kind: &'static str, body: &'static str| {
        let mut response = Response::new(StepBody::whole(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    match fault {
        Fault::Html => Some(text(
            200,
            "text/html;charset=utf-8",
            "<!DOCTYPE html><html><body><h1>Patient/p2</h1><pre>{\"resourceType\":\"Patient\"}</pre></body></html>",
        )),
        Fault::Xml => Some(text(
            200,
            "application/fhir+xml;charset=utf-8",
            "<?xml version=\"1.0\"?><Patient xmlns=\"http://hl7.org/fhir\"><id value=\"p2\"/></Patient>",
        )),
        Fault::Redirect(url) => {
            let mut response = text(302, "text/plain", "");
            response.headers_mut().insert(LOCATION, HeaderValue::from_str(url).ok()?);
            Some(response)
        }
        Fault::NotModified => Some(text(304, FHIR_JSON, "")),
        Fault::StackTrace(ids) => Some(plain(500, outcome::stack_trace(ids))),
        Fault::OutcomeWith200 => Some(plain(200, outcome::outcome("informational", "all fine, see Patient/p2"))),
        _ => None,
    }
}

/// Headers a gate should not let through.
const ODD_HEADERS: [(&str, &str); 9] = [
    ("set-cookie", "JSESSIONID=ehr-secret-session; Path=/"),
    ("x-powered-by", "HAPI FHIR 8.0.0 REST Server"),
    ("server", "ehr-prod-17.hospital.internal"),
    ("link", "<http://ehr-prod-17.hospital.internal/Patient/p2>; rel=\"related\""),
    ("content-location", "http://ehr-prod-17.hospital.internal/fhir/Patient/p2/_history/7"),
    ("location", "http://ehr-prod-17.hospital.internal/fhir/Patient/p2"),
    ("x-request-id", "patient-p2-trace"),
    ("cache-control", "public, max-age=3600"),
    ("access-control-allow-origin", "*"),
];

/// Turns a reply into bytes on the wire, with the faults of the transport.
fn send(reply: &Reply, base: &str, faults: &[Fault]) -> Response {
    let text = render::text(&reply.content, base, faults);
    let length = text.len() as u64;
    let bytes = Bytes::from(text);
    let (mut status, mut kind) = (reply.status, FHIR_JSON.to_owned());
    let mut headers: Vec<(&str, String)> = reply.headers.clone();
    let mut steps = None;
    let middle = bytes.len() / 2;
    for fault in faults {
        match fault {
            Fault::Status(other) => status = *other,
            Fault::ContentType(other) => kind.clone_from(other),
            Fault::OddHeaders => headers.extend(ODD_HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned()))),
            Fault::CutOff => {
                headers.push(("content-length", length.to_string()));
                // The pause lets the half leave before the connection breaks.
                let pause = Step::Wait(Duration::from_millis(30));
                steps = Some(vec![Step::Data(bytes.slice(..middle)), pause, Step::Abort]);
            }
            Fault::SlowBody(how_long) => {
                headers.push(("content-length", length.to_string()));
                let halves = (bytes.slice(..middle), bytes.slice(middle..));
                steps = Some(vec![Step::Data(halves.0), Step::Wait(*how_long), Step::Data(halves.1)]);
            }
            Fault::Oversized { bytes: size, announced } => {
                if *announced {
                    headers.push(("content-length", (*size).max(length + PADDING).to_string()));
                }
                steps = Some(padded(&bytes, *size));
            }
            _ => {}
        }
    }
    let mut response = Response::new(steps.map_or_else(|| StepBody::whole(bytes), StepBody::new));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("")));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    if status == 304 {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

const PAD_OPEN: &str = ",\"implicitRules\":\"";
const PAD_CLOSE: &str = "\"}";
/// What padding adds besides the padding itself: its member without the closing brace that is there already.
const PADDING: u64 = (PAD_OPEN.len() + PAD_CLOSE.len() - 1) as u64;
static PAD_CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// The body with one more string member, so long that the whole is `size` bytes, without holding it in memory.
fn padded(bytes: &Bytes, size: u64) -> Vec<Step> {
    let needed = size.saturating_sub(bytes.len() as u64 + PADDING);
    let chunk = Bytes::from_static(&PAD_CHUNK);
    let (times, rest) = (needed / chunk.len() as u64, needed % chunk.len() as u64);
    vec![
        Step::Data(bytes.slice(..bytes.len().saturating_sub(1))),
        Step::Data(Bytes::from_static(PAD_OPEN.as_bytes())),
        Step::Repeat(chunk.clone(), times),
        Step::Data(chunk.slice(..usize::try_from(rest).unwrap_or(0))),
        Step::Data(Bytes::from_static(PAD_CLOSE.as_bytes())),
    ]
}
