//! What becomes of a change: the upstream's word for it, judged like any answer.

use domain::{Actions, Reason};
use fhir::request::Returns;
use fhir::{Id, ResourceType};

use super::super::{Edits, Part, Plan, Sealer, identity, judge, label, links, parse, project, version, walk};
use super::{UpstreamAnswer, Writing, content};
use crate::outcome;
use crate::released::{Counts, Finding};

/// The answer to a change.
pub(in super::super) fn finish(plan: &Plan, writing: &Writing, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Part {
    match answer.status {
        200 | 201 | 204 => {}
        404 | 410 => return Part::not_found(),
        409 | 412 => {
            let says = "the resource was changed by somebody else; read it again";
            return Part::refused(412, Reason::VersionConflict, outcome::outcome("error", "conflict", says));
        }
        // Its text may quote anybody's data (WR-39, ER-02).
        400 | 405 | 413 | 422 => {
            let says = "the server behind the gate refused the resource";
            return Part::refused(422, Reason::UpstreamRefused, outcome::outcome("error", "processing", says));
        }
        429 => return Part::unavailable(),
        401 | 403 => return Part::broken(),
        // It may have been done or not: nobody but the upstream knows. A connection that broke is among these, as 503.
        _ => return unknown(),
    }
    if writing.is_delete() {
        return Part::new(204, None, Vec::new());
    }
    let document = parse(answer);
    let stored = document.as_ref().map(|document| document.root());
    let named = stored.and_then(identity).filter(|(kind, _)| *kind == writing.kind);
    let located = answer.location.as_deref().and_then(|location| located(plan, writing.kind, location));
    let body_id = named.as_ref().map(|(_, id)| id.to_string());
    let located_id = located.as_ref().map(|(id, _)| id.clone());
    // Of what was written the upstream may say one id: the one asked for, or in one voice the one it gave.
    let ids: Vec<String> =
        [writing.id.as_ref().map(ToString::to_string), located_id, body_id.clone()].into_iter().flatten().collect();
    let Some(id) = ids.first().filter(|first| ids.iter().all(|id| id == *first)).cloned() else {
        let mut part = accepted(writing, None, None);
        if !ids.is_empty() {
            part.findings.push(Finding::Rewritten { kind: writing.kind });
        }
        return part;
    };
    let stored = stored.filter(|_| body_id.is_some());
    // What it stored must be what may be stored: the session's, and readable to it (WR-18, WR-38). What is somebody else's is
    // not named either, though every voice says the same.
    if stored.is_some_and(|stored| !judge::is_member(&plan.cx, writing.kind, &id, stored)) {
        let mut part = accepted(writing, Some((&id, None)), None);
        part.findings.push(Finding::Rewritten { kind: writing.kind });
        return part;
    }
    // Nothing but the resource itself proves that an id which the upstream chose is not another record's: it is put on
    // record, and not told.
    if stored.is_none() && writing.id.is_none() {
        return accepted(writing, Some((&id, None)), None);
    }
    let version = stored
        .and_then(version)
        .or_else(|| located.and_then(|(_, version)| version))
        .or_else(|| answer.etag.as_deref().and_then(content::tagged));
    let mut part = accepted(writing, Some((&id, version.as_deref())), plan.cx.public_base.as_str().into());
    let (Some(document), Some(stored)) = (&document, stored) else { return part };
    let mut edits = Edits::default();
    let readable = judge::judge(&plan.cx, writing.kind, &id, &[Actions::READ], stored)
        .and_then(|clause| walk::walk(&plan.cx, writing.kind, stored, &mut edits, &mut links(seal)).map(|()| clause))
        .is_ok();
    if !readable || writing.returns != Returns::Representation {
        return part;
    }
    edits.settle(&mut |kind, name| kind == writing.kind && name == id);
    part.body.clear();
    project::write(&mut part.body, writing.kind, &plan.view, stored, &edits, document.text());
    part.counts = Counts { released: 1, filtered: 0 };
    part.resources = vec![label(writing.kind, &id, stored)];
    part
}

/// Done, with nothing shown of it.
fn accepted(writing: &Writing, named: Option<(&str, Option<&str>)>, base: Option<&str>) -> Part {
    let status = if writing.is_create() { 201 } else { 200 };
    let body = match writing.returns {
        Returns::Minimal => Vec::new(),
        Returns::Representation | Returns::Outcome => {
            outcome::outcome("information", "informational", "the resource was stored")
        }
    };
    let mut part = Part::new(status, None, body);
    if let Some((id, version)) = named {
        let kind = writing.kind;
        part.etag = version.map(|version| format!("W/\"{version}\""));
        part.location = base.map(|base| match version {
            Some(version) => format!("{base}/{kind}/{id}/_history/{version}"),
            None => format!("{base}/{kind}/{id}"),
        });
        part.resources = vec![match version {
            Some(version) => format!("{kind}/{id}/_history/{version}"),
            None => format!("{kind}/{id}"),
        }];
    }
    part
}

fn unknown() -> Part {
    let says = "it is not known whether the change was made; read before trying again";
    Part::refused(500, Reason::OutcomeUnknown, outcome::outcome("error", "incomplete", says))
}

/// The id and version in a `Location` on the upstream, absolute or relative.
fn located(plan: &Plan, kind: ResourceType, location: &str) -> Option<(String, Option<String>)> {
    let base = plan.cx.upstream_base.as_str();
    let relative = location.strip_prefix(base).map_or(location, |rest| rest.trim_start_matches('/'));
    let mut parts = relative.split('/');
    let (found, id) = (parts.next()?, parts.next()?);
    let version = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => None,
        (Some("_history"), Some(version), None) if Id::fits(version) => Some(version.to_owned()),
        _ => return None,
    };
    (found == kind.name() && Id::fits(id)).then(|| (id.to_owned(), version))
}
