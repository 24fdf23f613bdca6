//! Access tokens: RFC 9068 JWTs, ES256. A missing or ill-typed claim makes the token invalid (S1-03).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{
    ApprovalId, Confirmation, IntegrationId, LaunchKind, Millis, PhiAccess, ScopeSet, Session, SessionId, Subject,
    TaskRef, TenantId,
};
use serde_json::{Map, Value, json};

use crate::jose::{self, Algorithm, UnverifiedJws, seconds, text};

/// Longest token life ever issued, in seconds; a token that claims more is no token of ours.
const LIFE_SECONDS_MAX: i64 = domain::class::TOKEN_SECONDS_MAX as i64;
/// Two nodes' clocks may differ by this much at `iat`.
const FUTURE_SECONDS_MAX: i64 = 60;
/// Longest of the claims that are names.
const NAME_BYTES_MAX: usize = 1_024;

/// What goes into a token. `epoch`, `approval` and `feed` let every node judge liveness from its snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessClaims<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`: the tenant's FHIR base.
    pub audience: &'a str,
    /// `iat`, in milliseconds.
    pub issued_at: Millis,
    /// Everything else.
    pub session: &'a Session,
    /// `scope`, as answered.
    pub scope: &'a str,
    /// The encounter the launch named, if any: answered, carried and introspected, and no boundary.
    pub encounter: Option<&'a fhir::Id>,
}

/// Header and claims, ready for the signer; finish with [`jose::finish`].
#[must_use]
pub fn signing_input(kid: &str, claims: &AccessClaims<'_>) -> String {
    let session = claims.session;
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
    let mut body = json!({
        "iss": claims.issuer,
        "aud": claims.audience,
        "sub": session.integration.as_str(),
        "client_id": session.integration.as_str(),
        "jti": session.jti,
        "iat": claims.issued_at.div_euclid(1_000),
        "exp": session.expires_at.div_euclid(1_000),
        "scope": claims.scope,
        "sid": session.id,
        "task": session.task.to_string(),
        "purpose_of_use": session.purpose_of_use,
        "tenant": session.tenant.as_str(),
        "apr": session.approval,
        "epo": session.epoch,
        "fed": session.feed,
        "lau": session.launch.as_str(),
        "act": session.act,
    });
    if let (Some(confirmation), Value::Object(body)) = (&session.confirmation, &mut body) {
        body.insert("cnf".into(), confirmed(confirmation));
    }
    let told = match &session.subject {
        Subject::Patient(patient) => Some((patient, None)),
        Subject::Surrogate(surrogate) => Some((surrogate, Some(PhiAccess::DeIdentifiedOnly))),
        Subject::Cohort => None,
    };
    if let (Some((patient, phi)), Value::Object(body)) = (told, &mut body) {
        body.insert("patient".into(), patient.as_str().into());
        if let Some(phi) = phi {
            body.insert("phi".into(), phi.as_str().into());
        }
        if let Some(encounter) = claims.encounter {
            body.insert("encounter".into(), encounter.as_str().into());
        }
    }
    jose::signing_input(&header, &body)
}

/// A key that verifies this tenant's tokens.
#[derive(Clone)]
pub struct TokenKey {
    kid: String,
    key: ParsedPublicKey,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// A key from its uncompressed P-256 point (65 bytes).
    ///
    /// # Errors
    /// [`InvalidToken::Key`] when the bytes are no point.
    pub fn new(kid: &str, point: &[u8]) -> Result<Self, InvalidToken> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| InvalidToken::Key)?;
        Ok(Self { kid: kid.to_owned(), key })
    }
}

/// Where the token is presented.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The tenant's issuer.
    pub issuer: &'a str,
    /// The tenant's FHIR base.
    pub audience: &'a str,
    /// The tenant.
    pub tenant: &'a TenantId,
}

/// Why a token is refused. Callers only learn `invalid_token`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidToken {
    /// Not a compact ES256 JWS.
    #[error("the token is malformed")]
    Form,
    /// `typ` is not `at+jwt`: an ID token or a client assertion is no access token (JAT-03).
    #[error("the token is no access token")]
    Type,
    /// No key of this tenant has the `kid`.
    #[error("the token's key is unknown")]
    Key,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or malformed.
    #[error("the token lacks a claim")]
    Claim,
    /// Another issuer, audience or tenant.
    #[error("the token is for another place")]
    Place,
    /// Past `exp`, or `iat` lies in the future.
    #[error("the token has expired")]
    Expired,
}

/// A token whose signature and claims hold. Whether its session is alive is looked up apart, at every use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedToken {
    /// The session it speaks for.
    pub session: Session,
    /// `iat`, in milliseconds.
    pub issued_at: Millis,
    /// `scope` as answered.
    pub scope: String,
    /// `encounter`, if the launch named one.
    pub encounter: Option<fhir::Id>,
}

