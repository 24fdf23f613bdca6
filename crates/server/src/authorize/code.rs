//! `grant_type=authorization_code`: a code becomes the session that its person allowed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{LaunchKind, LaunchMode, Millis, Reason, RequestedScope, ScopeSet, Session, SessionId};
use fhir::Id;
use oauth::ErrorCode;
use oauth::grant::CodeGrant;
use oauth::identity::IdentityClaims;
use oauth::scope::Granted;
use store::{OnceKind, UsedAssertion};

use super::client::Caller;
use super::handles::{self, Fault, Used};
use super::people::Person;
use super::shown;
use super::token::{Denied, Launch};
use super::waiting::{Access, Code, Told};
use super::{Service, Tenant};

/// One text for every code that cannot be redeemed.
pub(super) const CODE_REFUSED: &str =
    "the code is unknown, used or expired, or it does not fit this client, redirect_uri, code_verifier or key";

/// What a session with a person starts from.
pub(super) struct FromPerson {
    /// What was allowed.
    pub(super) code: Code,
    /// SHA-256 of the code, to use it up with the start.
    pub(super) hash: [u8; 32],
}

/// What a session with a person keeps for its refreshes and for introspection.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Lasting {
    /// The granted scope.
    pub(super) scope: String,
    /// How long the app keeps access.
    pub(super) access: Access,
    /// Who granted it.
    pub(super) person: Person,
    /// In which encounter.
    pub(super) encounter: Option<Id>,
    /// What the EHR said.
    pub(super) told: Option<Told>,
    /// `fhirUser` of its ID token, where it had one.
    pub(super) fhir_user: Option<String>,
    /// `sub` of its ID token, where it had one.
    pub(super) identity: bool,
    /// The DPoP key its first token was bound to, which a public client's refreshes must hold too (DP-04).
    pub(super) jkt: Option<[u8; 32]>,
    /// The certificate, likewise (RFC 8705 §4).
    #[serde(default)]
    pub(super) x5t: Option<[u8; 32]>,
}

impl Lasting {
    /// Label under which it is sealed.
    pub(super) const LABEL: &'static str = "person_session.lasting";

    /// What lasts of a code.
    pub(super) fn of(tenant: &Tenant, code: &Code, session: &Session, encounter: Option<&Id>) -> Self {
        let words = words(&code.scope);
        let identity = words.iter().any(|word| word == "openid");
        let names_user = words.iter().any(|word| word == "fhirUser" || word == "profile");
        let user = code.person.fhir_user.as_ref().filter(|_| identity && names_user);
        Self {
            scope: code.scope.clone(),
            access: code.access,
            person: code.person.clone(),
            encounter: encounter.cloned(),
            told: code.context.as_ref().map(|context| context.told.clone()),
            fhir_user: user.map(|user| tenant.absolute(user)),
            identity,
            jkt: match session.confirmation {
                Some(domain::Confirmation::Dpop(thumbprint)) => Some(thumbprint),
                _ => None,
            },
            x5t: match session.confirmation {
                Some(domain::Confirmation::Mtls(certificate)) => Some(certificate),
                _ => None,
            },
        }
    }
}

/// The words of a granted scope.
fn words(scope: &str) -> Vec<String> {
    scope.split(' ').map(str::to_owned).collect()
}

/// The clauses of a granted scope.
pub(super) fn clauses(scope: &str) -> ScopeSet {
    let items = RequestedScope::read_all(scope).unwrap_or_default();
    let clause = |item: RequestedScope| match item {
        RequestedScope::Fhir(scope) => Some(scope),
        _ => None,
    };
    ScopeSet(items.into_iter().filter_map(clause).collect())
}

