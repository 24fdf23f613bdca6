//! The listener: takes requests off the wire, notes them, and hands them to what answers.

mod binary;
mod body;
mod compartment;
mod export;
mod history;
pub(crate) mod listing;
pub(crate) mod message;
mod operation;
mod outcome;
pub(crate) mod render;
pub(crate) mod route;
pub(crate) mod smart;
pub(crate) mod token;
mod transaction;
mod wire;
mod write;

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

use crate::Switchboard;
use crate::fault::{self, Fault, Faults};
use crate::requests::{Requests, Seen};
use crate::search;
use crate::serve::message::{Ask, Reply};
use crate::serve::route::State;
use crate::serve::smart::{AppToken, LaunchContext, LaunchError, Smart};
use crate::serve::token::{Auth, Tokens};
use crate::serve::wire::{Response, instead, plain, send};
use crate::shelf::Found;

/// Path under which the FHIR endpoint lives.
const BASE_PATH: &str = "/fhir";
/// Most bytes of a request body that are read: a resource or transaction with a document in it.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of a form that are read.
const FORM_BYTES_MAX: usize = 64 * 1024;
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
    switchboard: Switchboard,
    /// Absent when no app is registered.
    smart: Option<Smart>,
}

impl Running {
    /// A launch handle for this app and context: what stands in `launch` when the EHR opens the app.
    ///
    /// # Errors
    /// When the app is not registered, or someone or something of the context is not here.
    pub fn mint_launch(&self, client_id: &str, context: LaunchContext) -> Result<String, LaunchError> {
        let smart = self.shared.smart.as_ref().ok_or_else(|| LaunchError::Client(client_id.to_owned()))?;
        smart.mint(client_id, context, &self.shared.state)
    }

    /// Where the EHR sends a browser to launch this app: its launch URL with `iss` and a new `launch` handle.
    ///
    /// # Errors
    /// As [`Self::mint_launch`], and when the app has no launch URL.
    pub fn launch_url(&self, client_id: &str, context: LaunchContext) -> Result<String, LaunchError> {
        let smart = self.shared.smart.as_ref().ok_or_else(|| LaunchError::Client(client_id.to_owned()))?;
        smart.launch_url(client_id, context, &self.shared.state)
    }

    /// The page on which a person launches an app; none when no app is registered.
    #[must_use]
    pub fn launch_page(&self) -> Option<String> {
        self.shared.smart.as_ref().map(Smart::launch_page_url)
    }

    /// What an app's access token is, or was, good for.
    #[must_use]
    pub fn app_token(&self, token: &str) -> Option<AppToken> {
        self.shared.smart.as_ref()?.app_token(token)
    }

    /// Signs a person out of the EHR: what was granted without `offline_access` ends.
    pub fn sign_out(&self, practitioner: &str) {
        if let Some(smart) = &self.shared.smart {
            smart.sign_out(practitioner);
        }
    }

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

    /// The current version of an instance, as it is stored.
    #[must_use]
    pub fn resource(&self, kind: &str, id: &str) -> Option<Value> {
        match self.shared.state.shelf.read().unwrap_or_else(PoisonError::into_inner).find(kind, id) {
            Found::Here(stored) => Some((*stored.resource).clone()),
            Found::Deleted | Found::Absent => None,
        }
    }

    /// Every version of an instance, oldest first; JSON `null` for a deletion.
    #[must_use]
    pub fn versions(&self, kind: &str, id: &str) -> Vec<Value> {
        let shelf = self.shared.state.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.versions(kind, id).iter().map(|stored| (*stored.resource).clone()).collect()
    }

