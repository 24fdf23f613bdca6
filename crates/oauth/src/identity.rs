//! ID tokens that Hilum issues (OpenID Connect Core §2, SMART "identity"): RS256, for one client, about one person.

use domain::Millis;
use serde_json::{Value, json};

use crate::jose;

/// Life of an ID token, in seconds: it says who signed in, once, and opens nothing.
pub const ID_TOKEN_SECONDS: i64 = 300;

/// What goes into an ID token.
#[derive(Clone, Copy, Debug)]
pub struct IdentityClaims<'a> {
    /// `iss`: the tenant's issuer.
    pub issuer: &'a str,
    /// `aud`: the client.
    pub client: &'a str,
    /// `sub`: the person's pairwise name here; never a `client_id` (RFC 9700 §4.15), which has no colon.
    pub subject: &'a str,
    /// `nonce`, as the client sent it.
    pub nonce: Option<&'a str>,
    /// `fhirUser`: absolute, at this tenant's FHIR base (OI-02).
    pub fhir_user: Option<&'a str>,
    /// `auth_time`, in milliseconds.
    pub signed_in_at: Option<Millis>,
    /// `iat`, in milliseconds.
    pub now: Millis,
}

/// Header and claims, ready for the signer; finish with [`jose::finish`].
#[must_use]
pub fn signing_input(kid: &str, claims: &IdentityClaims<'_>) -> String {
    let now = claims.now.div_euclid(1_000);
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": kid });
    let mut body = json!({
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.client,
        "iat": now,
        "exp": now + ID_TOKEN_SECONDS,
    });
    if let Value::Object(body) = &mut body {
        if let Some(nonce) = claims.nonce {
            body.insert("nonce".into(), nonce.into());
        }
        if let Some(user) = claims.fhir_user {
            body.insert("fhirUser".into(), user.into());
            // What apps written before `fhirUser` read.
            body.insert("profile".into(), user.into());
        }
        if let Some(at) = claims.signed_in_at {
            body.insert("auth_time".into(), at.div_euclid(1_000).into());
        }
    }
    jose::signing_input(&header, &body)
}
