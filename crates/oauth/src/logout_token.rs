//! Logout tokens of an identity provider (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6).

use domain::Millis;
use serde_json::Value;

use crate::id_token::{
    InvalidIdToken, SKEW_SECONDS, UnverifiedIdToken, check_place, check_times, optional_text, read_typed,
};
use crate::jose::text;
use crate::jwk::KeySet;

/// The one member that `events` must have.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A logout token older than this is a replay of something long done (§2.6: "recently").
const AGE_SECONDS_MAX: i64 = 300;
/// Longest `jti`.
const JTI_BYTES_MAX: usize = 256;
/// Longest `sub`.
const SUBJECT_BYTES_MAX: usize = 255;

/// Why a logout token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLogoutToken {
    /// What is refused in an ID token as well.
    #[error(transparent)]
    Token(#[from] InvalidIdToken),
    /// `events` does not say that this is a logout.
    #[error("`events` is not that of a logout")]
    Event,
    /// It has a `nonce`, as ID tokens have and logout tokens must not.
    #[error("`nonce` is present: this is an id token")]
    Nonce,
    /// Neither `sub` nor `sid`.
    #[error("neither `sub` nor `sid` says who is logged out")]
    Nobody,
    /// `jti` is missing or too long.
    #[error("`jti` is missing or too long")]
    Jti,
    /// Issued too long ago.
    #[error("`iat` is too long ago")]
    Old,
}

/// Whose sign-ins end. At least one of the two is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logout {
    /// `sub`: all of this person's sign-ins, or the one of `sid`.
    pub subject: Option<String>,
    /// `sid`: the one session at the provider.
    pub sid: Option<String>,
    /// `jti`: honoured once.
    pub jti: String,
    /// When the `jti` may be forgotten, in milliseconds.
    pub forget_at: Millis,
}

/// A logout token that proves nothing yet.
#[derive(Clone, Debug)]
pub struct UnverifiedLogoutToken(UnverifiedIdToken);

/// Reads a logout token as far as its key must be known.
///
/// # Errors
/// The rule it breaks.
pub fn read(token: &str) -> Result<UnverifiedLogoutToken, InvalidLogoutToken> {
    Ok(UnverifiedLogoutToken(read_typed(token, &["logout+jwt", "jwt"])?))
}

impl UnverifiedLogoutToken {
    /// The key it claims to be signed with.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.0.kid()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> crate::jose::Algorithm {
        self.0.algorithm()
    }

    /// Checks the token at `now`. Honouring each `jti` once is the caller's.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn verify(
        self,
        issuer: &str,
        client_id: &str,
        keys: &KeySet,
        now: Millis,
    ) -> Result<Logout, InvalidLogoutToken> {
        self.0.check_signature(keys)?;
        let claims = &self.0.jws.claims;
        let now = now.div_euclid(1_000);
        check_place(claims, issuer, client_id)?;
        let issued = check_times(claims, now)?;
        if issued < now.saturating_sub(AGE_SECONDS_MAX + SKEW_SECONDS) {
            return Err(InvalidLogoutToken::Old);
        }
        let event = claims.get("events").and_then(Value::as_object).and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(InvalidLogoutToken::Event);
        }
        if claims.contains_key("nonce") {
            return Err(InvalidLogoutToken::Nonce);
        }
        let jti = text(claims, "jti", JTI_BYTES_MAX).ok_or(InvalidLogoutToken::Jti)?.to_owned();
        let subject = match claims.get("sub") {
            None => None,
            Some(_) => Some(text(claims, "sub", SUBJECT_BYTES_MAX).ok_or(InvalidIdToken::Subject)?.to_owned()),
        };
        let sid = optional_text(claims, "sid")?;
        if subject.is_none() && sid.is_none() {
            return Err(InvalidLogoutToken::Nobody);
        }
        let forget_at = issued.saturating_add(AGE_SECONDS_MAX + 2 * SKEW_SECONDS).saturating_mul(1_000);
        Ok(Logout { subject, sid, jti, forget_at })
    }
}
