//! An identity provider's discovery document (OpenID Connect Discovery 1.0 §3, §4): fetched when needed, used as long as its
//! `Cache-Control` and our own hour allow, judged before anything in it is believed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use domain::Millis;
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use oauth::Algorithm;
use serde_json::{Map, Value};

use super::error::SignInError;
use crate::broker::life;
use crate::clock::Clock;
use crate::outbound::{Limits, Outbound};

/// What one fetch may cost. Documents of large providers have some 10 KiB.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), body_bytes_max: 64 * 1024 };
/// A failed fetch is not tried again for this long.
const RETRY_MILLIS: Millis = 1_000;
/// Longest endpoint.
const URL_BYTES_MAX: usize = 2_048;

/// What a discovery document lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DiscoveryProblem {
    /// Not one JSON object with unique members.
    #[error("it is malformed")]
    Malformed,
    /// It is that of another issuer (OpenID Connect Discovery §4.3).
    #[error("its `issuer` is not the configured one, byte by byte")]
    Issuer,
    /// An endpoint is missing or no URL that Hilum uses.
    #[error("its `{0}` is missing or not https (http on loopback only)")]
    Endpoint(&'static str),
    /// It does not offer the code flow.
    #[error("it does not offer response type `code`")]
    ResponseType,
    /// It names challenge methods and S256 is not among them.
    #[error("it does not offer PKCE with S256")]
    Pkce,
    /// It signs with none of the algorithms that Hilum verifies.
    #[error("it signs id tokens with none of RS256, ES256, PS256, RS384, ES384")]
    Algorithm,
    /// It does not take the way in which Hilum is configured to authenticate.
    #[error("its token endpoint does not take the configured way to authenticate")]
    ClientAuth,
    /// It takes authorization requests only where Hilum does not push them.
    #[error("it requires pushed authorization requests, which Hilum does not send")]
    Pushed,
}

/// What Hilum uses of the document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    pub(super) end_session_endpoint: Option<String>,
    /// RFC 9207: authorization responses carry `iss`.
    pub(super) sends_issuer: bool,
    members: Map<String, Value>,
}

impl Document {
    fn read(body: &[u8], issuer: &str) -> Result<Self, DiscoveryProblem> {
        let members = oauth::json::read_object(body).map_err(|_| DiscoveryProblem::Malformed)?;
        if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(DiscoveryProblem::Issuer);
        }
        let endpoint = |name: &'static str| match members.get(name).and_then(Value::as_str) {
            Some(url) if acceptable(url) => Ok(url.to_owned()),
            _ => Err(DiscoveryProblem::Endpoint(name)),
        };
        let end_session_endpoint = match members.get("end_session_endpoint") {
            None | Some(Value::Null) => None,
            Some(_) => Some(endpoint("end_session_endpoint")?),
        };
        let sends_issuer = match members.get("authorization_response_iss_parameter_supported") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err(DiscoveryProblem::Malformed),
        };
        Ok(Self {
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            end_session_endpoint,
            sends_issuer,
            members,
        })
    }

    /// What will not work with this provider.
    pub(super) fn problems(&self, method: &str) -> Vec<DiscoveryProblem> {
        // An absent list has the default of its specification: for challenge methods, that nothing is said.
        let offers = |name: &str, default: bool, fits: &dyn Fn(&str) -> bool| match self.members.get(name) {
            None => default,
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).any(fits),
            Some(_) => false,
        };
        let signs = |name: &str| Algorithm::OF_ID_TOKENS.iter().any(|algorithm| algorithm.as_str() == name);
        let mut out = Vec::new();
        if !offers("response_types_supported", false, &|name| name == "code") {
            out.push(DiscoveryProblem::ResponseType);
        }
        if !offers("code_challenge_methods_supported", true, &|name| name == "S256") {
            out.push(DiscoveryProblem::Pkce);
        }
        if !offers("id_token_signing_alg_values_supported", false, &signs) {
            out.push(DiscoveryProblem::Algorithm);
        }
        let by_default = method == "client_secret_basic";
        if !offers("token_endpoint_auth_methods_supported", by_default, &|name| name == method) {
            out.push(DiscoveryProblem::ClientAuth);
        }
        if self.members.get("require_pushed_authorization_requests") == Some(&Value::Bool(true)) {
            out.push(DiscoveryProblem::Pushed);
        }
        out
    }
}

