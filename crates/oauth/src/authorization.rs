//! Authorization requests: from a query, a form or a pushed request to a request that fits its client's registration.
//!
//! What is wrong with `client_id` or `redirect_uri` is shown on a page and never sent anywhere (AZ-08); everything else goes back to
//! the client. Parameters are compared as text: nothing here parses a URL, so nothing can be normalised into another one (PF-05).

use std::fmt;

use domain::{Class, Demand, Integration, IntegrationId, TaskName};

use crate::discovery::Endpoints;
use crate::error::{ErrorCode, OAuthError};
use crate::form::{InvalidForm, Pairs};

/// Longest query or form: a scope string at its own limit, and room for the rest.
pub const AUTHORIZATION_BYTES_MAX: usize = 32 * 1024;
/// What every `request_uri` of this server starts with (RFC 9126 §2.2).
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";
/// Letters of a `code_challenge`: SHA-256 in base64url.
const CHALLENGE_CHARS: usize = 43;
/// Longest `state` and `nonce` sent back; an honest one has 22 to a few hundred characters.
const ECHO_BYTES_MAX: usize = 4 * 1024;

/// The parameters as sent, each perhaps more than once.
#[derive(Clone)]
pub struct Parameters(Pairs);

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameters([sealed])")
    }
}

/// Why nothing is sent back: who asks is not known, so it is said on a page.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PageError {
    /// Not a query at all, or over a limit.
    #[error("the request cannot be read: {0}")]
    Form(#[from] InvalidForm),
    /// `client_id` is missing, repeated or no registered app that starts here.
    #[error("the app is not known here, or it does not start in a browser")]
    Client,
    /// `redirect_uri` is missing, repeated or not registered for the client.
    #[error("the address to go back to is not registered for this app")]
    RedirectUri,
    /// `request_uri` is unknown, used, expired or another client's.
    #[error("the pushed request is unknown, used or expired, or it is another app's")]
    RequestUri,
}

/// How the person is to be asked (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub enum Prompt {
    /// As it comes.
    #[default]
    Any,
    /// Not at all: whatever would need a page is an error.
    None,
    /// They sign in again.
    Login,
}

/// A request whose client and redirect URI are known, and whose parameters are well formed.
#[derive(Clone, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client: IntegrationId,
    /// Where to answer, as sent.
    pub redirect_uri: String,
    /// `state`, as sent.
    pub state: String,
    /// `scope`, as sent.
    pub scope: String,
    /// `code_challenge` of method S256.
    pub challenge: String,
    /// `launch`: the handle of a launch context.
    pub launch: Option<String>,
    /// `nonce` for the ID token.
    pub nonce: Option<String>,
    /// `task`, which only clients with several need.
    pub task: Option<TaskName>,
    /// `prompt`.
    pub prompt: Prompt,
    /// `max_age`, in seconds.
    pub max_age: Option<u32>,
    /// `dpop_jkt`: the key the code is bound to (RFC 9449 §10).
    pub dpop_jkt: Option<String>,
}

impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationRequest").field("client", &self.client).finish_non_exhaustive()
    }
}

/// A refusal that goes back to the client, with where and what state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentBack {
    /// What is wrong.
    pub error: OAuthError,
    /// `state`, if it was sent once.
    pub state: Option<String>,
}

impl Parameters {
    /// Reads a query or a form body.
    ///
    /// # Errors
    /// [`InvalidForm`]: too long, too many, or not UTF-8.
    pub fn read(text: &[u8]) -> Result<Self, InvalidForm> {
        if text.len() > AUTHORIZATION_BYTES_MAX {
            return Err(InvalidForm::Size);
        }
        Ok(Self(Pairs::read(text)?))
    }

    /// `client_id`, if it was sent once.
    #[must_use]
    pub fn client(&self) -> Option<IntegrationId> {
        self.0.once("client_id").ok()??.parse().ok()
    }

