//! The listener: takes requests off the wire, notes them, and hands them to what answers.

mod body;
mod history;
pub(crate) mod listing;
pub(crate) mod message;
mod outcome;
pub(crate) mod render;
pub(crate) mod route;
pub(crate) mod token;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
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
use crate::serve::message::Ask;
use crate::serve::route::State;
use crate::serve::token::{Auth, Tokens};
use crate::serve::wire::{Response, instead, plain, send};

/// Path under which the FHIR endpoint lives.
const BASE_PATH: &str = "/fhir";
/// Most bytes of a request body that are read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A connection that sends no complete head in this time is closed.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

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
        let mut shelf = self.shared.state.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let at = shelf.tick(self.shared.state.now);
        let _known = shelf.put(resource, at);
    }

    /// Deletes an instance.
    pub fn delete(&self, kind: &str, id: &str) {
        let mut shelf = self.shared.state.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let at = shelf.tick(self.shared.state.now);
        shelf.delete(kind, id, at);
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
        body: &seen.body,
        accept: seen.header("accept"),
        content_type: seen.header("content-type"),
        if_match: seen.header("if-match"),
        if_modified_since: seen.header("if-modified-since"),
        if_none_exist: seen.header("if-none-exist"),
        if_none_match: seen.header("if-none-match"),
        prefer: seen.header("prefer"),
    }
}

/// Reads a request body up to the limit; what is longer or broken counts as empty.
async fn read(body: Incoming) -> String {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}
