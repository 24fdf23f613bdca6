//! Search answers: every entry judged by itself, and the Bundle built anew.

use domain::Actions;
use fhir::json::{Document, Value};

use super::bundle::{self, Judged};
use super::{Part, Sealer, Step, connect, hops, identity, judge, last};
use crate::criteria;
use crate::cursor::Pages;
use crate::grants::EITHER;
use crate::permit::{Plan, UpstreamCall};
use crate::released::Finding;
use crate::shape::{SearchShape, Union};

pub(super) fn step(plan: &mut Plan, shape: &mut SearchShape, document: &Document<'_>, seal: &mut Sealer<'_>) -> Step {
    if shape.waiting.is_some() {
        return hops::step(plan, shape, document, seal);
    }
    let Some(mut judged) = judged(plan, shape, document.root(), seal) else { return Part::broken().into() };
    if let Some(last) = shape.last.as_mut() {
        return last::step(plan, last, document, judged);
    }
    let empty = judged.accepted.is_empty();
    match links(plan, shape, document.root(), empty, &mut judged, seal) {
        Ok((own, next)) => bundle::build(plan, document, judged, &own, next.as_deref()).into(),
        Err(call) => Step::Next(call),
    }
}

/// The addresses of this page and of the next; or what is asked instead, where this slice of the scope had no results.
pub(super) fn links(
    plan: &Plan,
    shape: &mut SearchShape,
    bundle: Value<'_>,
    empty: bool,
    judged: &mut Judged<'_>,
    seal: &mut Sealer<'_>,
) -> Result<(String, Option<String>), UpstreamCall> {
    let pages = |shape: &SearchShape, union: Option<&Union>| Pages::Search {
        includes: shape.includes.clone(),
        revincludes: shape.revincludes.clone(),
        slice: union.map(|union| union.at),
        rest: union.map(|union| union.rest.clone()).unwrap_or_default(),
    };
    let closed = shape.empty || judged.left_out();
    let mut next = if closed {
        None
    } else {
        let pages = pages(shape, shape.union.as_ref());
        bundle::next_page(plan, bundle, shape.narrowed_by, pages, &mut judged.findings)
    };
    // The slices of a scope follow one another (SR-32); a slice without results does not make a page of its own.
    if let (None, false, Some(union)) = (&next, closed, shape.union.as_mut())
        && !union.rest.is_empty()
    {
        let query = union.rest.remove(0);
        union.at += 1;
        if empty {
            return Err(UpstreamCall::get(plan.kind.name(), query));
        }
        let pages = pages(shape, shape.union.as_ref());
        next = Some(bundle::cursor(plan, plan.kind.name().to_owned(), query, shape.narrowed_by, pages));
    }
    if let Some(call) = bundle::past_empty(plan, empty, next.as_ref()) {
        return Err(call);
    }
    let base = format!("{}/{}", plan.cx.public_base, plan.kind);
    let own = match &shape.page {
        Some(cursor) => bundle::page_url(plan, cursor, seal).unwrap_or(base),
        None if shape.applied.is_empty() => base,
        None => format!("{base}?{}", shape.applied),
    };
    Ok((own, next.and_then(|cursor| bundle::page_url(plan, &cursor, seal))))
}

/// A search that is answered within something else, and so has no further pages.
pub(super) fn within(
    plan: &Plan,
    shape: &SearchShape,
    bundle: Value<'_>,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Part {
    let Some(judged) = judged(plan, shape, bundle, seal) else { return Part::broken() };
    let base = format!("{}/{}", plan.cx.public_base, plan.kind);
    let own = if shape.applied.is_empty() { base } else { format!("{base}?{}", shape.applied) };
    bundle::build(plan, document, judged, &own, None)
}

/// The entries that may be released, settled; `None` when the answer is no searchset.
pub(super) fn judged<'d>(
    plan: &Plan,
    shape: &SearchShape,
    bundle: Value<'d>,
    seal: &mut Sealer<'_>,
) -> Option<Judged<'d>> {
    let entries = bundle::entries(bundle, "searchset")?;
    let mut judged = Judged::default();
    for entry in entries {
        if shape.empty {
            judged.filtered += 1;
        } else {
            judge_entry(plan, shape, entry, &mut judged, seal);
        }
    }
    connect::keep_connected(&plan.cx, shape, &mut judged);
    bundle::settle(&mut judged.accepted);
    Some(judged)
}

pub(super) fn judge_entry<'d>(
    plan: &Plan,
    shape: &SearchShape,
    entry: Value<'d>,
    judged: &mut Judged<'d>,
    seal: &mut Sealer<'_>,
) {
    let Some(resource) = entry.get("resource") else {
        judged.filtered += 1;
        return;
    };
    if resource.get("resourceType").is_some_and(|kind| kind.is_str("OperationOutcome")) {
        judged.remarks = true;
        return;
    }
    let Some((kind, id)) = identity(resource) else {
        judged.filtered += 1;
        return;
    };
    // `search.mode` is the upstream's word: it decides how an entry is shown, never whether it is judged (SR-23).
    let includes = !shape.includes.is_empty() || !shape.revincludes.is_empty();
    let said_included =
        entry.get("search").and_then(|search| search.get_str("mode")).is_some_and(|mode| mode == "include");
    let included = includes && (said_included || kind != plan.kind);
    let letters: &[Actions] = if included { &EITHER } else { &[Actions::SEARCH] };
    if kind != plan.kind && !includes {
        judged.filtered += 1;
        return;
    }
    match bundle::accept(plan, resource, letters, included, seal) {
        Ok(accepted) if included || in_slice(plan, shape, resource) => judged.accepted.push(accepted),
        Ok(_) => judged.filtered += 1,
        Err(judge::Refusal) => {
            judged.filtered += 1;
            if let Some(param) = shape.narrowed_by
                && !included
                && judge::ignores_filter(&plan.cx, kind, &id, param, resource)
            {
                let finding = Finding::ForeignMatch { kind, param: param.to_owned() };
                if !judged.findings.contains(&finding) {
                    judged.findings.push(finding);
                }
            }
        }
    }
}

/// Where each slice is searched by itself: whether a resource belongs to the one at hand, the first it lies in.
fn in_slice(plan: &Plan, shape: &SearchShape, resource: Value<'_>) -> bool {
    let Some(union) = &shape.union else { return true };
    let mut slices = plan.cx.grants.covering(plan.kind, &[Actions::SEARCH]);
    let first = slices.position(|clause| {
        clause.scope.filter.as_ref().is_none_or(|filter| criteria::holds(plan.kind, filter, resource))
    });
    first == Some(usize::from(union.at))
}