struct Fetched {
    document: Arc<Document>,
    until: Millis,
}

#[derive(Default)]
struct Attempts {
    finished: Option<Instant>,
    failed: Option<(Millis, SignInError)>,
}

/// The document of one provider; one fetch at a time, shared by those who wait.
pub(super) struct Discovery {
    issuer: String,
    outbound: Outbound,
    clock: Clock,
    current: ArcSwapOption<Fetched>,
    fetching: tokio::sync::Mutex<Attempts>,
}

impl Discovery {
    pub(super) fn new(issuer: &str, outbound: Outbound, clock: Clock) -> Self {
        let issuer = issuer.to_owned();
        Self { issuer, outbound, clock, current: ArcSwapOption::empty(), fetching: tokio::sync::Mutex::default() }
    }

    pub(super) async fn get(&self) -> Result<Arc<Document>, SignInError> {
        let arrived = Instant::now();
        if let Some(document) = self.usable() {
            return Ok(document);
        }
        let mut attempts = self.fetching.lock().await;
        if attempts.finished.is_some_and(|at| at >= arrived) {
            // Someone fetched while we waited: what came of it, `no-store` included, is ours too.
            let shared = self.current.load_full().map(|fetched| Arc::clone(&fetched.document));
            return shared.ok_or(attempts.failed.map_or(SignInError::Unreachable, |(_, why)| why));
        }
        let now = self.clock.now();
        if let Some((at, why)) = attempts.failed
            && now.saturating_sub(at) < RETRY_MILLIS
        {
            return Err(why);
        }
        let fetched = self.fetch().await;
        attempts.finished = Some(Instant::now());
        match fetched {
            Ok(fetched) => {
                let document = Arc::clone(&fetched.document);
                attempts.failed = None;
                self.current.store(Some(Arc::new(fetched)));
                Ok(document)
            }
            Err(why) => {
                tracing::warn!(issuer = %self.issuer, %why, "no discovery document of the identity provider");
                attempts.failed = Some((now, why));
                self.current.store(None);
                Err(why)
            }
        }
    }

    fn usable(&self) -> Option<Arc<Document>> {
        let fetched = self.current.load_full()?;
        (self.clock.now() < fetched.until).then(|| Arc::clone(&fetched.document))
    }

    async fn fetch(&self) -> Result<Fetched, SignInError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let request = Request::get(url)
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::new()))
            .map_err(|_| SignInError::Unreachable)?;
        let asked_at = self.clock.now();
        let answer = self.outbound.call(request, LIMITS).await.map_err(|_| SignInError::Unreachable)?;
        if answer.status != StatusCode::OK {
            return Err(SignInError::Unreachable);
        }
        let document = Arc::new(Document::read(&answer.body, &self.issuer)?);
        Ok(Fetched { document, until: asked_at + life(&answer.headers) })
    }
}

/// https, or http on loopback; a host, no user, no fragment. Judged on the text: URL parsers drop fragments silently.
pub(super) fn acceptable(url: &str) -> bool {
    let plain = url.len() <= URL_BYTES_MAX
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && !url.contains(['#', '\\', '"', '<', '>']);
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let scheme = url.starts_with("https://") || (url.starts_with("http://") && is_loopback);
    plain && scheme && !host.is_empty() && !authority.as_str().contains('@')
}

#[test]
fn neg_143_endpoints_are_judged_as_text() {
    for (url, fits) in [
        ("https://idp.example/realms/mercy", true),
        ("https://idp.example:8443/token?tenant=1", true),
        ("http://127.0.0.1:3000", true),
        ("http://[::1]:3000/x", true),
        ("http://localhost:3000/x", true),
        ("http://idp.example/", false),
        ("http://127.0.0.1.evil.example/", false),
        ("https://user@idp.example/", false),
        ("https://idp.example/#x", false),
        ("https://idp.example\\@evil.example/", false),
        ("https:///x", false),
        ("javascript:alert(1)", false),
        ("//idp.example/", false),
        ("", false),
    ] {
        assert_eq!(acceptable(url), fits, "`{url}`");
    }
}
