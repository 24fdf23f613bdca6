//! An EHR that says what a test wants: discovery, token endpoint, keys, revocation, and a FHIR server that takes some tokens.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use server::broker::UpstreamGrant;
use server::settings::EhrSettings;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Came {
    pub path: String,
    pub form: BTreeMap<String, String>,
    pub authorization: String,
}

pub struct Script {
    /// Replaces members of the discovery document; null removes one.
    pub discovery: Value,
    /// Answers of the token endpoint, in their order; the last one stays.
    pub tokens: VecDeque<(u16, Value)>,
    /// Status and error of the revocation endpoint.
    pub revoke: (u16, Value),
    /// Access tokens that the FHIR server takes.
    pub takes: Vec<String>,
    pub jwks: Value,
}

#[derive(Clone)]
pub struct FakeEhr {
    pub origin: String,
    pub script: Arc<Mutex<Script>>,
    came: Arc<Mutex<Vec<Came>>>,
    /// While held, revocations wait.
    pub revoking: Arc<tokio::sync::Mutex<()>>,
}

impl FakeEhr {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let script = Script {
            discovery: json!({}),
            tokens: VecDeque::new(),
            revoke: (200, json!({})),
            takes: vec!["own-1".into()],
            jwks: json!({"keys": []}),
        };
        let ehr = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            script: Arc::new(Mutex::new(script)),
            came: Arc::default(),
            revoking: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(ehr.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ehr
    }

    pub fn base(&self) -> String {
        format!("{}/fhir", self.origin)
    }

    pub fn settings(&self, key: &std::path::Path) -> EhrSettings {
        EhrSettings {
            fhir: self.base(),
            client_id: "hilum".into(),
            key: key.to_owned(),
            scope: "launch openid fhirUser online_access patient/*.rs".into(),
        }
    }

    /// A grant of this EHR, as a launch would give it.
    pub fn grant(&self, n: u32, expires_at: i64, refresh: Option<&str>) -> UpstreamGrant {
        UpstreamGrant {
            access_token: format!("own-{n}"),
            expires_at,
            refresh_token: refresh.map(str::to_owned),
            scope: "launch patient/*.rs".into(),
            patient: "P1".into(),
            token_endpoint: format!("{}/token", self.origin),
            revocation_endpoint: Some(format!("{}/revoke", self.origin)),
            state: server::broker::GrantState::Alive,
        }
    }

    pub fn say(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn came(&self, path: &str) -> Vec<Came> {
        self.came.lock().unwrap().iter().filter(|came| came.path == path).cloned().collect()
    }

    /// What every FHIR request came with.
    pub fn fhir_tokens(&self) -> Vec<String> {
        let came = self.came.lock().unwrap();
        came.iter().filter(|came| came.path.starts_with("/fhir/")).map(|came| came.authorization.clone()).collect()
    }

    /// The tokens that were asked to be revoked.
    pub fn revoked(&self) -> Vec<String> {
        self.came("/revoke").iter().map(|came| came.form["token"].clone()).collect()
    }
}

async fn answer(
    State(ehr): State<FakeEhr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    let form: BTreeMap<String, String> = if path.starts_with("/fhir/") { BTreeMap::new() } else { pairs(&body) };
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    ehr.came.lock().unwrap().push(Came { path: path.clone(), form, authorization: authorization.clone() });
    match path.as_str() {
        "/fhir/.well-known/smart-configuration" => {
            let mut document = json!({
                "issuer": ehr.origin, "jwks_uri": format!("{}/jwks", ehr.origin),
                "authorization_endpoint": format!("{}/authorize", ehr.origin),
                "token_endpoint": format!("{}/token", ehr.origin),
                "revocation_endpoint": format!("{}/revoke", ehr.origin),
                "code_challenge_methods_supported": ["S256"],
            });
            let script = ehr.script.lock().unwrap();
            document.as_object_mut().unwrap().extend(script.discovery.as_object().unwrap().clone());
            told(200, &document)
        }
        "/jwks" => told(200, &ehr.script.lock().unwrap().jwks),
        "/token" => {
            let mut script = ehr.script.lock().unwrap();
            let (status, body) =
                if script.tokens.len() > 1 { script.tokens.pop_front().unwrap() } else { script.tokens[0].clone() };
            told(status, &body)
        }
        "/revoke" => {
            let _waits = ehr.revoking.lock().await;
            let (status, body) = ehr.script.lock().unwrap().revoke.clone();
            told(status, &body)
        }
        _ => {
            let takes = ehr.script.lock().unwrap().takes.clone();
            if !takes.iter().any(|token| authorization == format!("Bearer {token}")) {
                return told(401, &json!({}));
            }
            fhir(&method, &path, &body)
        }
    }
}

fn fhir(method: &Method, path: &str, body: &[u8]) -> Response<Body> {
    match (method.as_str(), path) {
        ("GET", "/fhir/Patient/P1") => told(200, &json!({"resourceType": "Patient", "id": "P1"})),
        ("GET", "/fhir/Patient/P2") => told(200, &json!({"resourceType": "Patient", "id": "P2"})),
        ("POST", "/fhir/Observation") => {
            let mut stored: Value = serde_json::from_slice(body).unwrap();
            stored["id"] = "O9".into();
            told(201, &stored)
        }
        ("GET", _) => told(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": []})),
        _ => told(405, &json!({})),
    }
}

fn told(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

/// Parameters of a form or a query.
pub fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let text = std::str::from_utf8(text).unwrap();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}