impl Service {
    /// What a code stands for, if everything about it fits. One that is brought by its own client and does not fit is used up; one that
    /// was used before ends what it started (TK-08, NEG-060).
    pub(super) async fn by_code(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        grant: &CodeGrant,
        dpop: Option<[u8; 32]>,
        used: &mut UsedAssertion,
        now: Millis,
    ) -> Result<(Launch, Granted), Denied> {
        let refused = || Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, CODE_REFUSED);
        let failed = |fault: Fault| Denied::unavailable(fault.0);
        // A replayed assertion must neither learn nor use up anything.
        self.spend(used).await?;
        let hash = handles::hash(&grant.code).ok_or_else(refused)?;
        let found: Option<Code> = self.look_at(tenant, OnceKind::Code, &grant.code, now).await.map_err(failed)?;
        let Some(code) = found else {
            return Err(self.replayed(tenant, caller, &grant.code, now).await?.unwrap_or_else(refused));
        };
        if code.request.client != caller.integration.id {
            return Err(refused());
        }
        let jkt = code.request.dpop_jkt.as_deref();
        let key = dpop.map(|thumbprint| URL_SAFE_NO_PAD.encode(thumbprint));
        let holds = jkt.is_none_or(|jkt| key.as_deref() == Some(jkt));
        let verifier = grant.verifier.as_deref().unwrap_or_default();
        let fits = grant.redirect_uri.as_deref() == Some(code.request.redirect_uri.as_str())
            && oauth::pkce::verifies(&code.request.challenge, verifier)
            && holds;
        if !fits {
            // Whoever guesses has one guess.
            let taken = self.take::<Code>(tenant, OnceKind::Code, &grant.code, now).await.map_err(failed)?;
            drop(taken);
            return Err(refused());
        }
        let standing = self.registry.snapshot().standing(&code.approval, now).map_err(|_| refused())?;
        let mode = if code.context.is_some() { LaunchMode::Ehr {} } else { LaunchMode::Standalone {} };
        if standing.integration.id != caller.integration.id || !standing.approval.terms.launch.contains(&mode) {
            return Err(refused());
        }
        shown::admitted(&standing).map_err(|denied| denied.at(&standing, &code.patient))?;
        // Signed out in the meantime means that nobody is there any more.
        if self.present_at(tenant, &code.sign_in, now).await.map_err(failed)?.is_none() {
            return Err(refused());
        }
        let granted = Granted { scopes: clauses(&code.scope), text: code.scope.clone() };
        let launch = Launch {
            kind: if code.context.is_some() { LaunchKind::Ehr } else { LaunchKind::Standalone },
            standing,
            patient: Some(code.patient.clone()),
            encounter: code.context.as_ref().and_then(|context| context.encounter.clone()),
            ticket: None,
            details: None,
            evidence: None,
            person: Some(Box::new(FromPerson { code, hash })),
            b2b: None,
        };
        Ok((launch, granted))
    }

    /// Ends what a code started that comes a second time; `None` if it is none of this client's.
    async fn replayed(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        text: &str,
        now: Millis,
    ) -> Result<Option<Denied>, Denied> {
        let taken = self.take::<Code>(tenant, OnceKind::Code, text, now).await;
        let Used::Before(code) = taken.map_err(|fault| Denied::unavailable(fault.0))? else { return Ok(None) };
        if code.request.client != caller.integration.id {
            return Ok(None);
        }
        self.end_family(tenant, &code.session, "code-replayed").await?;
        let denied = Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, CODE_REFUSED);
        Ok(Some(Denied { alarm: Some(super::alarm::CODE_REPLAYED), ..denied }))
    }

    /// Ends a session whose code or refresh token came a second time.
    pub(super) async fn end_family(&self, tenant: &Tenant, session: &SessionId, by: &str) -> Result<(), Denied> {
        self.registry.end_session(&tenant.id, session, by).await.map(drop).map_err(|why| {
            tracing::error!(%session, %why, "a session could not be ended");
            Denied::unavailable("a session could not be ended everywhere; try again")
        })
    }

    /// The ID token of a session that asked for one (OI-01).
    pub(super) async fn identity(
        &self,
        tenant: &Tenant,
        from: Option<&FromPerson>,
        now: Millis,
    ) -> Result<Option<String>, Fault> {
        let Some(FromPerson { code, .. }) = from else { return Ok(None) };
        let words = words(&code.scope);
        if !words.iter().any(|word| word == "openid") {
            return Ok(None);
        }
        let names_user = words.iter().any(|word| word == "fhirUser" || word == "profile");
        let user = code.person.fhir_user.as_ref().filter(|_| names_user).map(|user| tenant.absolute(user));
        let subject = self.subject(tenant, &code.person)?;
        let signer = self.keys.identity_signer(&tenant.id, now).await.map_err(|_| Fault("the keys failed"))?;
        let claims = IdentityClaims {
            issuer: &tenant.endpoints.issuer,
            client: code.request.client.as_str(),
            subject: &subject,
            nonce: code.request.nonce.as_deref(),
            fhir_user: user.as_deref(),
            signed_in_at: Some(code.person.signed_in_at),
            now,
        };
        let input = oauth::identity::signing_input(signer.kid(), &claims);
        let signature = signer.sign(input.as_bytes()).map_err(|_| Fault("the keys failed"))?;
        Ok(Some(oauth::jose::finish(input, &signature)))
    }

    /// The person's `sub` in this tenant: pairwise, and of a form that no `client_id` has (REG-07).
    pub(super) fn subject(&self, tenant: &Tenant, person: &Person) -> Result<String, Fault> {
        Ok(format!("person:{}", crate::hex::hex(&self.tag(tenant, person)?)))
    }
}
