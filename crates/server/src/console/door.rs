//! Who is at a page's door: host, cookie and session of a browser; what it sends is genuine or refused; every refusal is recorded.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Millis, PersonId, Reason};
use serde::de::DeserializeOwned;
use store::{Means, StoreError};
use subtle::ConstantTimeEq as _;

use super::{Origin, pages};
use crate::authorize::Peer;
use crate::clock::random_text;
use crate::registry::Registry;
use crate::registry::api::address;
use crate::registry::people::{Caller, credential_hash};
use crate::registry::trail::{Deed, RecordFailed};

/// A page session ends after this long without use (S4-03).
const IDLE: Millis = 15 * 60_000;
/// The secret in a cookie: 256 bits in base64url.
const SECRET_CHARS: usize = 43;
/// What the script sends its token in.
const CSRF_HEADER: &str = "x-hilum-csrf";

/// A browser at the door.
#[derive(Clone)]
pub(super) struct Visitor {
    secret: String,
    /// The address it came from.
    pub peer: IpAddr,
    /// Who is signed in, if anybody is, and by what.
    pub signed_in: Option<(Caller, Means)>,
}

impl Visitor {
    /// What a challenge given to this browser is bound to.
    pub(super) fn browser(&self) -> [u8; 32] {
        credential_hash(&self.secret)
    }

    /// What must come with everything that this browser sends; only a page of ours can read it.
    pub(super) fn csrf(&self) -> String {
        let mut text = b"hilum console csrf\0".to_vec();
        text.extend_from_slice(self.secret.as_bytes());
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &text))
    }

    /// Who is signed in; nobody else goes on.
    pub(super) fn caller(&self) -> Result<&Caller, Turned> {
        let says = "Your session is over. Sign in again.";
        let nobody = || Turned::new(StatusCode::UNAUTHORIZED, Reason::TokenMissing, says);
        self.signed_in.as_ref().map(|(caller, _)| caller).ok_or_else(nobody)
    }

    fn genuine(&self, token: &str) -> Result<(), Turned> {
        if bool::from(token.as_bytes().ct_eq(self.csrf().as_bytes())) {
            return Ok(());
        }
        Err(Turned::new(
            StatusCode::FORBIDDEN,
            Reason::RequestInvalid,
            "This form is from an earlier session. Open the page again.",
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Turned> {
        // `enter` put it there; a route outside of it stays shut.
        parts.extensions.get::<Self>().cloned().ok_or_else(Turned::broken)
    }
}

/// A form that a page of ours sent for this browser.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// One field; absent is empty.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Turned;

    async fn from_request(request: Request, state: &S) -> Result<Self, Turned> {
        let visitor = request.extensions().get::<Visitor>().cloned().ok_or_else(Turned::broken)?;
        let read = axum::Form::<Vec<(String, String)>>::from_request(request, state).await;
        let form = Self(read.map_err(|_| Turned::unreadable())?.0);
        visitor.genuine(form.get("csrf"))?;
        Ok(form)
    }
}

/// What the script of a page of ours sent for this browser.
pub(super) struct Sent<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Turned;

    async fn from_request(request: Request, state: &S) -> Result<Self, Turned> {
        let visitor = request.extensions().get::<Visitor>().cloned().ok_or_else(Turned::broken)?;
        let token = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
        visitor.genuine(token)?;
        let read = axum::Json::<T>::from_request(request, state).await;
        Ok(Self(read.map_err(|_| Turned::unreadable())?.0))
    }
}

/// A browser that is turned away, in words for whoever sits before it.
#[derive(Clone, Debug)]
pub(super) struct Turned {
    status: StatusCode,
    reason: Reason,
    says: Box<str>,
    /// What was tried: noun and verb of its record.
    tried: Option<(&'static str, &'static str)>,
    /// As whom, and what only the record says.
    person: Option<PersonId>,
    note: Box<str>,
    /// A page of its own to show it on.
    page: Option<Box<str>>,
    recorded: bool,
}

impl Turned {
    pub(super) fn new(status: StatusCode, reason: Reason, says: impl Into<String>) -> Self {
        let (says, note) = (says.into().into_boxed_str(), Box::from(""));
        Self { status, reason, says, tried: None, person: None, note, page: None, recorded: false }
    }

