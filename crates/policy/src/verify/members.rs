//! Who the members of a Group are (R4 "Group"): read once, at a kick-off, and fixed for the job.
//!
//! A Group that does not plainly enumerate people has no members here: what it means would be the upstream's to say, file by
//! file. A member that cannot be told, or does not surely belong to it now, is none, and its records stay (S1-15).

use std::collections::BTreeSet;

use domain::{Millis, Reason};
use fhir::json::Value;
use fhir::references::{self, Reference};
use fhir::{Id, ResourceType};

use super::judge;
use crate::consent;
use crate::decide::Denial;
use crate::permit::UpstreamAnswer;

/// Most members of one export: a registry of a health system's patients with one disease. More take `all-patients`.
const MEMBERS_MAX: usize = 20_000;

/// The members of the Group `id`, as the upstream answered when it was asked for it.
pub(crate) fn of_group(answer: &UpstreamAnswer, id: &Id, base: &str, now: Millis) -> Result<BTreeSet<Id>, Denial> {
    let denied = |reason, says: &str| Err(Denial::new(reason, says));
    match answer.status {
        200 => {}
        403 | 404 | 410 => {
            return denied(Reason::NotFound, "the Group of this approval is not at the server behind the gate");
        }
        429 | 503 | 504 => {
            return denied(Reason::UpstreamUnavailable, "the server behind the gate is not available; try again later");
        }
        _ => return denied(Reason::UpstreamBroken, "the Group of this approval cannot be read"),
    }
    let broken = || Denial::new(Reason::UpstreamBroken, "the Group of this approval cannot be read");
    let document = super::parse(answer).ok_or_else(broken)?;
    let group = document.root();
    let (kind, found) = super::identity(group).ok_or_else(broken)?;
    if kind != ResourceType::GROUP || found != id.as_str() {
        return Err(broken());
    }
    if !is_plain(group) {
        return denied(
            Reason::UpstreamRefused,
            "the Group of this approval does not enumerate people, or is not in use",
        );
    }
    let mut members = BTreeSet::new();
    for member in group.get("member").iter().flat_map(Value::elements) {
        if let Some(patient) = patient(member, base, now) {
            members.insert(patient);
        }
        if members.len() > MEMBERS_MAX {
            let says = format!("the Group of this approval has more than {MEMBERS_MAX} members");
            return Err(Denial::new(Reason::TooCostly, says));
        }
    }
    if members.is_empty() {
        return denied(
            Reason::UpstreamRefused,
            "the Group of this approval has no patient that is surely a member now",
        );
    }
    Ok(members)
}

/// Whether it is a list of actual people, whole, and says nothing that changes the meaning of that.
fn is_plain(group: Value<'_>) -> bool {
    let list = group.get("member").is_none_or(|list| list.is_array());
    list && group.get("type").is_some_and(|kind| kind.is_str("person"))
        && group.get("actual").and_then(|actual| actual.as_bool()) == Some(true)
        && group.get("active").is_none_or(|active| active.as_bool() == Some(true))
        && group.get("implicitRules").is_none()
        && group.get("modifierExtension").is_none()
        && !judge::is_subsetted(group)
}

/// The patient a member is, if it surely is one now.
fn patient(member: Value<'_>, base: &str, now: Millis) -> Option<Id> {
    let active = member.get("inactive").is_none_or(|inactive| inactive.as_bool() == Some(false));
    let current = member.get("period").is_none_or(|period| consent::surely_covers(period, now));
    if !active || !current || member.get("modifierExtension").is_some() {
        return None;
    }
    let text = member.get("entity")?.get_str("reference")?;
    match references::parse(&text) {
        Reference::Relative { kind: ResourceType::PATIENT, id, version: None } => id.parse().ok(),
        Reference::Absolute { base: at, kind: ResourceType::PATIENT, id, version: None } if at == base => {
            id.parse().ok()
        }
        _ => None,
    }
}
