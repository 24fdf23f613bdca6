//! De-identified sessions at the gate (S4-06). Inside, everything works on the real patient as ever; what comes in is mapped back
//! first (`ask`), and what goes out is de-identified before it is counted, recorded and released (`answer`).

mod answer;
mod ask;

pub(super) use self::ask::is_offered;

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Millis, Reason, Session, SessionId, Subject};
use fhir::{Id, ResourceType};
use http::StatusCode;
use parking_lot::Mutex;
use store::SurrogateOwner;

use super::Gate;
use crate::authorize::SESSION_PATIENT;
use crate::error::Refusal;
use crate::keys::month_of;
use crate::registry::Standing;
use crate::surrogates::{Stood, SurrogatesFailed};

/// Sessions remembered at once; past it those that are over go, and then all: they are only looked up again.
const SESSIONS_MAX: usize = 100_000;
/// How often those that are over are forgotten.
const SWEEP_EVERY: Millis = 60_000;

/// What stands between a de-identified session and its patient.
pub(super) struct Veil {
    owner: SurrogateOwner,
    patient: Id,
    /// What the session knows the patient as.
    surrogate: Id,
}

/// Sessions whose patients were looked up.
#[derive(Default)]
pub(super) struct Lifted(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    known: HashMap<SessionId, Known>,
    /// When those that are over are next looked for.
    sweep_at: Millis,
}

struct Known {
    /// As its token says it.
    told: Arc<Session>,
    /// The same with its patient.
    session: Arc<Session>,
    veil: Arc<Veil>,
}

impl Lifted {
    fn get(&self, session: &Session) -> Option<(Arc<Session>, Arc<Veil>)> {
        let sessions = self.0.lock();
        let known = sessions.known.get(&session.id).filter(|known| *known.told == *session)?;
        Some((Arc::clone(&known.session), Arc::clone(&known.veil)))
    }

    fn put(&self, known: Known, now: Millis) {
        let Sessions { known: all, sweep_at } = &mut *self.0.lock();
        if all.len() >= SESSIONS_MAX || now >= *sweep_at {
            all.retain(|_, known| now < known.session.expires_at);
            *sweep_at = now.saturating_add(SWEEP_EVERY);
        }
        if all.len() >= SESSIONS_MAX {
            all.clear();
        }
        all.insert(known.told.id, known);
    }
}

/// A refusal as a de-identified session is told it: in words that depend on the reason alone, whatever was found and whatever
/// it is about. To look for the patient's id in a text and to change that text only then would tell the id to whoever guesses
/// it. The record has the refusal as it was.
pub(super) fn told(refusal: Refusal) -> Refusal {
    let says = match refusal.reason {
        // Written here and in `ask`, of nothing but what was asked; a role's refusals name the role's own words.
        Reason::DeIdentified | Reason::RoleRefused => return Refusal { scope: None, ..refusal },
        reason => in_fixed_words(reason, refusal.status),
    };
    Refusal { says: says.to_owned(), scope: None, ..refusal }
}

/// What is said for a reason.
fn in_fixed_words(reason: Reason, status: StatusCode) -> &'static str {
    match reason {
        Reason::ScopeInsufficient | Reason::TypeUnexpected | Reason::TypeNotShared | Reason::OperationRefused => {
            "the scopes of this session do not open this"
        }
        Reason::OtherPatient => "this is about another patient than the session's; its own stands in the token",
        Reason::InferenceRefused | Reason::NotSupported => "this is not offered; see docs/roles.md for what is",
        Reason::PageInvalid => "the page link is not valid; start the search again",
        Reason::TooCostly => "this would take too much; ask for less at once",
        Reason::Policy => "the policies of this organisation do not allow this",
        Reason::SessionEnded | Reason::IntegrationInactive | Reason::ApprovalMissing | Reason::UpstreamTokenGone => {
            "the session has ended; start a new one"
        }
        _ => match status {
            StatusCode::BAD_REQUEST => "this cannot be understood",
            StatusCode::NOT_FOUND => "no such resource for this session",
            StatusCode::BAD_GATEWAY => "the upstream's answer cannot be used",
            StatusCode::SERVICE_UNAVAILABLE => "this cannot be done now; try again",
            StatusCode::TOO_MANY_REQUESTS => "a budget of this session is spent",
            _ => "this is refused",
        },
    }
}

impl Gate {
    /// A session with the patient its surrogate stands for, and the veil it is seen through.
    pub(super) async fn lift(
        &self,
        told: &Arc<Session>,
        surrogate: &Id,
    ) -> Result<(Arc<Session>, Option<Arc<Veil>>), Refusal> {
        if let Some((session, veil)) = self.lifted.get(told) {
            return Ok((session, Some(veil)));
        }
        let (tenant, integration) = (&told.tenant, &told.integration);
        let row = self.keys.store().find_session(&told.id).await.map_err(|why| {
            tracing::error!(%why, "a session could not be looked up");
            unknown()
        })?;
        let ended = || Refusal::new(Reason::SessionEnded, "the session has ended; start a new one");
        let row = row.map(|row| row.session).ok_or_else(ended)?;
        if row.tenant != *tenant || row.integration != *integration {
            return Err(ended());
        }
        let plain = self.keys.open_row(tenant.as_str(), SESSION_PATIENT, &row.patient_sealed).ok();
        let patient: Option<Id> = plain.and_then(|plain| String::from_utf8(plain).ok()?.parse().ok());
        let patient = patient.ok_or_else(unknown)?;
        let owner = self.surrogates.owner(tenant, integration, &patient).map_err(no_surrogates)?;
        let stands_for = Stood::instance(ResourceType::PATIENT, patient.as_str());
        let known = self.surrogates.find(&owner, &stands_for).await.map_err(no_surrogates)?;
        // The token and the table must agree on whom it is about.
        if known.as_ref() != Some(surrogate) {
            return Err(ended());
        }
        let veil = Arc::new(Veil { owner, patient: patient.clone(), surrogate: surrogate.clone() });
        let session = Arc::new(Session { subject: Subject::Patient(patient), ..Session::clone(told) });
        let known = Known { told: Arc::clone(told), session: Arc::clone(&session), veil: Arc::clone(&veil) };
        self.lifted.put(known, self.clock.now());
        Ok((session, Some(veil)))
    }
}

/// Whether the integration's role lets it have sessions at all (S4-05, S4-08, S4-10).
pub(super) fn admitted(standing: &Standing) -> Result<(), Refusal> {
    standing.admits().map_err(|why| Refusal::new(Reason::RoleRefused, why.to_string()))
}

/// Whether a session, as its token says it, is told of its patient as its role asks now.
pub(super) fn suited(standing: &Standing, session: &Session) -> Result<(), Refusal> {
    if standing.suits(&session.subject) {
        return Ok(());
    }
    Err(Refusal::new(Reason::SessionEnded, "the session has ended; start a new one"))
}

/// The patient cannot be looked up, and nothing is done without.
fn unknown() -> Refusal {
    Refusal::new(Reason::Overloaded, "the session could not be looked up; try again")
}

fn no_surrogates(_: SurrogatesFailed) -> Refusal {
    Refusal::new(Reason::Overloaded, "surrogates could not be had; try again")
}

/// The year by which ages are told; none is no permission.
fn year(now: Millis) -> Result<u16, Refusal> {
    u16::try_from(month_of(now) / 100).map_err(|_| Refusal::new(Reason::Overloaded, "the clock is not set"))
}
