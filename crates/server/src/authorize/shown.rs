//! What a role makes of a session at its start, and what its token says of the patient: in a de-identified session surrogates, found or
//! made before anything is issued.

use domain::{Millis, Reason, Subject};
use fhir::{Id, ResourceType};
use oauth::ErrorCode;

use super::token::Denied;
use super::{Service, Tenant};
use crate::registry::Standing;
use crate::surrogates::Stood;

/// Why a role that is de-identified only exports nothing.
const NO_EXPORT: &str = "the role of this integration is de-identified only: exports are not de-identified";

/// Whom the token speaks of, as the integration is told it.
pub(super) struct Shown {
    pub(super) subject: Subject,
    /// None: a population.
    pub(super) patient: Option<Id>,
    pub(super) encounter: Option<Id>,
}

/// Whether the integration's role lets a session start (S4-05, S4-08, S4-10).
pub(super) fn admitted(standing: &Standing) -> Result<(), Denied> {
    standing.admits().map_err(|why| refused(&why.to_string()))
}

/// Whether the role lets a population be exported (S4-09). What is exported is not de-identified.
pub(super) fn exports(standing: &Standing) -> Result<(), Denied> {
    admitted(standing)?;
    if standing.is_de_identified() {
        return Err(refused(NO_EXPORT));
    }
    standing.role.as_ref().map_or(Ok(()), |role| role.exports()).map_err(|why| refused(&why.to_string()))
}

fn refused(says: &str) -> Denied {
    Denied::new(Reason::RoleRefused, ErrorCode::UnauthorizedClient, says)
}

/// Whether the integration may name the patient itself: not where it must not know whom its surrogates stand for.
pub(super) fn may_name_patient(standing: &Standing) -> Result<(), Denied> {
    if !standing.is_de_identified() {
        return Ok(());
    }
    Err(refused(
        "the role of this integration is de-identified only: a launcher names the patient; send a launch ticket",
    ))
}

impl Service {
    /// The patient and encounter as the token, its answer and introspection show them. Without surrogates there is no token.
    pub(super) async fn shown(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        patient: Option<&Id>,
        encounter: Option<&Id>,
        now: Millis,
    ) -> Result<Shown, Denied> {
        if !standing.is_de_identified() {
            let subject = patient.cloned().map_or(Subject::Cohort, Subject::Patient);
            return Ok(Shown { subject, patient: patient.cloned(), encounter: encounter.cloned() });
        }
        let Some(patient) = patient else { return Err(refused(NO_EXPORT)) };
        let failed = || {
            let says = "surrogates could not be had; try again";
            Denied::new(Reason::Overloaded, ErrorCode::TemporarilyUnavailable, says)
        };
        let owner = self.surrogates.owner(&tenant.id, &standing.integration.id, patient).map_err(|_| failed())?;
        let who = Stood::instance(ResourceType::PATIENT, patient.as_str());
        let met = encounter.map(|encounter| Stood::instance(ResourceType::ENCOUNTER, encounter.as_str()));
        let originals = std::iter::once(who.clone()).chain(met.clone()).collect();
        let told = self.surrogates.find_or_make(&owner, &originals, now, now).await.map_err(|_| failed())?;
        let patient = told.get(&who).cloned().ok_or_else(failed)?;
        let encounter = match &met {
            Some(met) => Some(told.get(met).cloned().ok_or_else(failed)?),
            None => None,
        };
        Ok(Shown { subject: Subject::Surrogate(patient.clone()), patient: Some(patient), encounter })
    }
}