/// Verifies an access token.
///
/// # Errors
/// The first rule it breaks.
pub fn verify(token: &str, keys: &[TokenKey], place: &Place<'_>, now: Millis) -> Result<VerifiedToken, InvalidToken> {
    let jws = UnverifiedJws::parse(token).map_err(|_| InvalidToken::Form)?;
    if jws.header.algorithm != Algorithm::Es256 {
        return Err(InvalidToken::Form);
    }
    // RFC 9068 §4: the `application/` prefix may be spelled out. We never issue it, so we never accept it.
    if jws.header.typ.as_deref() != Some("at+jwt") {
        return Err(InvalidToken::Type);
    }
    let kid = jws.header.kid.as_deref().ok_or(InvalidToken::Key)?;
    let key = keys.iter().find(|key| key.kid == kid).ok_or(InvalidToken::Key)?;
    key.key.verify_sig(jws.signed(), jws.signature()).map_err(|_| InvalidToken::Signature)?;
    let verified = read_claims(&jws.claims, place).ok_or(InvalidToken::Claim)??;
    let now = now.div_euclid(1_000);
    let (issued, expires) = (verified.issued_at / 1_000, verified.session.expires_at / 1_000);
    if expires <= now || issued > now.saturating_add(FUTURE_SECONDS_MAX) || expires - issued > LIFE_SECONDS_MAX {
        return Err(InvalidToken::Expired);
    }
    Ok(verified)
}

/// `cnf` as tokens and introspection answers have it (RFC 9449 §6, RFC 8705 §3).
#[must_use]
pub fn confirmed(confirmation: &Confirmation) -> Value {
    let (name, digest) = match confirmation {
        Confirmation::Dpop(thumbprint) => ("jkt", thumbprint),
        Confirmation::Mtls(certificate) => ("x5t#S256", certificate),
    };
    json!({ name: URL_SAFE_NO_PAD.encode(digest) })
}

/// `cnf` with exactly one member that is known here; a token bound in a way nobody can check is no token.
fn read_confirmation(value: &Value) -> Option<Confirmation> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let digest =
        |name: &str| -> Option<[u8; 32]> { URL_SAFE_NO_PAD.decode(members.get(name)?.as_str()?).ok()?.try_into().ok() };
    digest("jkt").map(Confirmation::Dpop).or_else(|| digest("x5t#S256").map(Confirmation::Mtls))
}

fn read_claims(claims: &Map<String, Value>, place: &Place<'_>) -> Option<Result<VerifiedToken, InvalidToken>> {
    let name = |claim: &str| text(claims, claim, NAME_BYTES_MAX);
    let time = |claim: &str| seconds(claims, claim).flatten().filter(|at| (0..=i64::MAX / 1_000).contains(at));
    let (issuer, audience, tenant) = (name("iss")?, name("aud")?, name("tenant")?);
    let integration: IntegrationId = name("client_id")?.parse().ok()?;
    if name("sub")? != integration.as_str() {
        return None;
    }
    let scope = text(claims, "scope", domain::scope::SCOPE_TEXT_MAX)?;
    let scopes: ScopeSet = scope.parse().ok()?;
    let (task_name, version) = name("task")?.split_once('@')?;
    let task = TaskRef { name: task_name.parse().ok()?, version: version.parse().ok()? };
    // `phi` says that `patient` is a surrogate. What it says otherwise is nothing of ours.
    let is_surrogate = match claims.get("phi") {
        None => false,
        Some(phi) if phi.as_str() == Some(PhiAccess::DeIdentifiedOnly.as_str()) => true,
        Some(_) => return None,
    };
    let subject = match claims.get("patient") {
        Some(Value::String(surrogate)) if is_surrogate => Subject::Surrogate(surrogate.parse().ok()?),
        Some(Value::String(patient)) => Subject::Patient(patient.parse().ok()?),
        Some(_) => return None,
        None if is_surrogate => return None,
        // Absent for a cohort alone, and a cohort holds no `patient/` scope (DESIGN, "Tokens").
        None if scopes.0.iter().all(|scope| scope.level == domain::Level::System) => Subject::Cohort,
        None => return None,
    };
    let encounter = match claims.get("encounter") {
        None => None,
        Some(encounter) => Some(encounter.as_str()?.parse().ok()?),
    };
    let id: SessionId = name("sid")?.parse().ok()?;
    let approval: ApprovalId = name("apr")?.parse().ok()?;
    let (issued, expires) = (time("iat")?, time("exp")?);
    let session = Session {
        id,
        tenant: tenant.parse().ok()?,
        integration,
        epoch: claims.get("epo")?.as_u64()?,
        approval,
        task,
        purpose_of_use: name("purpose_of_use")?.to_owned(),
        subject,
        scopes,
        expires_at: expires * 1_000,
        feed: claims.get("fed")?.as_u64()?,
        jti: name("jti")?.to_owned(),
        launch: LaunchKind::read(name("lau")?)?,
        act: serde_json::from_value(claims.get("act")?.clone()).ok()?,
        confirmation: match claims.get("cnf") {
            None => None,
            Some(confirmation) => Some(read_confirmation(confirmation)?),
        },
    };
    if issuer != place.issuer || audience != place.audience || session.tenant != *place.tenant {
        return Some(Err(InvalidToken::Place));
    }
    Some(Ok(VerifiedToken { session, issued_at: issued * 1_000, scope: scope.to_owned(), encounter }))
}
