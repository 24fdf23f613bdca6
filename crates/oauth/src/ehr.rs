//! Hilum as a client of an EHR (SMART App Launch 2.2, EHR launch), as functions: its discovery document, its answer to the browser,
//! its token answers, the launch context in them.
//!
//! Everything here comes from another server: what establishes a boundary (endpoints, patient, encounter, `fhirContext`) is right or
//! the launch is refused; what only decorates (banner, style, intent) is left out where it is not right.

use std::collections::BTreeSet;

use domain::Millis;
use fhir::Id;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::form::Form;
use crate::json::read_object;

mod context;

pub use context::{ContextItem, LaunchContext};

/// Largest discovery document; the longest of the vendors' captured ones has 6 KiB.
pub const DISCOVERY_BYTES_MAX: usize = 64 * 1024;
/// Largest token answer: two tokens and an ID token at their own limits.
pub const ANSWER_BYTES_MAX: usize = 96 * 1024;
/// Longest upstream token.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Life assumed of a token whose answer names none (S0-16): short.
pub const LIFE_SECONDS_DEFAULT: i64 = 60;
/// Longest life believed (S0-16).
pub const LIFE_SECONDS_MAX: i64 = 3_600;
/// Longest URL.
const URL_BYTES_MAX: usize = 2_048;
/// Longest scope string.
const SCOPE_BYTES_MAX: usize = 16 * 1024;
/// Longest authorization code.
const CODE_BYTES_MAX: usize = 4 * 1024;
/// Longest error code that is repeated to an operator (RFC 6749 §4.1.2.1 names are shorter).
const ERROR_BYTES_MAX: usize = 64;

/// Why the EHR's discovery document is not used; for the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDiscovery {
    /// Not one JSON object with unique members, or a member has another type.
    #[error("the EHR's smart-configuration is malformed")]
    Form,
    /// An endpoint is missing, relative, or neither https nor on a loopback host that configuration names (S1-01).
    #[error("the EHR's smart-configuration lacks `{0}`, or it is no absolute https url")]
    Endpoint(&'static str),
    /// `code_challenge_methods_supported` lacks `S256`.
    #[error("the EHR does not support PKCE with S256")]
    Pkce,
}

/// Where the EHR's endpoints are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EhrEndpoints {
    /// `authorization_endpoint`.
    pub authorization: String,
    /// `token_endpoint`.
    pub token: String,
    /// `revocation_endpoint`, if there is one.
    pub revocation: Option<String>,
    /// `issuer` of its ID tokens, if it makes any.
    pub issuer: Option<String>,
    /// `jwks_uri`: the keys of its ID tokens.
    pub jwks: Option<String>,
    /// Whether its answers to the browser name their issuer (RFC 9207).
    pub names_issuer: bool,
}

impl EhrEndpoints {
    /// Reads `smart-configuration`. `plain` are the hosts that may be reached without TLS, if they are loopback.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn read(document: &[u8], plain: &BTreeSet<String>) -> Result<Self, InvalidDiscovery> {
        let members = read_object(document).map_err(|_| InvalidDiscovery::Form)?;
        let url = |name: &'static str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if is_endpoint(text, plain) => Ok(Some(text.clone())),
            Some(_) => Err(InvalidDiscovery::Endpoint(name)),
        };
        let required = |name: &'static str| url(name)?.ok_or(InvalidDiscovery::Endpoint(name));
        let methods = members.get("code_challenge_methods_supported").and_then(Value::as_array);
        if !methods.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
            return Err(InvalidDiscovery::Pkce);
        }
        Ok(Self {
            authorization: required("authorization_endpoint")?,
            token: required("token_endpoint")?,
            revocation: url("revocation_endpoint")?,
            issuer: url("issuer")?,
            jwks: url("jwks_uri")?,
            names_issuer: flag(&members, "authorization_response_iss_parameter_supported")?,
        })
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> Result<bool, InvalidDiscovery> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(InvalidDiscovery::Form),
    }
}