    /// It was an attempt to do this, worth a record even of somebody who is not signed in.
    pub(super) fn tried(self, noun: &'static str, verb: &'static str, person: Option<PersonId>) -> Self {
        Self { tried: Some((noun, verb)), person, ..self }
    }

    pub(super) fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into().into_boxed_str(), ..self }
    }

    pub(super) fn on(self, page: String) -> Self {
        Self { page: Some(page.into_boxed_str()), ..self }
    }

    /// Its record is durable already.
    pub(super) fn recorded(self) -> Self {
        Self { recorded: true, ..self }
    }

    pub(super) fn unreadable() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Reason::RequestInvalid, "What was sent cannot be read.")
    }

    pub(super) fn broken() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Overloaded, "The gate cannot do this now. Try again.")
    }
}

impl From<StoreError> for Turned {
    fn from(why: StoreError) -> Self {
        tracing::error!("the store failed: {why}");
        Self::broken()
    }
}

impl From<RecordFailed> for Turned {
    fn from(_: RecordFailed) -> Self {
        let says = "Nothing was done: its record could not be kept. Try again.";
        Self { recorded: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::RecordFailed, says) }
    }
}

impl From<crate::clock::RandomError> for Turned {
    fn from(why: crate::clock::RandomError) -> Self {
        tracing::error!("{why}");
        Self::broken()
    }
}

impl IntoResponse for Turned {
    /// The words are put in by `enter`, which knows whether a page or the script asked.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Left in a response that gives the browser a new secret: signed in, or out.
#[derive(Clone)]
pub(super) struct NewSecret(pub String);

/// Lets a browser in; adds its cookie, the rules for what the page may do, and the words and the record of a refusal.
pub(super) async fn enter(State(registry): State<Registry>, mut request: Request, next: Next) -> Response {
    let Some(origin) = registry.console_origin().cloned() else {
        let says = "The pages have no address yet: set `public_url` under [admin] in the gate's configuration.";
        let turned = Turned::new(StatusCode::CONFLICT, Reason::NotSupported, says);
        return ruled(Over::Http, shown(&turned, Asked::Page));
    };
    let over = if origin.is_secure() { Over::Https } else { Over::Http };
    let asked = Asked::of(request.headers());
    let peer = address(request.extensions().get::<Peer>().copied());
    if let Some(elsewhere) = elsewhere(&origin, &request) {
        return ruled(over, elsewhere);
    }
    let (visitor, fresh) = match visit(&registry, &origin, request.headers(), peer).await {
        Ok(found) => found,
        Err(turned) => return ruled(over, shown(&turned, asked)),
    };
    let genuine = request.method() == Method::GET || same_origin(&origin, request.headers());
    request.extensions_mut().insert(visitor.clone());
    let mut response = if genuine {
        next.run(request).await
    } else {
        let says = "This came from another site and was not done.";
        Turned::new(StatusCode::FORBIDDEN, Reason::RequestInvalid, says).into_response()
    };
    if let Some(turned) = response.extensions_mut().remove::<Turned>() {
        response = match record(&registry, &visitor, &turned).await {
            Ok(()) => shown(&turned, asked),
            Err(failed) => shown(&Turned::from(failed), asked),
        };
    }
    let new = response.extensions_mut().remove::<NewSecret>().map(|NewSecret(secret)| secret);
    if let Some(secret) = new.or_else(|| fresh.then(|| visitor.secret.clone())) {
        set_cookie(&origin, &secret, response.headers_mut());
    }
    ruled(over, response)
}

/// A browser that came by another name (an address, say) is sent to ours; what it sends there is not done.
fn elsewhere(origin: &Origin, request: &Request) -> Option<Response> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    if host.eq_ignore_ascii_case(origin.authority()) {
        return None;
    }
    if request.method() == Method::GET {
        let path = request.uri().path_and_query().map_or("/console", |path| path.as_str());
        return Some(Redirect::temporary(&format!("{}{path}", origin.url())).into_response());
    }
    let says = format!("The pages are at {}.", origin.url());
    let turned = Turned::new(StatusCode::MISDIRECTED_REQUEST, Reason::RequestInvalid, says);
    Some(shown(&turned, Asked::of(request.headers())))
}

