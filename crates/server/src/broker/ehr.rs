//! Hilum as a confidential SMART client of the EHR (DESIGN, "How a session starts", 1): launched by it, given its patient and its token.
//!
//! Two steps: [`Ehr::begin`] makes the URL that the browser is sent to, [`Ehr::finish`] takes what it comes back with. What lies between
//! them, [`EhrPending`], is kept sealed by the caller and bound to the browser. Nothing is fetched before `iss` is the configured EHR.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::{Millis, TenantId};
use fhir::references::{Reference, parse};
use fhir::{Id, ResourceType};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use oauth::ehr::{ContextItem, EhrAnswer, EhrEndpoints, InvalidAnswer, InvalidDiscovery, LaunchContext};
use oauth::id_token::{self, InvalidIdToken};
use oauth::{InvalidKeySet, KeySet};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::OpenBrokerError;
use super::granted::{GrantState, NotRefreshed, Revocation, Revocations, UpstreamGrant};
use super::key_file::KeyFile;
use crate::clock::{Clock, random_text};
use crate::outbound::{Limits, Outbound, Received};
use crate::settings::{EhrSettings, OutboundSettings, TenantSettings, UpstreamAuth};

/// What one request to the EHR's authorization server may cost.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), body_bytes_max: oauth::ehr::ANSWER_BYTES_MAX };
/// What one revocation may cost: nobody waits for it, but many may be due.
const REVOKE_LIMITS: Limits = Limits { timeout: Duration::from_secs(5), body_bytes_max: 64 * 1024 };
/// How long a discovery document is used: anybody can ask for a launch, and the EHR is not to feel each.
const DISCOVERY_MILLIS: Millis = 60_000;
/// How long a launch may take between its two steps: a person signs in at the EHR meanwhile, if at all.
const PENDING_MILLIS: Millis = 600_000;
/// Longest launch handle.
const LAUNCH_BYTES_MAX: usize = 4 * 1024;
/// RFC 3986 §2.3.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Who `fhirUser` may be (SMART App Launch, "Scopes for requesting identity data").
const USERS: [ResourceType; 5] = [
    ResourceType::PATIENT,
    ResourceType::PRACTITIONER,
    ResourceType::PRACTITIONER_ROLE,
    ResourceType::RELATED_PERSON,
    ResourceType::PERSON,
];

/// Why a launch from the EHR does not go on. For records and operators; whoever sits before the browser is told less.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EhrRefused {
    /// The tenant has no EHR that launches apps.
    #[error("this tenant has no EHR that launches apps")]
    NoEhr,
    /// `iss` is not the configured EHR.
    #[error("`iss` is not the EHR of this tenant")]
    Issuer,
    /// The launch handle is empty, too long, or no text.
    #[error("`launch` is malformed")]
    Launch,
    /// The EHR does not answer, or not with a document.
    #[error("the EHR's {0} cannot be had")]
    Unreachable(&'static str),
    /// Its discovery document is not acceptable.
    #[error(transparent)]
    Discovery(#[from] InvalidDiscovery),
    /// Its discovery document names another token endpoint than is registered for the same EHR (S1-01).
    #[error("the EHR's smart-configuration names another token endpoint than is registered")]
    TokenEndpoint,
    /// `openid` is asked for, and the EHR does not say who issues its ID tokens, and with which keys.
    #[error("the EHR's smart-configuration lacks `issuer` or `jwks_uri`, which `openid` needs")]
    OpenId,
    /// Our key cannot be read, or the random source failed.
    #[error("the launch cannot be signed")]
    Unsigned,
    /// It took too long.
    #[error("the launch was not finished in time")]
    Late,
    /// It came back to another address than it was sent with.
    #[error("`redirect_uri` is not that of this launch")]
    Redirect,
    /// What the browser brought, or what the token endpoint answered, is refused.
    #[error(transparent)]
    Answer(#[from] InvalidAnswer),
    /// The token endpoint refuses: its error code.
    #[error("the EHR's token endpoint refused: `{0}`")]
    Exchange(String),
    /// The EHR's keys are none.
    #[error("the EHR's keys: {0}")]
    Keys(#[from] InvalidKeySet),
    /// The ID token is refused.
    #[error("the EHR's id token: {0}")]
    IdToken(#[from] InvalidIdToken),
    /// `fhirUser` is no reference to a person.
    #[error("`fhirUser` is no person")]
    FhirUser,
}

/// A launch that has begun: where the browser goes, and what is kept until it comes back.
pub struct EhrBegun {
    /// The EHR's authorization endpoint, with our request.
    pub url: String,
    /// To be kept sealed, bound to this browser, and used once.
    pub pending: EhrPending,
}

/// Its URL holds `state` and the EHR's launch handle.
impl std::fmt::Debug for EhrBegun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EhrBegun([sealed])")
    }
}

/// What is kept of a launch between its two steps.
#[derive(Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct EhrPending {
    iss: String,
    state: String,
    nonce: Option<String>,
    verifier: String,
    redirect_uri: String,
    scope: String,
    began_at: Millis,
    #[zeroize(skip)]
    endpoints: EhrEndpoints,
}

impl std::fmt::Debug for EhrPending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EhrPending([sealed])")
    }
}