/// An absolute https URL with a host and without user or fragment; http for the loopback hosts named in `plain`. Judged as text:
/// URL parsers forgive too much.
fn is_endpoint(url: &str, plain: &BTreeSet<String>) -> bool {
    let clean = url.len() <= URL_BYTES_MAX
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>'));
    let Some((scheme, rest)) = url.split_once("://").filter(|_| clean) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() || authority.contains('@') {
        return false;
    }
    let loopback = host == "localhost" || host == "::1" || host.starts_with("127.");
    scheme == "https" || (scheme == "http" && loopback && plain.contains(host))
}

/// Why the EHR's answer to the browser, or its token answer, does not start a session; for the operator.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAnswer {
    /// Not a query with each parameter once, or without `code`.
    #[error("the answer is malformed")]
    Form,
    /// `state` is not the one of this launch: somebody else's answer (RFC 6749 §10.12).
    #[error("`state` is not that of this launch")]
    State,
    /// `iss` is missing although it is promised, or another issuer's (RFC 9207).
    #[error("`iss` is not the EHR's")]
    Issuer,
    /// The EHR says no: its error code, if that is one.
    #[error("the EHR refused: `{0}`")]
    Denied(String),
    /// The token answer is no Bearer token.
    #[error("the token answer is no bearer token")]
    Token,
    /// A life that is none.
    #[error("`expires_in` is malformed")]
    Life,
    /// The token answer names no patient, or not by a bare id (CX-02, CX-03).
    #[error("the EHR names no patient")]
    Patient,
    /// `encounter` is not a bare id.
    #[error("`encounter` is malformed")]
    Encounter,
    /// `fhirContext` is not what CX-05 says.
    #[error("`fhirContext` is malformed")]
    Context,
    /// `openid` is granted and there is no ID token, or there is one of another form.
    #[error("`id_token` is missing or malformed")]
    IdToken,
    /// `scope` is malformed.
    #[error("`scope` is malformed")]
    Scope,
}

/// Reads the query that the EHR sent the browser back with; gives the code.
///
/// # Errors
/// The rule it breaks. An error of the EHR counts only with the right `state`.
pub fn read_callback(query: &str, state: &str, base: &str, endpoints: &EhrEndpoints) -> Result<String, InvalidAnswer> {
    let form = Form::read(query.as_bytes()).map_err(|_| InvalidAnswer::Form)?;
    let given = form.get("state").ok_or(InvalidAnswer::State)?;
    if !bool::from(given.as_bytes().ct_eq(state.as_bytes())) {
        return Err(InvalidAnswer::State);
    }
    // An EHR without an issuer is named by its base, if at all.
    let issuer = endpoints.issuer.as_deref().unwrap_or(base);
    match form.get("iss") {
        Some(given) if given != issuer => return Err(InvalidAnswer::Issuer),
        None if endpoints.names_issuer => return Err(InvalidAnswer::Issuer),
        _ => {}
    }
    match (form.get("code"), form.get("error")) {
        (Some(code), None) if code.len() <= CODE_BYTES_MAX => Ok(code.to_owned()),
        (None, Some(error)) => Err(InvalidAnswer::Denied(error_code(error))),
        _ => Err(InvalidAnswer::Form),
    }
}

/// The code of an error answer of the token endpoint, for the operator.
#[must_use]
pub fn read_error(body: &[u8]) -> String {
    let members = read_object(body).unwrap_or_default();
    error_code(members.get("error").and_then(Value::as_str).unwrap_or_default())
}