/// Browsers say where a request comes from; a form token must come with it in any case.
fn same_origin(origin: &Origin, headers: &HeaderMap) -> bool {
    let says = |name: HeaderName| headers.get(name).map(|value| value.as_bytes().to_vec());
    says(header::ORIGIN).is_none_or(|from| from == origin.url().as_bytes())
        && says(HeaderName::from_static("sec-fetch-site")).is_none_or(|site| site == b"same-origin")
}

async fn visit(
    registry: &Registry,
    origin: &Origin,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<(Visitor, bool), Turned> {
    let Some(secret) = cookie(headers, cookie_name(origin)) else {
        return Ok((Visitor { secret: random_text()?, peer, signed_in: None }, true));
    };
    let (now, hash) = (registry.now(), credential_hash(&secret));
    let mut signed_in = None;
    if let Some(session) = registry.store().use_console_session(&hash, now, now - IDLE).await?
        && let Some(caller) = registry.caller(session.person, hash).await?
    {
        signed_in = Some((caller, session.means));
    }
    Ok((Visitor { secret, peer, signed_in }, false))
}

/// `__Host-` binds a cookie to this host and to https (RFC 6265bis §4.1.3.2); browsers refuse it without.
fn cookie_name(origin: &Origin) -> &'static str {
    if origin.is_secure() { "__Host-hilum-console" } else { "hilum-console" }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = sent
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let value = found.next()?;
    // Two of one name: somebody put one beside ours.
    let plain = value.len() == SECRET_CHARS
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (plain && found.next().is_none()).then(|| value.to_owned())
}

fn set_cookie(origin: &Origin, secret: &str, headers: &mut HeaderMap) {
    let secure = if origin.is_secure() { "; Secure" } else { "" };
    let text = format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}", cookie_name(origin));
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}

async fn record(registry: &Registry, visitor: &Visitor, turned: &Turned) -> Result<(), RecordFailed> {
    if turned.recorded {
        return Ok(());
    }
    let caller = visitor.signed_in.as_ref().map(|(caller, _)| caller);
    if caller.is_none() && (turned.tried.is_none() || !registry.worth_a_record()) {
        registry.trail().counted("", turned.reason, visitor.peer);
        return Ok(());
    }
    let (noun, verb) = turned.tried.unwrap_or(("console-session", "use"));
    let id = turned.person.as_ref().map(ToString::to_string).unwrap_or_default();
    let peer = caller.is_none().then_some(visitor.peer);
    let deed = Deed { noun, verb, id, note: turned.note.to_string(), peer, ..Deed::default() };
    registry.trail().refused(caller, &deed, turned.reason, turned.status.as_u16()).await
}

/// Who asked: a page's form or link, or its script.
#[derive(Clone, Copy)]
enum Asked {
    Page,
    Script,
}

impl Asked {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        if accept == Some("application/json") { Self::Script } else { Self::Page }
    }
}

fn shown(turned: &Turned, asked: Asked) -> Response {
    match asked {
        Asked::Script => (turned.status, axum::Json(serde_json::json!({ "says": turned.says }))).into_response(),
        Asked::Page => {
            let page = turned
                .page
                .as_ref()
                .map_or_else(|| pages::notice("That did not work", &turned.says), ToString::to_string);
            (turned.status, axum::response::Html(page)).into_response()
        }
    }
}

/// How browsers reach the pages.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Over {
    Http,
    Https,
}

/// What a page may do: nothing from elsewhere, nothing inline, in no frame; kept by no cache.
fn ruled(over: Over, mut response: Response) -> Response {
    let rules: [(HeaderName, &str); 7] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // `no-referrer` would take the origin from our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "publickey-credentials-get=(self), publickey-credentials-create=(self)",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if over == Over::Https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// The same rules for a page that is shown before anything is known of its browser.
pub(super) fn ruled_page(response: &mut Response) {
    let taken = std::mem::take(response);
    *response = ruled(Over::Http, taken);
}

#[test]
fn a_cookie_is_one_and_well_formed() {
    let headers = |text: &str| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(text).unwrap())]);
    let secret = "a".repeat(SECRET_CHARS);
    let named = |text: &str| cookie(&headers(text), "c");
    assert_eq!(named(&format!("b=1; c={secret}")), Some(secret.clone()));
    for wrong in
        ["c=short".to_owned(), format!("c={secret}; c={secret}"), format!("c={}!", "a".repeat(42)), "d=1".into()]
    {
        assert_eq!(named(&wrong), None, "{wrong}");
    }
}
