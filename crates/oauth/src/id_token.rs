//! ID tokens of an identity provider, judged as its relying party (OpenID Connect Core 1.0 §3.1.3.7).
//!
//! Nothing here believes the token before its signature: `read` takes only what is needed to find the key.

use domain::Millis;
use serde_json::{Map, Value};

use crate::jose::{Algorithm, InvalidJws, UnverifiedJws, seconds, text};
use crate::jwk::{KID_BYTES_MAX, KeySet};

/// Clock difference forgiven at `exp` and at the time of authentication (PF-10).
pub const SKEW_SECONDS: i64 = 30;
/// Furthest `iat`, `nbf` or `auth_time` ahead of now.
const FUTURE_SECONDS_MAX: i64 = 60;
/// Longest issuer, audience or `azp`.
const NAME_BYTES_MAX: usize = 1_024;
/// Longest `sub` (OpenID Connect Core §2: 255 ASCII characters).
const SUBJECT_BYTES_MAX: usize = 255;
/// Longest `acr`, `sid` or value of `amr`.
const VALUE_BYTES_MAX: usize = 256;
/// Most values of `amr` or `aud`.
const VALUES_MAX: usize = 16;

/// Why an ID token is refused; for the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIdToken {
    /// The token itself, or an algorithm outside [`Algorithm::OF_ID_TOKENS`].
    #[error(transparent)]
    Jws(#[from] InvalidJws),
    /// `typ` is that of another kind of token (RFC 8725 §3.11).
    #[error("`typ` is not that of an id token")]
    Type,
    /// `kid` is missing or too long.
    #[error("`kid` is missing")]
    Kid,
    /// No key of the provider, or more than one, has this `kid` and fits the algorithm.
    #[error("not exactly one key of the identity provider fits")]
    Key,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// `iss` is not the provider.
    #[error("`iss` is not the configured issuer")]
    Issuer,
    /// `aud` does not name us, or names others without `azp` naming us.
    #[error("`aud` or `azp` is not this client")]
    Audience,
    /// `exp` is missing, no integer, or past.
    #[error("the token has expired")]
    Expired,
    /// `iat` is missing, or a time lies in the future.
    #[error("`iat`, `nbf` or `auth_time` is missing or lies in the future")]
    NotYet,
    /// `nonce` is not the one that was sent: another sign-in's token.
    #[error("`nonce` is not that of this sign-in")]
    Nonce,
    /// `sub` is missing or too long.
    #[error("`sub` is missing or too long")]
    Subject,
    /// The person proved who they are longer ago than was asked, or the token does not say when.
    #[error("`auth_time` is missing or too long ago")]
    Stale,
    /// `acr` is none of those that are asked for.
    #[error("`acr` is missing or not one that is asked for")]
    Acr,
    /// `amr` holds none of those that are asked for.
    #[error("`amr` is missing or holds none that is asked for")]
    Amr,
    /// A claim has a form that it cannot have.
    #[error("a claim is malformed")]
    Claim,
}

/// What the relying party knows.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The configured issuer, compared byte by byte.
    pub issuer: &'a str,
    /// Our client id there.
    pub client_id: &'a str,
    /// The nonce of this sign-in.
    pub nonce: &'a str,
    /// The provider's keys.
    pub keys: &'a KeySet,
    /// The person must have authenticated at or after this time, in seconds; `None` leaves it to the provider.
    pub authenticated_since: Option<i64>,
    /// One of these must be `acr`; empty asks for none.
    pub acr: &'a [String],
    /// One of these must be in `amr`; empty asks for none.
    pub amr: &'a [String],
}

/// A well-formed token that proves nothing yet.
#[derive(Clone, Debug)]
pub struct UnverifiedIdToken {
    pub(crate) jws: UnverifiedJws,
    pub(crate) kid: String,
}

/// Who signed in, as the provider says it.
#[derive(Clone, Eq, PartialEq)]
pub struct IdToken {
    /// `sub`.
    pub subject: String,
    /// `iat`, in seconds.
    pub issued_at: i64,
    /// `auth_time`, in seconds.
    pub auth_time: Option<i64>,
    /// `acr`.
    pub acr: Option<String>,
    /// `amr`.
    pub amr: Vec<String>,
    /// `sid`: the person's session at the provider.
    pub sid: Option<String>,
    /// Every claim.
    pub claims: Map<String, Value>,
}

impl std::fmt::Debug for IdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdToken([sealed])")
    }
}

/// Reads a token of the provider as far as its key must be known. Never panics.
///
/// # Errors
/// The rule it breaks.
pub fn read(token: &str) -> Result<UnverifiedIdToken, InvalidIdToken> {
    let unverified = read_typed(token, &["jwt"])?;
    Ok(unverified)
}

/// The same for a token of which `typ`, if present, is one of these (in lower case).
pub(crate) fn read_typed(token: &str, types: &[&str]) -> Result<UnverifiedIdToken, InvalidIdToken> {
    let jws = UnverifiedJws::parse_signed_by(token, &Algorithm::OF_ID_TOKENS)?;
    let typ = jws.header.typ.as_deref().map(str::to_ascii_lowercase);
    if typ.is_some_and(|typ| !types.contains(&typ.as_str())) {
        return Err(InvalidIdToken::Type);
    }
    let kid = jws.header.kid.clone().filter(|kid| kid.len() <= KID_BYTES_MAX).ok_or(InvalidIdToken::Kid)?;
    Ok(UnverifiedIdToken { jws, kid })
}