/// A name by the alphabet of registered error codes, or `other`: text from outside goes no further.
fn error_code(text: &str) -> String {
    let fits = (1..=ERROR_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if fits { text.to_owned() } else { "other".to_owned() }
}

/// A token answer of the EHR: its tokens as far as they can be read, so that what cannot be used can still be revoked. `Debug` shows none
/// of it.
pub struct EhrAnswer {
    /// `access_token`.
    pub access_token: Zeroizing<String>,
    /// `refresh_token`.
    pub refresh_token: Option<Zeroizing<String>>,
    /// When the access token is not used any more, in milliseconds.
    pub expires_at: Millis,
    /// `scope`; `None` where it is what was asked for (RFC 6749 §5.1).
    pub scope: Option<String>,
    /// `id_token`, unverified. The answer to a refresh may leave it out (OpenID Connect Core §12.2).
    pub id_token: Option<Zeroizing<String>>,
    /// `patient`. The answer to a refresh may leave it out.
    pub patient: Option<Id>,
    /// Everything else of the launch, which decides nothing once there is a session.
    pub context: Result<LaunchContext, InvalidAnswer>,
    /// The first rule that the rest breaks: with one, the tokens are good for nothing but their revocation.
    pub fault: Option<InvalidAnswer>,
}

impl std::fmt::Debug for EhrAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EhrAnswer([sealed])")
    }
}

impl EhrAnswer {
    /// Reads a token answer to a request sent at `asked_at`. Whether a patient must be named is the caller's to say.
    ///
    /// # Errors
    /// It has no access token that could be read.
    pub fn read(body: &[u8], asked_at: Millis, plain: &BTreeSet<String>) -> Result<Self, InvalidAnswer> {
        let members = read_object(body).map_err(|_| InvalidAnswer::Token)?;
        let access_token = secret(&members, "access_token", is_b68).flatten().ok_or(InvalidAnswer::Token)?;
        let mut fault = None;
        let mut broken = |why: InvalidAnswer| fault = fault.take().or(Some(why));
        let bearer = members.get("token_type").and_then(Value::as_str);
        if !bearer.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            broken(InvalidAnswer::Token);
        }
        let refresh_token = secret(&members, "refresh_token", |byte| byte.is_ascii_graphic()).unwrap_or_else(|| {
            broken(InvalidAnswer::Token);
            None
        });
        let id_token = secret(&members, "id_token", is_b68).unwrap_or_else(|| {
            broken(InvalidAnswer::IdToken);
            None
        });
        let scope = match members.get("scope") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() <= SCOPE_BYTES_MAX && is_scope(text) => Some(text.clone()),
            Some(_) => {
                broken(InvalidAnswer::Scope);
                None
            }
        };
        let patient = id(&members, "patient").unwrap_or_else(|()| {
            broken(InvalidAnswer::Patient);
            None
        });
        let life = life(&members).unwrap_or_else(|why| {
            broken(why);
            0
        });
        let context = LaunchContext::read(&members, patient.as_ref(), plain);
        let expires_at = asked_at.saturating_add(life * 1_000);
        Ok(Self { access_token, refresh_token, expires_at, scope, id_token, patient, context, fault })
    }
}

/// RFC 6750 §2.1: anything else could break out of the header.
fn is_b68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// RFC 6749 §3.3, with single spaces between.
fn is_scope(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// `None` is a member of another form; `Some(None)` is an absent one.
#[expect(clippy::option_option, reason = "absent and malformed are two answers")]
fn secret(members: &Map<String, Value>, name: &str, fits: impl Fn(u8) -> bool) -> Option<Option<Zeroizing<String>>> {
    match members.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) => {
            Some(Some(Zeroizing::new(text.clone())))
        }
        Some(_) => None,
    }
}

/// A bare id (CX-03); absent is none, and anything else an error.
fn id(members: &Map<String, Value>, name: &str) -> Result<Option<Id>, ()> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    }
}

/// `expires_in` within our bounds (S0-16). Some servers write it as a string; the meaning is plain.
fn life(members: &Map<String, Value>) -> Result<i64, InvalidAnswer> {
    let life = match members.get("expires_in") {
        None | Some(Value::Null) => Some(LIFE_SECONDS_DEFAULT),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64(),
    };
    life.filter(|life| *life > 0).map(|life| life.min(LIFE_SECONDS_MAX)).ok_or(InvalidAnswer::Life)
}

/// An id that may be absent, as text; for what is kept sealed between two requests.
pub mod id_text {
    use fhir::Id;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(id: &Option<Id>, serializer: S) -> Result<S::Ok, S::Error> {
        id.as_ref().map(Id::as_str).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Text that is no id.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("not an id"))).transpose()
    }
}

#[cfg(test)]
mod tests;
