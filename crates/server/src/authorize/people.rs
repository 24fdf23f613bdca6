//! People at the authorization server: who is signed in at a browser, and what is known of them.

use domain::audit::{Kind, Outcome};
use domain::{Millis, Reason, SessionId};
use fhir::Id;
use store::NewSignIn;

use super::browser::Browser;
use super::handles::{self, Fault};
use super::trace::Trace;
use super::{Service, Tenant};
use crate::identity::{FhirUser, SignedIn};

/// Label under which a sign-in's person is sealed.
const SIGN_IN: &str = "sign_in.person";

/// A person as the authorization server knows them.
#[derive(Clone, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) struct Person {
    /// Who says who they are: the identity provider, the EHR, or this tenant's demonstration accounts.
    pub(super) issuer: String,
    /// Their name there.
    pub(super) subject: String,
    /// For people.
    pub(super) name: Option<String>,
    /// Their FHIR resource at the upstream.
    pub(super) fhir_user: Option<FhirUser>,
    /// For class `patient-app`: the Patient they are.
    pub(super) patient: Option<Id>,
    /// When they proved who they are.
    pub(super) signed_in_at: Millis,
    /// How.
    pub(super) acr: Option<String>,
    /// The provider's ID token, for signing out there too.
    pub(super) logout_hint: Option<crate::identity::Sealed>,
    /// Their session at the provider.
    pub(super) sid: Option<String>,
    /// An EHR's launch says who they are. That is good for what the EHR launches: how they proved it is not known here.
    #[serde(default)]
    pub(super) by_ehr: bool,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person([sealed])")
    }
}

impl From<SignedIn> for Person {
    fn from(who: SignedIn) -> Self {
        Self {
            issuer: who.issuer,
            subject: who.subject,
            name: who.name,
            fhir_user: who.fhir_user,
            patient: who.patient,
            signed_in_at: who.auth_time,
            acr: who.acr,
            logout_hint: Some(who.id_token_hint),
            sid: who.sid,
            by_ehr: false,
        }
    }
}

impl Person {
    /// What pages call them.
    pub(super) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.subject)
    }

    /// What records call them, unless they are a patient: then only the sealed part may name them.
    pub(super) fn recorded(&self) -> String {
        if self.patient.is_some() { String::new() } else { format!("{}|{}", self.issuer, self.subject) }
    }
}

impl Service {
    /// The person's keyed tag in this tenant.
    pub(super) fn tag(&self, tenant: &Tenant, person: &Person) -> Result<[u8; 16], Fault> {
        self.keys.person_tag(tenant.id.as_str(), &person.issuer, &person.subject).map_err(|_| Fault("the keys failed"))
    }

    /// Who is signed in at this browser; asking is a sign of them (S4-03).
    pub(super) async fn present(
        &self,
        tenant: &Tenant,
        browser: &Browser,
        now: Millis,
    ) -> Result<Option<Person>, Fault> {
        let Some(hash) = browser.sign_in() else { return Ok(None) };
        self.present_at(tenant, &hash, now).await
    }

    /// The same by the sign-in itself.
    pub(super) async fn present_at(
        &self,
        tenant: &Tenant,
        hash: &[u8; 32],
        now: Millis,
    ) -> Result<Option<Person>, Fault> {
        let idle = millis(tenant.people.idle);
        let found = self.store.signed_in(&tenant.id, hash, now, idle).await.map_err(|why| {
            tracing::error!(%why, "the store failed");
            Fault("the store failed")
        })?;
        found.map(|sealed| self.person_of(tenant, &sealed)).transpose()
    }

    /// The person of a sign-in.
    pub(super) fn person_of(&self, tenant: &Tenant, sealed: &[u8]) -> Result<Person, Fault> {
        self.unsealed(tenant, SIGN_IN, sealed)
    }

    /// Signs a person in at a browser, on record first; the secret for its cookie.
    pub(super) async fn welcome(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        person: &Person,
        now: Millis,
    ) -> Result<(String, [u8; 32]), Fault> {
        let (secret, hash) = handles::fresh()?;
        let mut record = trace.personal(Kind::SignIn, Outcome::Success);
        record.actor.person = person.recorded();
        record.phi.attributes.push(("person.subject".into(), person.subject.clone()));
        record.phi.attributes.push(("person.issuer".into(), person.issuer.clone()));
        if let Some(user) = &person.fhir_user {
            record.phi.attributes.push(("person.fhirUser".into(), user.to_string()));
        }
        if let Some(acr) = &person.acr {
            record.phi.attributes.push(("person.acr".into(), acr.clone()));
        }
        record.phi.patients = person.patient.iter().map(ToString::to_string).collect();
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))?;
        let new = NewSignIn {
            hash,
            tenant: tenant.id.clone(),
            person_tag: self.tag(tenant, person)?,
            sealed: self.sealed(tenant, SIGN_IN, person)?,
            created_at: now,
            expires_at: now + millis(tenant.people.sign_in_max),
        };
        self.store.sign_in(&new).await.map_err(|why| {
            tracing::error!(%why, "the store failed");
            Fault("the store failed")
        })?;
        Ok((secret, hash))
    }

    /// Records that somebody was not signed in.
    pub(super) async fn unwelcome(&self, trace: &Trace, why: &str) -> Result<(), Fault> {
        let mut record = trace.personal(Kind::SignIn, Outcome::Denied);
        record.decision.reason = Reason::ClientInvalid.code().to_owned();
        record.phi.note = why.to_owned();
        self.write(record).await.map_err(|_| Fault("the audit record could not be made durable"))
    }

    /// Ends a sign-in and every session that hangs on it; how many those were.
    pub(super) async fn farewell(
        &self,
        tenant: &Tenant,
        sign_in: &[u8; 32],
        by: &str,
        now: Millis,
    ) -> Result<usize, Fault> {
        let hanging = self.store.sign_out(sign_in, now).await.map_err(|why| {
            tracing::error!(%why, "the store failed");
            Fault("the store failed")
        })?;
        self.end_all(tenant, &hanging, by).await?;
        Ok(hanging.len())
    }

    /// Ends sessions, all of them even where one fails.
    pub(super) async fn end_all(&self, tenant: &Tenant, sessions: &[SessionId], by: &str) -> Result<(), Fault> {
        let mut failed = false;
        for id in sessions {
            if let Err(why) = self.registry.end_session(&tenant.id, id, by).await {
                tracing::error!(session = %id, %why, "a session could not be ended");
                failed = true;
            }
        }
        if failed { Err(Fault("a session could not be ended everywhere; try again")) } else { Ok(()) }
    }
}

/// A duration in the unit of all our times.
pub(super) fn millis(duration: std::time::Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
