//! One tenant's upstream: where it is, how Hilum authenticates to it, how much it may answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use domain::{SessionId, TenantId};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use policy::{UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::backend::{Backend, HEADER, NoToken, Token};
use super::grants::{Grants, NoOwnToken, OwnToken};
use super::{OpenBrokerError, Taken, failed};
use crate::clock::Clock;
use crate::outbound::{FetchError, Lease, Limits, Outbound, Received};
use crate::settings::{TenantSettings, UpstreamAuth};
use crate::spool::Spools;

/// How often a token file is looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// Largest answer that is one resource, and so is held and indexed whole: a document with its scans inline.
const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest token file.
const TOKEN_FILE_BYTES_MAX: usize = 16 * 1024;

/// Why the upstream's discovery document does not fit what is registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DiscoveryError {
    /// It cannot be fetched (an upstream without one answers 404, which is fine).
    #[error("the upstream's smart-configuration cannot be fetched")]
    Unreachable,
    /// It is not a JSON object with a token endpoint.
    #[error("the upstream's smart-configuration is malformed")]
    Malformed,
    /// It names another token endpoint than the registered one: someone would collect our assertions (S1-01).
    #[error("the upstream's smart-configuration names token endpoint `{theirs}`, registered is `{registered}`")]
    TokenEndpoint {
        /// What is registered.
        registered: String,
        /// What the document says.
        theirs: String,
    },
}

enum Auth {
    None,
    Bearer(BearerFile),
    Backend(Arc<Backend>),
}

/// The credential of one call.
pub(super) enum Credential {
    None,
    Fixed(HeaderValue),
    Backend(Arc<Token>),
    Own(Arc<OwnToken>),
}

/// Whose own token a call is made with; there is no way back to the tenant's.
pub(super) struct Own<'a> {
    pub(super) grants: &'a Arc<Grants>,
    pub(super) tenant: &'a TenantId,
    pub(super) session: SessionId,
}

/// Why a call gives no answer.
enum NotSent {
    /// Nothing came back.
    Fetch(FetchError),
    /// The session has no token of its own any more.
    Gone,
}

impl From<FetchError> for NotSent {
    fn from(why: FetchError) -> Self {
        Self::Fetch(why)
    }
}

/// One upstream.
pub(super) struct Upstream {
    base: String,
    auth: Auth,
    limits: Limits,
    outbound: Outbound,
}

impl Upstream {
    pub(super) fn open(tenant: &TenantSettings, outbound: Outbound, clock: Clock) -> Result<Self, OpenBrokerError> {
        let settings = &tenant.upstream;
        let url = |url: &str| {
            let fits = url.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some()) && !url.contains(['#', '@', '?']);
            let refused = || OpenBrokerError::Url { tenant: tenant.id.clone(), url: url.to_owned() };
            if fits { Ok(url.trim_end_matches('/').to_owned()) } else { Err(refused()) }
        };
        let auth = match &settings.auth {
            UpstreamAuth::None => Auth::None,
            UpstreamAuth::Bearer { token } => {
                let file = BearerFile::new(token);
                if file.header(false).is_none() {
                    let file = token.display().to_string();
                    return Err(OpenBrokerError::Token { tenant: tenant.id.clone(), file });
                }
                Auth::Bearer(file)
            }
            UpstreamAuth::SmartBackend { client_id, key, token_url, scope } => {
                url(token_url)?;
                let backend = Backend::open(client_id, key, token_url, scope, outbound.clone(), clock)
                    .map_err(|why| OpenBrokerError::Key { tenant: tenant.id.clone(), why })?;
                Auth::Backend(Arc::new(backend))
            }
        };
        let limits = Limits { timeout: settings.timeout, body_bytes_max: settings.body_bytes_max };
        Ok(Self { base: url(&settings.fhir)?, auth, limits, outbound })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    pub(super) fn jwks(&self) -> String {
        json!({ "keys": self.public_keys() }).to_string()
    }

    pub(super) fn public_keys(&self) -> Vec<Value> {
        match &self.auth {
            Auth::Backend(backend) => backend.public_keys(),
            Auth::None | Auth::Bearer(_) => Vec::new(),
        }
    }

