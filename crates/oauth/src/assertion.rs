//! Client assertions: `private_key_jwt` (RFC 7523 §3, SMART "client-confidential-asymmetric", rfc7523bis).
//!
//! What a caller sees is one text for every cause ([`REFUSAL`]); the cause is for the operator.

use domain::{AssertionAudience, AuthMethod, ClientAuth, Keys, Millis};
use serde_json::{Map, Value};

use crate::jose::{Algorithm, InvalidJws, UnverifiedJws, seconds, text};
use crate::jwk::KeySet;

/// The only `client_assertion_type`.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Longest assertion read; an RS384 signature of 4096 bits and honest claims need 1.5 KiB.
pub const ASSERTION_BYTES_MAX: usize = 8 * 1024;
/// Clock difference forgiven at `exp` (PF-10).
pub const SKEW_SECONDS: i64 = 30;
/// Furthest `exp` ahead of now: SMART's 300 s and the skew (D-02).
pub const ASSERTION_SECONDS_MAX: i64 = 300 + SKEW_SECONDS;
/// Furthest `nbf` or `iat` ahead of now (FAPI 2.0: refuse beyond 60 s).
const FUTURE_SECONDS_MAX: i64 = 60;
/// Longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;
/// Longest `iss`, `sub`, `aud`.
const NAME_BYTES_MAX: usize = 1_024;

/// What every caller is told, whatever the cause: the rules, so that an honest client can be repaired, and no oracle (PF-26).
pub const REFUSAL: &str = "client authentication failed: authenticate by the one method that is registered for this client; with private_key_jwt \
send one assertion signed by a registered key, with iss = sub = client_id, aud as one string (the token endpoint or the issuer), exp at most 330 \
seconds ahead and a jti never used before";

/// Why an assertion is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAssertion {
    /// The token itself.
    #[error(transparent)]
    Jws(#[from] InvalidJws),
    /// `typ` is neither absent, `JWT` nor `client-authentication+jwt`.
    #[error("`typ` is not that of a client assertion")]
    Type,
    /// `kid` is missing or too long.
    #[error("`kid` is missing")]
    Kid,
    /// `iss`, `sub` or the `client_id` parameter are missing or differ.
    #[error("`iss`, `sub` and `client_id` are not one client")]
    Client,
    /// `aud` is missing, not one string, or names something else.
    #[error("`aud` is not one accepted string")]
    Audience,
    /// `exp` is missing, no integer, past or too far ahead.
    #[error("`exp` is missing, past or more than 330 seconds ahead")]
    Expiry,
    /// `nbf` or `iat` is no integer or lies in the future.
    #[error("`nbf` or `iat` lies in the future")]
    NotYet,
    /// `jti` is missing, empty or too long.
    #[error("`jti` is missing or too long")]
    Jti,
    /// `jku` is not the registered URL.
    #[error("`jku` is not the registered JWKS URL")]
    Jku,
    /// The algorithm is not on the client's list.
    #[error("the algorithm is not registered for this client")]
    Algorithm,
    /// No key, or more than one, has this `kid` and fits the algorithm.
    #[error("not exactly one registered key fits")]
    Key,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
}

/// A well-formed assertion that proves nothing yet.
#[derive(Clone, Debug)]
pub struct UnverifiedAssertion {
    jws: UnverifiedJws,
    client: String,
    kid: String,
    audience: String,
    expires: i64,
    jti: String,
    /// `typ: client-authentication+jwt`: `aud` must be the issuer (rfc7523bis).
    issuer_only: bool,
}

/// What the verifier knows of the server and the registered client.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The client whose keys these are.
    pub client: &'a str,
    /// How it is registered.
    pub auth: &'a ClientAuth,
    /// Its keys.
    pub keys: &'a KeySet,
    /// The tenant's token endpoint.
    pub token_endpoint: &'a str,
    /// The tenant's issuer.
    pub issuer: &'a str,
}

/// A client proved itself. The `jti` is still to be stored: only then is the assertion used.
#[derive(Clone, Eq, PartialEq)]
pub struct VerifiedAssertion {
    /// `client_id`.
    pub client: String,
    /// `jti`.
    pub jti: String,
    /// RFC 7638 thumbprint of the key it was signed with: one key belongs to one integration (S1-33).
    pub thumbprint: [u8; 32],
    /// When it may be forgotten: `exp` and the skew, in milliseconds.
    pub forget_at: Millis,
    /// All its claims; beside those above they are the client's word, e.g. `extensions` (UDAP).
    pub claims: Map<String, Value>,
}