    /// How many token requests came in.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.shared.tokens.requests()
    }

    /// Forgets every token given out: the next FHIR request with one is a 401.
    pub fn forget_tokens(&self) {
        self.shared.tokens.forget();
        if let Some(smart) = &self.shared.smart {
            smart.forget();
        }
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
    let backend = matches!(ehr.auth, Auth::SmartBackend { .. });
    let smart = if ehr.smart.clients.is_empty() {
        None
    } else {
        state.authorize = Some(format!("{origin}/authorize"));
        Some(Smart::new(ehr.smart, origin, backend)?)
    };
    state.security = (backend || smart.is_some()).then(|| token_url.clone());
    let (requests, faults) = (Requests::default(), Faults::default());
    let shared = Arc::new(Shared {
        state,
        auth: ehr.auth,
        tokens: Tokens::default(),
        requests: requests.clone(),
        faults: faults.clone(),
        switchboard: ehr.switchboard,
        smart,
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
                async move { shared.handle(request).await.ok_or_else(|| io::Error::other("closed on purpose")) }
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
    /// The answer to a request; none when the connection is to be closed without one.
    async fn handle(&self, request: http::Request<Incoming>) -> Option<Response> {
        let (head, body) = request.into_parts();
        let form = smart::is_form(head.uri.path()) || head.uri.path().ends_with("/_search");
        let body = read(body, if form { FORM_BYTES_MAX } else { BODY_BYTES_MAX }).await;
        let whole = body.is_some();
        let seen = Seen {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or("").to_owned(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: body.unwrap_or_default(),
        };
        self.requests.push(seen.clone());
        if let Some(smart) = &self.smart
            && let Some(response) = smart.answer(&seen, &self.state, &self.faults).await
        {
            if seen.path == "/token" {
                self.tokens.counts();
            }
            return Some(response);
        }
        if seen.path == "/token" {
            return Some(self.token(&seen).await);
        }
        if seen.path == "/faults" && self.switchboard == Switchboard::Outside {
            return Some(self.switch(&seen));
        }
        let below = seen.path.strip_prefix(BASE_PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(below) = below else {
            return Some(plain(404, outcome::outcome("not-found", "no such path; the FHIR base is /fhir")));
        };
        if !whole {
            return Some(plain(413, outcome::outcome("too-long", "the body is too long, or broke off")));
        }
        let below = below.trim_start_matches('/');
        if below == ".well-known/smart-configuration" && matches!(self.auth, Auth::SmartBackend { .. }) {
            return Some(plain(200, self.smart_configuration()));
        }
        let open = below == "metadata" || below.starts_with(".well-known");
        let app = self.app_token(&seen);
        if !open && app.is_none() && !self.tokens.admits(&self.auth, seen.header("authorization")) {
            let mut response =
                plain(401, outcome::outcome("login", "missing or expired token for realm hospital-prod"));
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(response);
        }
        let faults = self.faults.meet(below);
        if open {
            let reply = self.state.answer(&ask(&seen, below), &faults);
            return Some(send(&reply, &self.state.base, &[]));
        }
        let response = match faults.iter().find_map(instead) {
            Some(response) => Some(response),
            None => self.carry_out(&seen, below, app.as_ref(), &faults),
        };
        for fault in &faults {
            if let Fault::SlowHeaders(how_long) = fault {
                tokio::time::sleep(*how_long).await;
            }
        }
        response
    }

    /// The live token of an app that a request came with, where such tokens count.
    fn app_token(&self, seen: &Seen) -> Option<AppToken> {
        let counts = matches!(self.auth, Auth::SmartLaunch | Auth::SmartBackend { .. });
        self.smart.as_ref().filter(|_| counts)?.live(seen)
    }

    /// Does what was asked; no answer when the connection is to be closed without one.
    fn carry_out(&self, seen: &Seen, below: &str, app: Option<&AppToken>, faults: &[Fault]) -> Option<Response> {
        let ask = ask(seen, below);
        let mut reply = match app {
            Some(app) => smart::limit::answer(app, &self.state, &ask, faults),
            None => self.state.answer(&ask, faults),
        };
        for fault in faults {
            match fault {
                Fault::CutBeforeAnswer => return None,
                Fault::Accepted(url) => {
                    let headers = vec![("content-location", url.clone())];
                    reply = Reply { status: 202, headers, ..Reply::default() };
                }
                _ => {}
            }
        }
        Some(send(&reply, &self.state.base, faults))
    }

    /// Lists the faults, or switches on those that are named, one a line, and all others off.
    fn switch(&self, seen: &Seen) -> Response {
        match seen.method.as_str() {
            "GET" => plain(200, fault::listed()),
            "PUT" => match seen.body.lines().map(str::parse).collect::<Result<Vec<Fault>, _>>() {
                Ok(faults) => {
                    let on = faults.len();
                    self.faults.set(faults);
                    plain(200, json!({ "on": on }))
                }
                Err(why) => plain(400, json!({ "error": why.to_string() })),
            },
            _ => plain(405, json!({ "error": "GET lists the faults, PUT switches" })),
        }
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

/// Reads a request body; none when it is longer than this or breaks off.
async fn read(body: Incoming, bytes_max: usize) -> Option<String> {
    let collected = Limited::new(body, bytes_max).collect().await.ok()?;
    Some(String::from_utf8_lossy(&collected.to_bytes()).into_owned())
}