impl EhrPending {
    /// The `state` that the browser brings back: what this launch is found by.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// What the EHR said of a launch.
pub struct EhrLaunched {
    /// The patient.
    pub patient: Id,
    /// The encounter, if the EHR names one.
    pub encounter: Option<Id>,
    /// `fhirUser`, absolute, where an ID token says it.
    pub fhir_user: Option<String>,
    /// Who says who the person is: the ID token's issuer, or the EHR's FHIR base.
    pub issuer: String,
    /// `sub` of the ID token, if there is one.
    pub subject: Option<String>,
    /// When they signed in at the EHR, as far as it says so.
    pub signed_in_at: Option<Millis>,
    /// `need_patient_banner`.
    pub banner: Option<bool>,
    /// `smart_style_url`.
    pub style_url: Option<String>,
    /// `intent`.
    pub intent: Option<String>,
    /// `fhirContext`, without what names other patients.
    pub fhir_context: Vec<ContextItem>,
    /// Its tokens; for [`super::Broker::hold_grant`].
    pub grant: UpstreamGrant,
}

impl std::fmt::Debug for EhrLaunched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EhrLaunched([sealed])")
    }
}

/// One tenant's EHR.
pub(super) struct Ehr {
    settings: EhrSettings,
    /// Its FHIR base without a slash at its end.
    base: String,
    key: KeyFile,
    /// Registered for the same EHR elsewhere in the configuration.
    token_url: Option<String>,
    plain: BTreeSet<String>,
    outbound: Outbound,
    clock: Clock,
    discovered: tokio::sync::Mutex<Option<(Millis, EhrEndpoints)>>,
}

impl Ehr {
    /// The EHR of a tenant, if it has one.
    pub(super) fn open(
        tenant: &TenantSettings,
        reach: &OutboundSettings,
        outbound: Outbound,
        clock: Clock,
    ) -> Result<Option<Arc<Self>>, OpenBrokerError> {
        let Some(settings) = tenant.ehr.clone() else { return Ok(None) };
        let base = settings.fhir.trim_end_matches('/').to_owned();
        // The EHR's ids and tokens are good at the EHR: at another server they would name another patient.
        if tenant.upstream.fhir.trim_end_matches('/') != base {
            return Err(OpenBrokerError::OtherEhr { tenant: tenant.id.clone(), url: settings.fhir });
        }
        if !base.starts_with("https://") && !base.starts_with("http://") || base.contains(['#', '@', '?', ' ']) {
            return Err(OpenBrokerError::Url { tenant: tenant.id.clone(), url: settings.fhir });
        }
        let key = KeyFile::open(&settings.key, clock.clone())
            .map_err(|why| OpenBrokerError::Key { tenant: tenant.id.clone(), why })?;
        let token_url = match &tenant.upstream.auth {
            UpstreamAuth::SmartBackend { token_url, .. } => Some(token_url.clone()),
            _ => None,
        };
        let plain = reach.allow_private.clone();
        let discovered = tokio::sync::Mutex::new(None);
        Ok(Some(Arc::new(Self { settings, base, key, token_url, plain, outbound, clock, discovered })))
    }

    /// Public keys of our assertions there.
    pub(super) fn public_keys(&self) -> Vec<Value> {
        self.key.public_keys()
    }

    fn asks_openid(&self) -> bool {
        self.settings.scope.split(' ').any(|scope| scope == "openid")
    }