    /// `request_uri`, if it was sent once.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        self.0.once("request_uri").ok()?
    }

    /// Whether there is any `request_uri`, readable or not.
    #[must_use]
    pub fn has_request_uri(&self) -> bool {
        self.0.all("request_uri").next().is_some()
    }

    /// The redirect URI, if it is one of this client's.
    ///
    /// # Errors
    /// [`PageError::RedirectUri`].
    pub fn redirect_uri(&self, client: &Integration) -> Result<String, PageError> {
        let sent = self.0.once("redirect_uri").ok().flatten().ok_or(PageError::RedirectUri)?;
        if is_registered(sent, client) { Ok(sent.to_owned()) } else { Err(PageError::RedirectUri) }
    }

    /// The whole request. `redirect_uri` is what [`Parameters::redirect_uri`] gave.
    ///
    /// # Errors
    /// What goes back to the client.
    pub fn request(
        &self,
        client: &Integration,
        redirect_uri: String,
        endpoints: &Endpoints,
    ) -> Result<AuthorizationRequest, SentBack> {
        let state = self.0.once("state").ok().flatten().map(str::to_owned);
        self.checked(client, redirect_uri, endpoints).map_err(|error| SentBack { error, state })
    }

    fn checked(
        &self,
        client: &Integration,
        redirect_uri: String,
        endpoints: &Endpoints,
    ) -> Result<AuthorizationRequest, OAuthError> {
        if let Some(twice) = self.0.repeated() {
            return Err(invalid(format!("`{twice}` is given more than once")));
        }
        let get = |name: &str| self.0.once(name).ok().flatten();
        let need = |name: &str| get(name).ok_or_else(|| invalid(format!("`{name}` is missing")));
        if need("response_type")? != "code" {
            return Err(OAuthError::new(ErrorCode::UnsupportedResponseType, "response_type must be code"));
        }
        if get("request").is_some() {
            return Err(OAuthError::new(ErrorCode::RequestNotSupported, "push the request (RFC 9126) instead"));
        }
        if get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(invalid("response_mode must be query"));
        }
        let state = need("state")?.to_owned();
        if state.len() > ECHO_BYTES_MAX {
            return Err(invalid("`state` is longer than 4096 bytes"));
        }
        check_audience(get("aud"), get("resource"), endpoints)?;
        // No method means `plain` (RFC 7636 §4.3), which is not offered.
        if need("code_challenge_method")? != "S256" {
            return Err(invalid("code_challenge_method must be S256"));
        }
        let challenge = need("code_challenge")?;
        if !is_digest(challenge) {
            return Err(invalid("code_challenge must be SHA-256 in base64url without padding, 43 characters"));
        }
        let scope = need("scope")?.to_owned();
        let prompt = match get("prompt") {
            None | Some("consent" | "select_account") => Prompt::Any,
            Some("none") => Prompt::None,
            Some(words) if words.split(' ').any(|word| word == "none") => {
                return Err(invalid("prompt=none stands alone"));
            }
            Some(words) if words.split(' ').any(|word| word == "login") => Prompt::Login,
            Some(_) => Prompt::Any,
        };
        let max_age = get("max_age").map(str::parse).transpose();
        let nonce = get("nonce").map(str::to_owned);
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > ECHO_BYTES_MAX) {
            return Err(invalid("`nonce` is longer than 4096 bytes"));
        }
        let dpop_jkt = get("dpop_jkt").map(str::to_owned);
        if dpop_jkt.as_deref().is_some_and(|thumbprint| !is_digest(thumbprint)) {
            return Err(invalid("dpop_jkt must be an RFC 7638 thumbprint"));
        }
        let task = get("task").map(str::parse).transpose();
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            redirect_uri,
            state,
            scope,
            challenge: challenge.to_owned(),
            launch: get("launch").map(str::to_owned),
            nonce,
            task: task.map_err(|_| invalid("`task` must be the name of a task profile"))?,
            prompt,
            max_age: max_age.map_err(|_| invalid("`max_age` must be a number of seconds"))?,
            dpop_jkt,
        })
    }
}

fn invalid(says: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, says)
}

fn is_digest(text: &str) -> bool {
    text.len() == CHALLENGE_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The FHIR base is named by `aud` (SMART) or `resource` (RFC 8707), or by both and then alike. One trailing slash is forgiven and
/// nothing else (AZ-03).
fn check_audience(aud: Option<&str>, resource: Option<&str>, endpoints: &Endpoints) -> Result<(), OAuthError> {
    let is_ours = |named: &str| named.strip_suffix('/').unwrap_or(named) == endpoints.fhir_base;
    let says = || format!("aud must be {}", endpoints.fhir_base);
    match (aud, resource) {
        (None, None) => Err(invalid(says())),
        (_, Some(resource)) if !is_ours(resource) => Err(OAuthError::new(ErrorCode::InvalidTarget, says())),
        (Some(aud), _) if !is_ours(aud) => Err(invalid(says())),
        _ => Ok(()),
    }
}

/// Whether `sent` is one of the client's redirect URIs: byte for byte, but for the port of a loopback address (RFC 8252 §7.3).
#[must_use]
pub fn is_registered(sent: &str, client: &Integration) -> bool {
    client.redirect_uris.iter().any(|registered| registered == sent || same_but_port(registered, sent))
}

fn same_but_port(registered: &str, sent: &str) -> bool {
    ["http://127.0.0.1", "http://[::1]"].iter().any(|host| {
        let rest = |uri: &'_ str| uri.strip_prefix(host).map(str::to_owned);
        let (Some(registered), Some(sent)) = (rest(registered), rest(sent)) else { return false };
        match (without_port(&registered), without_port(&sent)) {
            (Some(registered), Some(sent)) => registered == sent,
            _ => false,
        }
    })
}

/// What follows the port, or `None` where what follows the host is neither a port nor a path.
fn without_port(rest: &str) -> Option<&str> {
    let Some(port) = rest.strip_prefix(':') else { return rest.starts_with('/').then_some(rest) };
    let end = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
    let (digits, path) = port.split_at_checked(end)?;
    let fits = digits.parse::<u16>().is_ok_and(|port| port != 0);
    (fits && (path.is_empty() || path.starts_with('/'))).then_some(path)
}

/// Whether the client may come without pushing its request first.
#[must_use]
pub fn must_push(client: &Integration) -> bool {
    client.demands.contains(&Demand::Par)
}

/// Whether a client of this class starts with a person at all.
#[must_use]
pub fn starts_with_person(class: Class) -> bool {
    matches!(class, Class::ClinicalAi | Class::ClinicianApp | Class::PatientApp)
}

/// The address that carries an answer: `redirect_uri` with these parameters, `state` and `iss` (RFC 9207) in its query.
#[must_use]
pub fn answer_uri(redirect_uri: &str, issuer: &str, state: Option<&str>, parameters: &[(&str, &str)]) -> String {
    let mut out = redirect_uri.to_owned();
    let mut mark = if redirect_uri.contains('?') { '&' } else { '?' };
    let state = state.map(|state| ("state", state));
    for (name, value) in parameters.iter().copied().chain(state).chain([("iss", issuer)]) {
        out.push(mark);
        out.push_str(name);
        out.push('=');
        out.extend(percent_encoding::utf8_percent_encode(value, QUERY));
        mark = '&';
    }
    out
}

/// Everything but what RFC 3986 calls unreserved, so that whatever was in `state` comes back as it was.
const QUERY: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
