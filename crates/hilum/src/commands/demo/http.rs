//! The tour's own HTTP client: what it sends and gets is what any client would.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::cli::Failure;

/// Longest wait for one answer on loopback.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Largest answer read: a page of a search is far below.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A client for loopback, without TLS.
pub struct Http(Client<HttpConnector, Full<Bytes>>);

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// `GET`, `POST`.
    pub method: Method,
    /// Where it went.
    pub url: String,
    /// Status.
    pub status: u16,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// Body of the answer, as bytes.
    pub bytes: Bytes,
    /// Body of the answer; null when it is no JSON.
    pub body: Value,
}

impl Exchange {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A member of the body as text, by JSON pointer; empty when it is not there.
    pub fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    /// `Type/id` of each resource in a Bundle, without what the gate says itself.
    pub fn entries(&self) -> Vec<String> {
        let entries = self.body.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let member = |entry: &Value, name: &str| {
            entry.get("resource").and_then(|r| r.get(name)).and_then(Value::as_str).unwrap_or("?").to_owned()
        };
        let outcome = |entry: &&Value| entry.pointer("/search/mode").and_then(Value::as_str) == Some("outcome");
        entries
            .iter()
            .filter(|entry| !outcome(entry))
            .map(|entry| format!("{}/{}", member(entry, "resourceType"), member(entry, "id")))
            .collect()
    }
}

/// What is sent along.
pub enum Send<'a> {
    /// No body.
    Nothing,
    /// A form, already encoded.
    Form(String),
    /// JSON.
    Json(&'a Value),
    /// A manifest.
    Toml(&'a str),
    /// Roles of AI services.
    Yaml(&'a str),
}

impl Http {
    /// A client.
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// One request, with a bearer token or without.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        bearer: Option<&str>,
        body: Send<'_>,
    ) -> Result<Exchange, Failure> {
        let failed = |why: String| Failure::failed(format!("{url}: {why}"));
        let (kind, text) = match body {
            Send::Nothing => (None, String::new()),
            Send::Form(text) => (Some("application/x-www-form-urlencoded"), text),
            Send::Json(value) => (Some("application/json"), value.to_string()),
            Send::Toml(text) => (Some("application/toml"), text.to_owned()),
            Send::Yaml(text) => (Some("application/yaml"), text.to_owned()),
        };
        let mut request = Request::builder().method(method.clone()).uri(url);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(Bytes::from(text))).map_err(|why| failed(why.to_string()))?;
        let answer = tokio::time::timeout(WAIT_MAX, self.0.request(request)).await;
        let answer = answer.map_err(|_| failed("no answer".into()))?.map_err(|why| failed(why.to_string()))?;
        let (head, body) = answer.into_parts();
        let collected = tokio::time::timeout(WAIT_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        let collected = collected.map_err(|_| failed("the answer broke off".into()))?;
        let bytes = collected.map_err(|why| failed(why.to_string()))?.to_bytes();
        Ok(Exchange {
            method,
            url: url.to_owned(),
            status: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            bytes,
        })
    }

    /// `GET`.
    pub async fn get(&self, url: &str, bearer: Option<&str>) -> Result<Exchange, Failure> {
        self.send(Method::GET, url, bearer, Send::Nothing).await
    }
}