    /// See [`super::Broker::ehr_begin`].
    pub(super) async fn begin(&self, iss: &str, launch: &str, redirect_uri: &str) -> Result<EhrBegun, EhrRefused> {
        // Exactly the configured one: what is fetched below decides whom we authenticate to, and for which server.
        if iss.strip_suffix('/').unwrap_or(iss) != self.base {
            return Err(EhrRefused::Issuer);
        }
        if !(1..=LAUNCH_BYTES_MAX).contains(&launch.len()) || launch.chars().any(char::is_control) {
            return Err(EhrRefused::Launch);
        }
        let endpoints = self.discover().await?;
        let openid = self.asks_openid();
        if openid && (endpoints.issuer.is_none() || endpoints.jwks.is_none()) {
            return Err(EhrRefused::OpenId);
        }
        let fresh = || random_text().map_err(|_| EhrRefused::Unsigned);
        let (state, verifier) = (fresh()?, fresh()?);
        let nonce = if openid { Some(fresh()?) } else { None };
        let challenge = oauth::pkce::challenge(&verifier);
        let scope = self.settings.scope.clone();
        let asked = [
            ("response_type", Some("code")),
            ("client_id", Some(self.settings.client_id.as_str())),
            ("redirect_uri", Some(redirect_uri)),
            ("scope", Some(scope.as_str())),
            ("state", Some(state.as_str())),
            ("aud", Some(iss)),
            ("launch", Some(launch)),
            ("code_challenge", Some(challenge.as_str())),
            ("code_challenge_method", Some("S256")),
            ("nonce", nonce.as_deref()),
        ];
        let mark = if endpoints.authorization.contains('?') { '&' } else { '?' };
        let url = format!("{}{mark}{}", endpoints.authorization, form(&asked).as_str());
        let pending = EhrPending {
            iss: iss.to_owned(),
            state,
            nonce,
            verifier,
            redirect_uri: redirect_uri.to_owned(),
            scope,
            began_at: self.clock.now(),
            endpoints,
        };
        Ok(EhrBegun { url, pending })
    }

    /// The EHR's endpoints; one fetch a minute, however many launches there are.
    async fn discover(&self) -> Result<EhrEndpoints, EhrRefused> {
        let mut discovered = self.discovered.lock().await;
        let now = self.clock.now();
        if let Some((at, endpoints)) = discovered.as_ref()
            && (0..DISCOVERY_MILLIS).contains(&(now - at))
        {
            return Ok(endpoints.clone());
        }
        let url = format!("{}/.well-known/smart-configuration", self.base);
        let answer = self.get(&url).await.ok_or(EhrRefused::Unreachable("smart-configuration"))?;
        if answer.body.len() > oauth::ehr::DISCOVERY_BYTES_MAX {
            return Err(InvalidDiscovery::Form.into());
        }
        let endpoints = EhrEndpoints::read(&answer.body, &self.plain)?;
        if self.token_url.as_ref().is_some_and(|registered| *registered != endpoints.token) {
            return Err(EhrRefused::TokenEndpoint);
        }
        *discovered = Some((now, endpoints.clone()));
        Ok(endpoints)
    }

    /// See [`super::Broker::ehr_finish`].
    pub(super) async fn finish(
        self: &Arc<Self>,
        pending: &EhrPending,
        query: &str,
        redirect_uri: &str,
    ) -> Result<EhrLaunched, EhrRefused> {
        if pending.redirect_uri != redirect_uri {
            return Err(EhrRefused::Redirect);
        }
        if !(0..PENDING_MILLIS).contains(&(self.clock.now() - pending.began_at)) {
            return Err(EhrRefused::Late);
        }
        let code = Zeroizing::new(oauth::ehr::read_callback(query, &pending.state, &self.base, &pending.endpoints)?);
        let asked_at = self.clock.now();
        let answer = self
            .ask(
                &pending.endpoints.token,
                &[
                    ("grant_type", Some("authorization_code")),
                    ("code", Some(code.as_str())),
                    ("redirect_uri", Some(redirect_uri)),
                    ("code_verifier", Some(pending.verifier.as_str())),
                ],
                &pending.endpoints.token,
                LIMITS,
            )
            .await
            .ok_or(EhrRefused::Unreachable("token endpoint"))?;
        if answer.status != StatusCode::OK {
            return Err(EhrRefused::Exchange(oauth::ehr::read_error(&answer.body)));
        }
        let body = Zeroizing::new(answer.body);
        let answer = EhrAnswer::read(&body, asked_at, &self.plain)?;
        let EhrAnswer { access_token, refresh_token, expires_at, scope, id_token, patient, context, fault } = answer;
        let grant = UpstreamGrant {
            access_token: access_token.to_string(),
            expires_at,
            refresh_token: refresh_token.map(|token| token.to_string()),
            scope: scope.unwrap_or_else(|| pending.scope.clone()),
            patient: patient.as_ref().map(ToString::to_string).unwrap_or_default(),
            token_endpoint: pending.endpoints.token.clone(),
            revocation_endpoint: pending.endpoints.revocation.clone(),
            state: GrantState::Alive,
        };
        let openid = grant.scope.split(' ').any(|one| one == "openid");
        let id_token = id_token.as_deref().map(String::as_str);
        let judged = match (fault, context, patient) {
            (Some(why), _, _) | (None, Err(why), _) => Err(why.into()),
            (None, Ok(_), None) => Err(InvalidAnswer::Patient.into()),
            (None, Ok(_), Some(_)) if openid && id_token.is_none() => Err(InvalidAnswer::IdToken.into()),
            (None, Ok(context), Some(patient)) => {
                self.person(pending, id_token).await.map(|who| (patient, context, who))
            }
        };
        match judged {
            Ok((patient, context, Person { issuer, subject, fhir_user, signed_in_at })) => {
                let LaunchContext { encounter, banner, style_url, intent, items: fhir_context } = context;
                Ok(EhrLaunched {
                    patient,
                    encounter,
                    fhir_user,
                    issuer,
                    subject,
                    signed_in_at,
                    banner,
                    style_url,
                    intent,
                    fhir_context,
                    grant,
                })
            }
            Err(why) => {
                // What was granted for nothing is not left alive.
                let ehr = Arc::clone(self);
                tokio::spawn(async move { ehr.revoke(&grant).await });
                Err(why)
            }
        }
    }

