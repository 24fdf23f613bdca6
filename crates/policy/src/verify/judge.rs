//! Whose a resource is (p3, p4, p12) and whether a scope clause admits it.

use domain::Actions;
use fhir::json::Value;
use fhir::owner::{self, OwnerRule};
use fhir::references::{self, Reference};
use fhir::{ElementPath, ResourceType, compartment};

use crate::consent::ConsentContext;
use crate::context::{Context, Party};

/// A resource that is not released. Carries nothing: absent and foreign are one answer.
#[derive(Debug)]
pub(super) struct Refusal;

/// Judges membership, then scope and criteria; gives back the clause that admits it.
pub(super) fn judge(
    cx: &Context,
    kind: ResourceType,
    id: &str,
    letters: &[Actions],
    resource: Value<'_>,
) -> Result<u32, Refusal> {
    if !is_member(cx, kind, id, resource) || is_denied(cx, kind, id, resource) {
        return Err(Refusal);
    }
    cx.grants.admits(kind, letters, resource).ok_or(Refusal)
}

/// Whether one of the patient's own Consents denies it; no scope and no permit outweighs that (S3-10).
pub(super) fn is_denied(cx: &Context, kind: ResourceType, id: &str, resource: Value<'_>) -> bool {
    // What is everybody's tells nothing of the patient.
    if cx.grants.shares(kind) {
        return false;
    }
    let context = ConsentContext { now: cx.now, purpose_of_use: &cx.purpose_of_use, actions: &["access", "use"] };
    cx.consents.denies(&context, kind, id, resource)
}

fn party_of(cx: &Context, reference: Value<'_>) -> Party {
    reference.get_str("reference").map_or(Party::Unknown, |text| cx.party(&text))
}

/// p3 and p12: in the compartment by at least one path, and the primary subject, or every party, is the patient.
pub(super) fn is_member(cx: &Context, kind: ResourceType, id: &str, resource: Value<'_>) -> bool {
    match owner::rule(kind) {
        OwnerRule::Own => id == cx.patient.as_str(),
        OwnerRule::Primary(paths) => {
            all_session(cx, paths, resource) && any_session(cx, compartment::patient_paths(kind), resource)
        }
        OwnerRule::EveryParty(paths) => {
            any_session(cx, compartment::patient_paths(kind), resource)
                && no_other_party(cx, paths, resource)
                && no_party_by_name(kind, resource)
        }
        OwnerRule::Added(paths) => all_session(cx, paths, resource),
        // What a shared type may refer to is judged by the walk.
        OwnerRule::Outside => cx.grants.shares(kind),
    }
}

/// At least one value stands at the paths, and every one is the session's patient.
fn all_session(cx: &Context, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let (mut session, mut others) = (0_u32, 0_u32);
    for path in paths {
        resource.at_path(path.elements, &mut |value| match party_of(cx, value) {
            Party::Session => session += 1,
            _ => others += 1,
        });
    }
    session > 0 && others == 0
}

fn any_session(cx: &Context, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let mut found = false;
    for path in paths {
        resource.at_path(path.elements, &mut |value| found |= party_of(cx, value) == Party::Session);
    }
    found
}

/// Every party is the patient, or an instance that cannot be a patient: a group and a Person can stand for several.
fn no_other_party(cx: &Context, paths: &[ElementPath], resource: Value<'_>) -> bool {
    let mut clean = true;
    for path in paths {
        resource.at_path(path.elements, &mut |value| clean &= party_fits(cx, value, resource));
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

fn party_fits(cx: &Context, value: Value<'_>, outer: Value<'_>) -> bool {
    let no_person = |kind| !matches!(kind, ResourceType::PATIENT | ResourceType::GROUP | ResourceType::PERSON);
    match party_of(cx, value) {
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
pub(super) fn ignores_filter(cx: &Context, kind: ResourceType, id: &str, param: &str, resource: Value<'_>) -> bool {
    if kind == ResourceType::PATIENT {
        return id != cx.patient.as_str();
    }
    let Some(param) = fhir::params::find(kind, param) else { return false };
    let (mut present, mut session, mut other) = (false, false, false);
    for path in param.paths {
        resource.at_path(path.elements, &mut |value| {
            present = true;
            match value.get_str("reference").as_deref().map(references::parse) {
                Some(Reference::Relative { kind: ResourceType::PATIENT, id, .. }) => {
                    session |= id == cx.patient.as_str();
                    other |= id != cx.patient.as_str();
                }
                Some(Reference::Absolute { base, kind: ResourceType::PATIENT, id, .. }) if base == cx.upstream_base => {
                    session |= id == cx.patient.as_str();
                    other |= id != cx.patient.as_str();
                }
                _ => {}
            }
        });
    }
    !session && (other || !present && !is_subsetted(resource))
}

/// Whether the upstream says that it left elements out.
pub(super) fn is_subsetted(resource: Value<'_>) -> bool {
    let mut found = false;
    resource.at_path(&["meta", "tag", "code"], &mut |code| found |= code.is_str("SUBSETTED"));
    found
}

/// Whether what a contained resource says of its own subject leaves no room for another patient.
pub(super) fn contained_fits(cx: &Context, kind: ResourceType, inner: Value<'_>, outer: Value<'_>) -> bool {
    let paths = match owner::rule(kind) {
        OwnerRule::Own => return false,
        // A Person is somebody, and contained without a link nobody knows who.
        OwnerRule::EveryParty(_) if kind == ResourceType::PERSON => return false,
        OwnerRule::Outside => return true,
        OwnerRule::Primary(paths) | OwnerRule::Added(paths) | OwnerRule::EveryParty(paths) => paths,
    };
    let mut clean = true;
    for path in paths {
        inner.at_path(path.elements, &mut |value| clean &= party_fits(cx, value, outer));
    }
    clean
}
