//! What every judgement of one interaction is made by: whose session, which grants, which addresses.

use std::collections::BTreeMap;

use domain::{LaunchKind, Millis, Session, SessionId};
use fhir::references::{self, Reference};
use fhir::{Id, ResourceType};

use crate::consent::Consents;
use crate::grants::Grants;
use crate::proof::BinaryProof;

/// Owned, so that nothing a plan is judged by can change between the call and its answer.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) patient: Id,
    pub(crate) grants: Grants,
    pub(crate) upstream_base: String,
    pub(crate) public_base: String,
    pub(crate) session: SessionId,
    /// Whose token its calls are made with.
    pub(crate) authority: Authority,
    /// The session's scope text.
    pub(crate) scope: String,
    pub(crate) purpose_of_use: String,
    pub(crate) now: Millis,
    /// When links sealed now stop working.
    pub(crate) links_expire_at: Millis,
    /// Which page of an answer is asked for; 1 where it is no page.
    pub(crate) page: u32,
    pub(crate) consents: Consents,
    /// Proofs the request came with, by their sealed text.
    pub(crate) proofs: BTreeMap<String, BinaryProof>,
    /// What a transaction creates, by the names its entries call it.
    pub(crate) names: BTreeMap<String, ResourceType>,
}

/// Whose token a call to the upstream is made with. Part of every permit: the broker has no choice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authority {
    /// The tenant's own.
    Tenant,
    /// The one the EHR gave for this session, and none where that is gone.
    Session(SessionId),
}

impl Authority {
    /// A session that the EHR launched has the EHR's own token, and no other.
    pub(crate) fn of(session: &Session) -> Self {
        match session.launch {
            LaunchKind::Ehr => Self::Session(session.id),
            LaunchKind::Ticket | LaunchKind::Relationship | LaunchKind::Export | LaunchKind::Standalone => Self::Tenant,
        }
    }
}

/// What a reference says of patients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Party {
    /// The session's patient.
    Session,
    /// Any other patient, here or elsewhere.
    OtherPatient,
    /// An instance of this type, no patient.
    Thing(ResourceType),
    /// `#id`.
    Contained,
    /// Nothing that could be told: no reference at all, or text outside the grammar.
    Unknown,
}

impl Context {
    /// Reads the text of a reference as this session sees it: exact grammar, the upstream's own base is local.
    pub(crate) fn party(&self, text: &str) -> Party {
        if let Some(kind) = self.names.get(text) {
            return Party::Thing(*kind);
        }
        match references::parse(text) {
            Reference::Relative { kind: ResourceType::PATIENT, id, .. } => {
                if id == self.patient.as_str() {
                    Party::Session
                } else {
                    Party::OtherPatient
                }
            }
            Reference::Absolute { base, kind: ResourceType::PATIENT, id, .. } => {
                if base == self.upstream_base && id == self.patient.as_str() {
                    Party::Session
                } else {
                    Party::OtherPatient
                }
            }
            // `…/Patient/P2/Observation/O2`: a thing reached through a patient's record names that patient.
            Reference::Absolute { base, .. } if base.split('/').any(|segment| segment == "Patient") => {
                Party::OtherPatient
            }
            Reference::Relative { kind, .. } | Reference::Absolute { kind, .. } => Party::Thing(kind),
            Reference::Fragment(_) => Party::Contained,
            Reference::Other(_) => Party::Unknown,
        }
    }

    /// The instance of this server a reference names, whoever's it is.
    pub(crate) fn instance<'t>(&self, text: &'t str) -> Option<(ResourceType, &'t str)> {
        match references::parse(text) {
            Reference::Relative { kind, id, .. } => Some((kind, id)),
            Reference::Absolute { base, kind, id, .. } if base == self.upstream_base => Some((kind, id)),
            _ => None,
        }
    }
}
