//! Interactions on one record: its history, everything of the patient, its attachments.

use domain::{Actions, Operation, Reason};
use fhir::request::{Everything, History, View};
use fhir::{Id, ResourceType};

use super::{Denial, Frame, other_patient};
use crate::permit::{Plan, UpstreamCall};
use crate::shape::{BinaryShape, Filling, Shape};

/// SMART v2 puts an instance's history under `r` (VR-19).
pub(super) fn history(frame: &Frame<'_>, mut history: History) -> Result<Plan, Denial> {
    let kind = history.kind;
    frame.check_instance(kind, &history.id)?;
    history.count = page_size(frame, history.count)?;
    let query = history.canonical_query();
    let view = std::mem::take(&mut history.view);
    let applied = view.appended_to(query.clone());
    let now = UpstreamCall::get(format!("{kind}/{}", history.id), "");
    let after = Some(UpstreamCall::get(format!("{kind}/{}/_history", history.id), query));
    let filling = Filling::of(history.count, None);
    let shape = Shape::History { id: history.id, page: None, applied, after, filling };
    Ok(frame.plan("history", kind, now, shape, view, Actions::READ))
}

/// The patient itself must be granted; every other type counts for itself when it comes back (OP-02, OP-03).
pub(super) fn everything(frame: &Frame<'_>, mut everything: Everything) -> Result<Plan, Denial> {
    let kind = ResourceType::PATIENT;
    frame.check_operation(Operation::Everything)?;
    frame.check_instance(kind, &everything.id)?;
    if let Some(refused) = everything.kinds.iter().find(|kind| !frame.cx.grants.includes(**kind)) {
        return Err(Denial::new(
            Reason::ScopeInsufficient,
            format!("`_type` names `{refused}`, which no scope of this session covers"),
        ));
    }
    everything.count = page_size(frame, everything.count)?;
    let query = everything.canonical_query();
    let view = std::mem::take(&mut everything.view);
    let applied = view.appended_to(query.clone());
    let call = UpstreamCall::get(format!("{kind}/{}/$everything", everything.id), query);
    let filling = Filling::of(everything.count, None);
    Ok(frame.plan("everything", kind, call, Shape::Everything { page: None, applied, filling }, view, Actions::READ))
}

/// A Binary says of itself at most to whom it belongs: what proves it is a released link or its security context.
pub(super) fn binary(frame: &Frame<'_>, id: Id, proof: Option<&str>, raw: bool, view: View) -> Result<Plan, Denial> {
    let kind = ResourceType::BINARY;
    frame.check_instance(kind, &id)?;
    let proven = match proof {
        None => None,
        Some(sealed) => {
            let proof = frame.cx.proofs.get(sealed);
            let proof = proof.filter(|proof| proof.proves(frame.cx.session, id.as_str(), frame.cx.now));
            Some(proof.ok_or_else(stale)?.media.clone())
        }
    };
    let call = UpstreamCall::get(format!("{kind}/{id}"), "");
    let shape = Shape::Binary(BinaryShape { id, raw, proven, held: None });
    Ok(frame.plan("binary", kind, call, shape, view, Actions::READ))
}

/// `_count`, at most what is sent upstream; none at all would ask for a total (SR-35).
pub(super) fn page_size(frame: &Frame<'_>, count: Option<u32>) -> Result<Option<u32>, Denial> {
    if count == Some(0) {
        return Err(Denial::new(Reason::NotSupported, "`_count=0` asks for a total, which is not offered"));
    }
    Ok(count.map(|count| count.min(frame.rules.count_max)))
}

fn stale() -> Denial {
    Denial::new(Reason::PageInvalid, "this link belongs to another session or is too old; read the resource again")
}

/// Whether a compartment path names the session's patient (p2).
pub(super) fn check_compartment(frame: &Frame<'_>, compartment: Option<&Id>) -> Result<(), Denial> {
    match compartment {
        Some(patient) if *patient != frame.cx.patient => Err(other_patient()),
        _ => Ok(()),
    }
}