    /// Makes a call as policy sees its answer; the credential, `Accept` and what the call itself says are all it carries.
    pub(super) async fn call(&self, own: Option<&Own<'_>>, call: &UpstreamCall, spools: Option<&Spools>) -> Taken {
        let slash = if call.path.is_empty() { "" } else { "/" };
        let mark = if call.query.is_empty() { "" } else { "?" };
        let url = format!("{}{slash}{}{mark}{}", self.base, call.path, call.query);
        match self.send(&url, own, call, spools).await {
            Ok(received) => {
                let text = |name: HeaderName| header_text(&received.headers, &name);
                let answer = UpstreamAnswer {
                    status: received.status.as_u16(),
                    content_type: text(CONTENT_TYPE),
                    etag: text(ETAG),
                    last_modified: text(LAST_MODIFIED),
                    location: text(LOCATION),
                    body: received.body,
                };
                Taken { answer, spool: received.spool, lease: Some(received.lease) }
            }
            Err(NotSent::Gone) => failed(401).into(),
            Err(NotSent::Fetch(FetchError::Timeout)) => failed(504).into(),
            Err(NotSent::Fetch(FetchError::Busy | FetchError::Unreachable)) => failed(503).into(),
            Err(NotSent::Fetch(FetchError::Url | FetchError::TooLarge | FetchError::Broken)) => failed(502).into(),
        }
    }

    /// See [`super::Broker::keep`].
    pub(super) fn keep(&self, bytes: usize) -> Option<Lease> {
        self.outbound.keep(bytes).ok()
    }

    /// GETs a URL below the base: with a session's own token, or with our credential.
    pub(super) async fn fetch(&self, own: Option<&Own<'_>>, url: &str) -> Result<Received, FetchError> {
        let get =
            UpstreamCall { verb: Verb::Get, path: String::new(), query: String::new(), body: None, if_match: None };
        self.send(url, own, &get, None).await.map_err(|why| match why {
            NotSent::Fetch(why) => why,
            NotSent::Gone => FetchError::Unreachable,
        })
    }

    /// Sends a call to this URL; a 401 renews the credential once, since nothing was done then.
    async fn send(
        &self,
        url: &str,
        own: Option<&Own<'_>>,
        call: &UpstreamCall,
        spools: Option<&Spools>,
    ) -> Result<Received, NotSent> {
        let started = Instant::now();
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let credential = tokio::time::timeout(self.limits.timeout, self.credential_of(own, None))
            .await
            .map_err(|_| FetchError::Timeout)??;
        let answer = self.sent(request(&uri, call)?, &credential, started, spools).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let renewed = Box::pin(self.credential_of(own, Some(&credential)));
        let renewed = match tokio::time::timeout(self.limits.timeout, renewed).await {
            Ok(Ok(renewed)) => renewed,
            _ => return Ok(answer),
        };
        match (&credential, &renewed) {
            (Credential::None, _) => Ok(answer),
            (Credential::Fixed(old), Credential::Fixed(new)) if old == new => Ok(answer),
            _ => Ok(Box::pin(self.sent(request(&uri, call)?, &renewed, started, spools)).await?),
        }
    }

    /// The credential of a call: the session's own and nothing else, or the tenant's.
    async fn credential_of(&self, own: Option<&Own<'_>>, refused: Option<&Credential>) -> Result<Credential, NotSent> {
        let Some(Own { grants, tenant, session }) = own else {
            return self.credential(refused).await.map_err(|NoToken| FetchError::Unreachable.into());
        };
        let refused = match refused {
            Some(Credential::Own(token)) => Some(token),
            _ => None,
        };
        match grants.token(tenant, session, refused).await {
            Ok(token) => Ok(Credential::Own(token)),
            Err(NoOwnToken::Over) => Err(NotSent::Gone),
            Err(NoOwnToken::Unavailable) => Err(FetchError::Unreachable.into()),
        }
    }

    /// PUTs `body` under a version that cannot be the current one: only for `hilum check`, on a test patient.
    pub(super) async fn put_stale(&self, url: &str, body: Vec<u8>) -> Result<StatusCode, FetchError> {
        let credential = self.credential(None).await.map_err(|NoToken| FetchError::Unreachable)?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = http::Method::PUT;
        *request.uri_mut() = url.parse().map_err(|_| FetchError::Url)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
        request.headers_mut().insert(IF_MATCH, HeaderValue::from_static("W/\"hilum-check-no-such-version\""));
        Ok(self.sent(request, &credential, Instant::now(), None).await?.status)
    }