    /// Who signed in, as the ID token says; without one, nobody is named.
    async fn person(&self, pending: &EhrPending, id_token: Option<&str>) -> Result<Person, EhrRefused> {
        let Some(id_token) = id_token else {
            return Ok(Person { issuer: pending.iss.clone(), subject: None, fhir_user: None, signed_in_at: None });
        };
        let (Some(nonce), Some(issuer), Some(jwks)) =
            (&pending.nonce, &pending.endpoints.issuer, &pending.endpoints.jwks)
        else {
            // One that was not asked for, and cannot be judged.
            return Err(InvalidAnswer::IdToken.into());
        };
        let unverified = id_token::read(id_token)?;
        let answer = self.get(jwks).await.ok_or(EhrRefused::Unreachable("keys"))?;
        let keys = KeySet::parse(&answer.body)?;
        let expected = id_token::Expected {
            issuer,
            client_id: &self.settings.client_id,
            nonce,
            keys: &keys,
            authenticated_since: None,
            acr: &[],
            amr: &[],
        };
        let token = unverified.verify(&expected, self.clock.now())?;
        let fhir_user = match token.claims.get("fhirUser") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(self.fhir_user(text).ok_or(EhrRefused::FhirUser)?),
            Some(_) => return Err(EhrRefused::FhirUser),
        };
        let signed_in_at = Some(token.auth_time.unwrap_or(token.issued_at).saturating_mul(1_000));
        Ok(Person { issuer: issuer.clone(), subject: Some(token.subject), fhir_user, signed_in_at })
    }

    /// `fhirUser` as an absolute URL.
    fn fhir_user(&self, text: &str) -> Option<String> {
        let (kind, absolute) = match parse(text) {
            Reference::Relative { kind, version: None, .. } => (kind, format!("{}/{text}", self.base)),
            Reference::Absolute { kind, version: None, .. } => (kind, text.to_owned()),
            _ => return None,
        };
        USERS.contains(&kind).then_some(absolute).filter(|url| url.len() <= LAUNCH_BYTES_MAX)
    }

    /// Exchanges the refresh token for new tokens.
    pub(super) async fn refresh(&self, grant: &UpstreamGrant) -> Result<EhrAnswer, NotRefreshed> {
        let refresh = grant.refresh_token.as_deref().ok_or(NotRefreshed::Refused)?;
        let asked_at = self.clock.now();
        let asked = [("grant_type", Some("refresh_token")), ("refresh_token", Some(refresh))];
        let answer = self.ask(&grant.token_endpoint, &asked, &grant.token_endpoint, LIMITS).await;
        let answer = answer.ok_or(NotRefreshed::Unreachable)?;
        match answer.status.as_u16() {
            200 => {
                let body = Zeroizing::new(answer.body);
                EhrAnswer::read(&body, asked_at, &self.plain).map_err(|_| NotRefreshed::Refused)
            }
            400..=403 => Err(NotRefreshed::Refused),
            _ => Err(NotRefreshed::Unreachable),
        }
    }

    /// Revokes both tokens of a grant, the refresh token first: with it goes what could still be had by it (RFC 7009 §2.1).
    pub(super) async fn revoke(&self, grant: &UpstreamGrant) -> Revocations {
        let refresh = match &grant.refresh_token {
            Some(token) => Some(self.revoke_one(grant, token, "refresh_token").await),
            None => None,
        };
        Revocations { access: self.revoke_one(grant, &grant.access_token, "access_token").await, refresh }
    }

    async fn revoke_one(&self, grant: &UpstreamGrant, token: &str, hint: &str) -> Revocation {
        let Some(endpoint) = &grant.revocation_endpoint else { return Revocation::Unsupported };
        let asked = [("token", Some(token)), ("token_type_hint", Some(hint))];
        match self.ask(endpoint, &asked, &grant.token_endpoint, REVOKE_LIMITS).await {
            Some(answer) if answer.status == StatusCode::OK => Revocation::Revoked,
            Some(answer) if oauth::ehr::read_error(&answer.body) == "unsupported_token_type" => Revocation::Unsupported,
            _ => Revocation::Failed,
        }
    }

    /// Posts a form with our client authentication; its audience is the token endpoint everywhere, which every server takes.
    async fn ask(&self, url: &str, asked: &[(&str, Option<&str>)], audience: &str, limits: Limits) -> Option<Received> {
        let assertion = Zeroizing::new(self.key.assertion(&self.settings.client_id, audience)?);
        let mut body = form(asked);
        body.push('&');
        body.push_str(&form(&[
            ("client_assertion_type", Some(oauth::assertion::ASSERTION_TYPE)),
            ("client_assertion", Some(assertion.as_str())),
        ]));
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .ok()?;
        self.outbound.call(request, limits).await.ok()
    }

    async fn get(&self, url: &str) -> Option<Received> {
        let request = Request::get(url).header(ACCEPT, "application/json").body(Full::new(Bytes::new())).ok()?;
        self.outbound.call(request, LIMITS).await.ok().filter(|answer| answer.status == StatusCode::OK)
    }
}