impl UnverifiedIdToken {
    /// The key it claims to be signed with; for refreshing the provider's key set.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.jws.header.algorithm
    }

    /// Checks the token at `now`.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn verify(self, expected: &Expected<'_>, now: Millis) -> Result<IdToken, InvalidIdToken> {
        self.check_signature(expected.keys)?;
        let claims = self.jws.claims;
        let now = now.div_euclid(1_000);
        check_place(&claims, expected.issuer, expected.client_id)?;
        let issued_at = check_times(&claims, now)?;
        let nonce = text(&claims, "nonce", NAME_BYTES_MAX).ok_or(InvalidIdToken::Nonce)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(nonce.as_bytes(), expected.nonce.as_bytes())) {
            return Err(InvalidIdToken::Nonce);
        }
        let subject = text(&claims, "sub", SUBJECT_BYTES_MAX).ok_or(InvalidIdToken::Subject)?.to_owned();
        let auth_time = seconds(&claims, "auth_time").ok_or(InvalidIdToken::Claim)?;
        if auth_time.is_some_and(|at| at > now.saturating_add(FUTURE_SECONDS_MAX)) {
            return Err(InvalidIdToken::NotYet);
        }
        if let Some(since) = expected.authenticated_since
            && auth_time.is_none_or(|at| at < since.saturating_sub(SKEW_SECONDS))
        {
            return Err(InvalidIdToken::Stale);
        }
        let acr = optional_text(&claims, "acr")?;
        if !expected.acr.is_empty() && !acr.as_ref().is_some_and(|acr| expected.acr.contains(acr)) {
            return Err(InvalidIdToken::Acr);
        }
        let amr = texts(&claims, "amr")?;
        if !expected.amr.is_empty() && !amr.iter().any(|method| expected.amr.contains(method)) {
            return Err(InvalidIdToken::Amr);
        }
        let sid = optional_text(&claims, "sid")?;
        Ok(IdToken { subject, issued_at, auth_time, acr, amr, sid, claims })
    }

    pub(crate) fn check_signature(&self, keys: &KeySet) -> Result<(), InvalidIdToken> {
        let key = keys.choose(&self.kid, self.algorithm()).ok_or(InvalidIdToken::Key)?;
        if key.verify(self.algorithm(), self.jws.signed(), self.jws.signature()) {
            Ok(())
        } else {
            Err(InvalidIdToken::Signature)
        }
    }
}

/// `iss` and `aud`. Several audiences need `azp`, and `azp` must be us (OpenID Connect Core §3.1.3.7, 3 to 5).
pub(crate) fn check_place(claims: &Map<String, Value>, issuer: &str, client: &str) -> Result<(), InvalidIdToken> {
    if text(claims, "iss", NAME_BYTES_MAX) != Some(issuer) {
        return Err(InvalidIdToken::Issuer);
    }
    let several = match claims.get("aud") {
        Some(Value::String(audience)) if audience == client => false,
        Some(Value::Array(items)) if items.len() <= VALUES_MAX && items.iter().all(Value::is_string) => {
            if !items.iter().any(|item| item == client) {
                return Err(InvalidIdToken::Audience);
            }
            items.len() > 1
        }
        _ => return Err(InvalidIdToken::Audience),
    };
    match claims.get("azp") {
        Some(azp) if azp == client => Ok(()),
        None if !several => Ok(()),
        _ => Err(InvalidIdToken::Audience),
    }
}

/// `exp`, `iat` and `nbf`; gives `iat`.
pub(crate) fn check_times(claims: &Map<String, Value>, now: i64) -> Result<i64, InvalidIdToken> {
    let expires = seconds(claims, "exp").flatten().ok_or(InvalidIdToken::Expired)?;
    if expires <= now.saturating_sub(SKEW_SECONDS) {
        return Err(InvalidIdToken::Expired);
    }
    let issued = seconds(claims, "iat").flatten().ok_or(InvalidIdToken::NotYet)?;
    let not_before = seconds(claims, "nbf").ok_or(InvalidIdToken::NotYet)?;
    let latest = now.saturating_add(FUTURE_SECONDS_MAX);
    if issued > latest || not_before.is_some_and(|from| from > latest) {
        return Err(InvalidIdToken::NotYet);
    }
    Ok(issued)
}

pub(crate) fn optional_text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, InvalidIdToken> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(claims, name, VALUE_BYTES_MAX).map(|text| Some(text.to_owned())).ok_or(InvalidIdToken::Claim),
    }
}

/// A list of short texts; absent is empty.
fn texts(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, InvalidIdToken> {
    let items = match claims.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= VALUES_MAX => items,
        Some(_) => return Err(InvalidIdToken::Claim),
    };
    let fits = |item: &Value| item.as_str().filter(|text| text.len() <= VALUE_BYTES_MAX).map(str::to_owned);
    items.iter().map(|item| fits(item).ok_or(InvalidIdToken::Claim)).collect()
}