    async fn once(&self, uri: &Uri, credential: &Credential, started: Instant) -> Result<Received, FetchError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri.clone();
        self.sent(request, credential, started, None).await
    }

    async fn sent(
        &self,
        mut request: Request<Full<Bytes>>,
        credential: &Credential,
        started: Instant,
        spools: Option<&Spools>,
    ) -> Result<Received, FetchError> {
        let left = self.limits.timeout.checked_sub(started.elapsed()).ok_or(FetchError::Timeout)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
        match credential {
            Credential::None => {}
            Credential::Fixed(header) => _ = request.headers_mut().insert(HEADER, header.clone()),
            Credential::Backend(token) => _ = request.headers_mut().insert(HEADER, token.header()),
            Credential::Own(token) => _ = request.headers_mut().insert(HEADER, token.header()),
        }
        // What has to fit into memory is bounded by it.
        let most = if spools.is_some() { usize::MAX } else { WHOLE_BYTES_MAX };
        let limits = Limits { timeout: left, body_bytes_max: self.limits.body_bytes_max.min(most) };
        self.outbound.call_into(request, limits, spools).await
    }

    /// The credential to use; `refused` is one the upstream has just answered with 401.
    pub(super) async fn credential(&self, refused: Option<&Credential>) -> Result<Credential, NoToken> {
        match &self.auth {
            Auth::None => Ok(Credential::None),
            Auth::Bearer(file) => file.header(refused.is_some()).map(Credential::Fixed).ok_or(NoToken),
            Auth::Backend(backend) => {
                let token = match refused {
                    Some(Credential::Backend(stale)) => backend.renew(Some(stale)).await?,
                    _ => backend.token().await?,
                };
                Ok(Credential::Backend(token))
            }
        }
    }

    /// See [`super::Broker::check_discovery`].
    pub(super) async fn check_discovery(&self) -> Result<(), DiscoveryError> {
        let url = format!("{}/.well-known/smart-configuration", self.base);
        let uri: Uri = url.parse().map_err(|_| DiscoveryError::Unreachable)?;
        let answer =
            self.once(&uri, &Credential::None, Instant::now()).await.map_err(|_| DiscoveryError::Unreachable)?;
        let Auth::Backend(backend) = &self.auth else { return Ok(()) };
        if answer.status != StatusCode::OK {
            return Ok(());
        }
        let members = oauth::json::read_object(&answer.body).map_err(|_| DiscoveryError::Malformed)?;
        let theirs = members.get("token_endpoint").and_then(|url| url.as_str()).ok_or(DiscoveryError::Malformed)?;
        if theirs == backend.token_url() {
            return Ok(());
        }
        Err(DiscoveryError::TokenEndpoint { registered: backend.token_url().to_owned(), theirs: theirs.to_owned() })
    }
}

/// The request of a call. What is written is asked back, so that it can be judged as stored.
fn request(uri: &Uri, call: &UpstreamCall) -> Result<Request<Full<Bytes>>, FetchError> {
    let (media, bytes) = match &call.body {
        None => (None, Bytes::new()),
        Some(UpstreamBody::Form(form)) => {
            (Some("application/x-www-form-urlencoded"), Bytes::copy_from_slice(form.as_bytes()))
        }
        Some(UpstreamBody::Resource(text)) => {
            (Some("application/fhir+json; charset=utf-8"), Bytes::copy_from_slice(text.as_bytes()))
        }
    };
    let mut request = Request::new(Full::new(bytes));
    *request.method_mut() = match call.verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
    };
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    if let Some(media) = media {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    if matches!(call.body, Some(UpstreamBody::Resource(_))) {
        headers.insert(PREFER, HeaderValue::from_static("return=representation"));
    }
    if let Some(tag) = &call.if_match {
        headers.insert(IF_MATCH, HeaderValue::from_str(tag).map_err(|_| FetchError::Url)?);
    }
    Ok(request)
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

pub(super) fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A bearer token in a file, read again when the file changes.
struct BearerFile {
    path: PathBuf,
    state: Mutex<BearerState>,
}

#[derive(Default)]
struct BearerState {
    header: Option<HeaderValue>,
    modified: Option<SystemTime>,
    looked_at: Option<Instant>,
}

impl BearerFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::new(BearerState::default()) }
    }

    /// The header. A file that became unreadable keeps the old value: a rotation that is half done must not cut care off.
    fn header(&self, look_again: bool) -> Option<HeaderValue> {
        let mut state = self.state.lock();
        let due = look_again || state.looked_at.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
        if due {
            state.looked_at = Some(Instant::now());
            let modified = std::fs::metadata(&self.path).and_then(|file| file.modified()).ok();
            if look_again || modified != state.modified || state.header.is_none() {
                state.modified = modified;
                if let Some(header) = read_bearer(&self.path) {
                    state.header = Some(header);
                }
            }
        }
        state.header.clone()
    }
}

fn read_bearer(path: &Path) -> Option<HeaderValue> {
    let text = Zeroizing::new(std::fs::read_to_string(path).ok()?);
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_FILE_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut header = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}"))).ok()?;
    header.set_sensitive(true);
    Some(header)
}