/// Who signed in at the EHR.
struct Person {
    issuer: String,
    subject: Option<String>,
    fhir_user: Option<String>,
    signed_in_at: Option<Millis>,
}

/// Parameters that have a value, form-urlencoded.
fn form(parameters: &[(&str, Option<&str>)]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for (name, value) in parameters.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.extend(utf8_percent_encode(value, PLAIN));
    }
    out
}

impl super::Broker {
    /// Begins a launch from the EHR that calls itself `iss`, with its launch handle; `redirect_uri` is where the browser comes back to.
    ///
    /// # Errors
    /// [`EhrRefused`]; with another `iss` than the configured one nothing was fetched.
    pub async fn ehr_begin(
        &self,
        tenant: &TenantId,
        iss: &str,
        launch: &str,
        redirect_uri: &str,
    ) -> Result<EhrBegun, EhrRefused> {
        self.ehr(tenant).ok_or(EhrRefused::NoEhr)?.begin(iss, launch, redirect_uri).await
    }

    /// Finishes a launch with the query that the browser brought back. `pending` must not be used again, whatever comes of it.
    ///
    /// # Errors
    /// [`EhrRefused`]; tokens that were had are revoked then.
    pub async fn ehr_finish(
        &self,
        tenant: &TenantId,
        pending: EhrPending,
        query: &str,
        redirect_uri: &str,
    ) -> Result<EhrLaunched, EhrRefused> {
        self.ehr(tenant).ok_or(EhrRefused::NoEhr)?.finish(&pending, query, redirect_uri).await
    }

    /// Revokes a grant that no session came of, e.g. because the person did not agree.
    pub async fn discard_grant(&self, tenant: &TenantId, grant: UpstreamGrant) -> Revocations {
        match self.ehr(tenant) {
            Some(ehr) => ehr.revoke(&grant).await,
            None => Revocations { access: Revocation::Failed, refresh: None },
        }
    }

    /// Public keys of the assertions by which Hilum authenticates to this tenant's EHR as a launched app, as a JWK Set.
    #[must_use]
    pub fn ehr_jwks(&self, tenant: &TenantId) -> Option<String> {
        Some(serde_json::json!({ "keys": self.ehr(tenant)?.public_keys() }).to_string())
    }
}
