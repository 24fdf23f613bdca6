//! Whose a resource is (p3, p4, p12) and whether a scope clause admits it.

use domain::Actions;
use fhir::json::Value;
use fhir::owner::{self, OwnerRule};
use fhir::references::{self, Reference};
use fhir::{ElementPath, ResourceType, compartment};

use crate::permit::Plan;

/// A resource that is not released. Carries nothing: absent and foreign are one answer.
#[derive(Debug)]
pub(super) struct Refusal;

/// What a reference says of patients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Party {
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

impl Plan {
    /// Reads the text of a reference as this session sees it: exact grammar, the upstream's own base is local.
    pub(super) fn party(&self, text: &str) -> Party {
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

    fn party_of(&self, reference: Value<'_>) -> Party {
        reference.get_str("reference").map_or(Party::Unknown, |text| self.party(&text))
    }
}

/// Judges membership, then scope and criteria; gives back the clause that admits it.
pub(super) fn judge(
    plan: &Plan,
    kind: ResourceType,
    id: &str,
    letters: &[Actions],
    resource: Value<'_>,
) -> Result<u32, Refusal> {
    if !is_member(plan, kind, id, resource) {
        return Err(Refusal);
    }
    plan.grants.admits(kind, letters, resource).ok_or(Refusal)
}

/// Whether the session's own patient is meant and only the scope's query keeps the resource back. A caller is not told:
/// a search by code would else find out what lies outside the slice.
pub(super) fn is_outside_slice(
    plan: &Plan,
    kind: ResourceType,
    id: &str,
    letters: &[Actions],
    resource: Value<'_>,
) -> bool {
    is_member(plan, kind, id, resource) && plan.grants.admits(kind, letters, resource).is_none()
}

/// p3 and p12: in the compartment by at least one path, and the primary subject, or every party, is the patient.
fn is_member(plan: &Plan, kind: ResourceType, id: &str, resource: Value<'_>) -> bool {
    match owner::rule(kind) {
        OwnerRule::Own => id == plan.patient.as_str(),
        OwnerRule::Primary(paths) => {
            all_session(plan, paths, resource) && any_session(plan, compartment::patient_paths(kind), resource)
        }
        OwnerRule::EveryParty(paths) => {
            any_session(plan, compartment::patient_paths(kind), resource)
                && no_other_party(plan, paths, resource)
                && no_party_by_name(kind, resource)
        }
        OwnerRule::Added(paths) => all_session(plan, paths, resource),
        // What a shared type may refer to is judged by the walk.
        OwnerRule::Outside => plan.grants.shares(kind),
    }
}

/// At least one value stands at the paths, and every one is the session's patient.
fn all_session(plan: &Plan, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let (mut session, mut others) = (0_u32, 0_u32);
    for path in paths {
        resource.at_path(path.elements, &mut |value| match plan.party_of(value) {
            Party::Session => session += 1,
            _ => others += 1,
        });
    }
    session > 0 && others == 0
}

fn any_session(plan: &Plan, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let mut found = false;
    for path in paths {
        resource.at_path(path.elements, &mut |value| found |= plan.party_of(value) == Party::Session);
    }
    found
}

/// Every party is the patient, or an instance that cannot be a patient: a group and a Person can stand for several.
fn no_other_party(plan: &Plan, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let mut clean = true;
    for path in paths {
        resource.at_path(path.elements, &mut |value| clean &= party_fits(plan, value, resource));
    }
    clean
}

/// An AuditEvent can name a party in plain elements beside the reference; without the reference that is all there is,
/// and nobody can tell whom it names (p3).
fn no_party_by_name(kind: ResourceType, resource: Value<'_>) -> bool {
    if kind != ResourceType::AUDIT_EVENT {
        return true;
    }
    let mut clean = true;
    for (party, reference, names) in
        [("agent", "who", &["altId", "name"][..]), ("entity", "what", &["name", "description", "query", "detail"])]
    {
        resource.at_path(&[party], &mut |party| {
            clean &= party.get(reference).is_some() || names.iter().all(|name| party.get(name).is_none());
        });
    }
    clean
}

fn party_fits(plan: &Plan, value: Value<'_>, outer: Value<'_>) -> bool {
    let no_person = |kind| !matches!(kind, ResourceType::PATIENT | ResourceType::GROUP | ResourceType::PERSON);
    match plan.party_of(value) {
        Party::Session => true,
        Party::Thing(kind) => no_person(kind),
        Party::Contained => contained_kind(outer, value).is_some_and(no_person),
        Party::OtherPatient | Party::Unknown => false,
    }
}

/// The type of the contained resource a fragment points to.
fn contained_kind(resource: Value<'_>, reference: Value<'_>) -> Option<ResourceType> {
    let text = reference.get_str("reference")?;
    let id = text.strip_prefix('#')?;
    let found =
        resource.get("contained")?.elements().find(|inner| inner.get("id").is_some_and(|found| found.is_str(id)))?;
    found.get_str("resourceType")?.parse().ok()
}

/// Whether a search match is evidence that the upstream ignored the filter: what the narrowing parameter looks at
/// names another patient of this server, or nobody at all in a whole resource (S1-31, EL-08).
pub(super) fn ignores_filter(plan: &Plan, kind: ResourceType, id: &str, param: &str, resource: Value<'_>) -> bool {
    if kind == ResourceType::PATIENT {
        return id != plan.patient.as_str();
    }
    let Some(param) = fhir::params::find(kind, param) else { return false };
    let (mut present, mut session, mut other) = (false, false, false);
    for path in param.paths {
        resource.at_path(path.elements, &mut |value| {
            present = true;
            match value.get_str("reference").as_deref().map(references::parse) {
                Some(Reference::Relative { kind: ResourceType::PATIENT, id, .. }) => {
                    session |= id == plan.patient.as_str();
                    other |= id != plan.patient.as_str();
                }
                Some(Reference::Absolute { base, kind: ResourceType::PATIENT, id, .. })
                    if base == plan.upstream_base =>
                {
                    session |= id == plan.patient.as_str();
                    other |= id != plan.patient.as_str();
                }
                _ => {}
            }
        });
    }
    !session && (other || !present && !is_subsetted(resource))
}

fn is_subsetted(resource: Value<'_>) -> bool {
    let mut found = false;
    resource.at_path(&["meta", "tag", "code"], &mut |code| found |= code.is_str("SUBSETTED"));
    found
}

/// Whether what a contained resource says of its own subject leaves no room for another patient.
pub(super) fn contained_fits(plan: &Plan, kind: ResourceType, inner: Value<'_>, outer: Value<'_>) -> bool {
    let paths = match owner::rule(kind) {
        OwnerRule::Own => return false,
        // A Person is somebody, and contained without a link nobody knows who.
        OwnerRule::EveryParty(_) if kind == ResourceType::PERSON => return false,
        OwnerRule::Outside => return true,
        OwnerRule::Primary(paths) | OwnerRule::Added(paths) | OwnerRule::EveryParty(paths) => paths,
    };
    let mut clean = true;
    for path in paths {
        inner.at_path(path.elements, &mut |value| clean &= party_fits(plan, value, outer));
    }
    clean
}
