//! Who an app is: `private_key_jwt` (SMART 2.2, "Client Authentication: Asymmetric"; RFC 7523 §3).

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value};

use super::client::{ClientKeys, SmartClient, on_loopback};
use super::form::Form;
use super::jose::{KeySet, UnverifiedJws};
use super::{Smart, answer};
use crate::requests::Seen;
use crate::serve::wire::Response;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion ends at most this many seconds ahead (CA-02).
const SECONDS_MAX: i64 = 300;
/// Largest JWK Set fetched.
const KEYS_BYTES_MAX: usize = 64 * 1024;
/// Longest that an app's key host is waited for.
const KEYS_TIME_MAX: Duration = Duration::from_secs(5);

impl Smart {
    /// The app that sent this form; else the refusal.
    pub(super) async fn authenticated(&self, seen: &Seen, form: &Form) -> Result<&SmartClient, Box<Response>> {
        let other = seen.header("authorization").is_some() || form.get("client_secret").is_some();
        if other && form.get("client_assertion").is_some() {
            let says = "one way of client authentication at a time";
            return Err(Box::new(answer::refusal(400, "invalid_request", says)));
        }
        self.known(form).await.map_err(|says| Box::new(answer::refusal(401, "invalid_client", says)))
    }

    async fn known(&self, form: &Form) -> Result<&SmartClient, &'static str> {
        if form.get("client_assertion_type") != Some(JWT_BEARER) {
            return Err("`client_assertion_type` is not jwt-bearer");
        }
        let assertion = form.get("client_assertion").ok_or("`client_assertion` is missing")?;
        let jws =
            UnverifiedJws::read(assertion).ok_or("the assertion is no JWS by ES384 or RS384 with kid and typ JWT")?;
        let issuer = text(&jws.claims, "iss").ok_or("the assertion has no iss")?;
        let client = self.clients.get(issuer).ok_or("no such app")?;
        if form.get("client_id").is_some_and(|id| id != client.client_id) {
            return Err("`client_id` is not the assertion's");
        }
        let keys = match (&client.keys, &jws.jku) {
            (ClientKeys::Jwks(_), Some(_)) => return Err("jku is not registered"),
            (ClientKeys::Url(url), Some(jku)) if url != jku => return Err("jku is not the registered one"),
            (ClientKeys::Jwks(set), None) => KeySet::read(set),
            (ClientKeys::Url(url), _) => fetch(url).await.and_then(|set| KeySet::read(&set)),
        };
        if !jws.is_signed_by(&keys.ok_or("the app's keys cannot be read")?) {
            return Err("no key of the app made this signature");
        }
        let now = self.clock.now();
        let (jti, end) = claims(&jws.claims, &client.client_id, &self.token_endpoint(), now)?;
        if !self.book().first_time(&client.client_id, jti, end, now) {
            return Err("this jti was used before");
        }
        Ok(client)
    }
}

/// The `jti` and the end, in milliseconds, of claims that are as they must be.
fn claims<'c>(
    claims: &'c Map<String, Value>,
    client_id: &str,
    audience: &str,
    now: i64,
) -> Result<(&'c str, i64), &'static str> {
    if text(claims, "sub") != Some(client_id) {
        return Err("sub is not iss");
    }
    let named = match claims.get("aud") {
        Some(Value::Array(all)) => all.len() == 1 && all.first().and_then(Value::as_str) == Some(audience),
        Some(Value::String(one)) => one == audience,
        _ => false,
    };
    if !named {
        return Err("aud is not the token endpoint");
    }
    let now = now.div_euclid(1000);
    let moment = |name: &str| claims.get(name).map(|value| value.as_i64().ok_or("a time is no whole number"));
    let end = moment("exp").ok_or("exp is missing")??;
    if end <= now {
        return Err("the assertion has ended");
    }
    if end > now + SECONDS_MAX {
        return Err("exp is more than five minutes ahead");
    }
    for name in ["nbf", "iat"] {
        if moment(name).transpose()?.is_some_and(|at| at > now) {
            return Err("the assertion is from the future");
        }
    }
    let jti = text(claims, "jti").filter(|jti| !jti.is_empty()).ok_or("jti is missing")?;
    Ok((jti, end * 1000))
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// The JWK Set of an app, read anew each time (CA-07). Only from this machine.
async fn fetch(url: &str) -> Option<Value> {
    if !on_loopback(url) {
        return None;
    }
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::builder().uri(url).header(ACCEPT, "application/json").body(Empty::new()).ok()?;
    let read = async {
        let response = client.request(request).await.ok()?;
        if response.status() != http::StatusCode::OK {
            return None;
        }
        let body = Limited::new(response.into_body(), KEYS_BYTES_MAX).collect().await.ok()?;
        serde_json::from_slice(&body.to_bytes()).ok()
    };
    tokio::time::timeout(KEYS_TIME_MAX, read).await.ok()?
}