impl std::fmt::Debug for VerifiedAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedAssertion").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Reads an assertion from outside. Never panics; checks everything that needs no registration.
///
/// # Errors
/// The rule it breaks.
pub fn read(assertion: &[u8]) -> Result<UnverifiedAssertion, InvalidAssertion> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return Err(InvalidJws::Size.into());
    }
    let assertion = std::str::from_utf8(assertion).map_err(|_| InvalidJws::Form)?;
    let jws = UnverifiedJws::parse(assertion)?;
    let issuer_only = match jws.header.typ.as_deref() {
        None => false,
        Some(typ) if typ.eq_ignore_ascii_case("jwt") => false,
        Some(typ) if typ.eq_ignore_ascii_case("client-authentication+jwt") => true,
        Some(_) => return Err(InvalidAssertion::Type),
    };
    let kid =
        jws.header.kid.clone().filter(|kid| kid.len() <= crate::jwk::KID_BYTES_MAX).ok_or(InvalidAssertion::Kid)?;
    let claims = &jws.claims;
    let client = text(claims, "iss", NAME_BYTES_MAX).ok_or(InvalidAssertion::Client)?.to_owned();
    if text(claims, "sub", NAME_BYTES_MAX) != Some(&client) {
        return Err(InvalidAssertion::Client);
    }
    // An array is refused even with one element: two readings of `aud` are how audience injection works (D-01, NEG-101).
    let audience = text(claims, "aud", NAME_BYTES_MAX).ok_or(InvalidAssertion::Audience)?.to_owned();
    let expires = seconds(claims, "exp").flatten().ok_or(InvalidAssertion::Expiry)?;
    for name in ["nbf", "iat"] {
        seconds(claims, name).ok_or(InvalidAssertion::NotYet)?;
    }
    let jti = text(claims, "jti", JTI_BYTES_MAX).ok_or(InvalidAssertion::Jti)?.to_owned();
    Ok(UnverifiedAssertion { client, kid, audience, expires, jti, issuer_only, jws })
}

impl UnverifiedAssertion {
    /// The client it claims to be from; for finding the registration.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The key it claims to be signed with; for refreshing a fetched key set.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.jws.header.algorithm
    }

    /// Does the work of a verification against keys of nobody, so that an unknown client is not told from a bad key by time.
    pub fn waste(&self, keys: &KeySet) {
        let algorithm = self.algorithm();
        let fitting = keys.keys().iter().find(|key| key.fits(algorithm));
        let _ = fitting.map(|key| key.verify(algorithm, self.jws.signed(), self.jws.signature()));
    }

    /// What can be refused before any key is looked up or fetched: times, audience, algorithm, `jku`.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn precheck(
        &self,
        auth: &ClientAuth,
        token_endpoint: &str,
        issuer: &str,
        now: Millis,
    ) -> Result<(), InvalidAssertion> {
        let now = now.div_euclid(1_000);
        if self.expires <= now.saturating_sub(SKEW_SECONDS) || self.expires > now.saturating_add(ASSERTION_SECONDS_MAX)
        {
            return Err(InvalidAssertion::Expiry);
        }
        for name in ["nbf", "iat"] {
            let from = seconds(&self.jws.claims, name).flatten();
            if from.is_some_and(|from| from > now.saturating_add(FUTURE_SECONDS_MAX)) {
                return Err(InvalidAssertion::NotYet);
            }
        }
        let is_issuer = self.audience == issuer && auth.audience != AssertionAudience::TokenEndpoint;
        let is_endpoint =
            self.audience == token_endpoint && auth.audience != AssertionAudience::Issuer && !self.issuer_only;
        if !is_issuer && !is_endpoint {
            return Err(InvalidAssertion::Audience);
        }
        if auth.method != AuthMethod::PrivateKeyJwt {
            return Err(InvalidAssertion::Client);
        }
        let listed = &auth.algorithms;
        if !listed.is_empty() && !listed.contains(self.algorithm().as_str()) {
            return Err(InvalidAssertion::Algorithm);
        }
        match (&self.jws.header.jku, &auth.keys) {
            (None, _) => Ok(()),
            (Some(jku), Keys::JwksUrl(url)) if jku == url => Ok(()),
            (Some(_), _) => Err(InvalidAssertion::Jku),
        }
    }

    /// Checks the assertion against the registered client at `now`. Storing the `jti` is the caller's next step.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn verify(self, expected: &Expected<'_>, now: Millis) -> Result<VerifiedAssertion, InvalidAssertion> {
        if self.client != expected.client {
            return Err(InvalidAssertion::Client);
        }
        self.precheck(expected.auth, expected.token_endpoint, expected.issuer, now)?;
        let algorithm = self.algorithm();
        let key = expected.keys.choose(&self.kid, algorithm).ok_or(InvalidAssertion::Key)?;
        if !key.verify(algorithm, self.jws.signed(), self.jws.signature()) {
            return Err(InvalidAssertion::Signature);
        }
        let forget_at = self.expires.saturating_add(SKEW_SECONDS + 1).saturating_mul(1_000);
        let (thumbprint, claims) = (key.thumbprint(), self.jws.claims);
        Ok(VerifiedAssertion { client: self.client, jti: self.jti, thumbprint, forget_at, claims })
    }
}
