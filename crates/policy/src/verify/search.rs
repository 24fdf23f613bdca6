//! Search answers: every entry judged by itself, and the Bundle built anew.

use domain::Actions;
use fhir::json::{Document, Value};

use super::bundle::{self, Judged, Next};
use super::{Part, Sealer, Step, connect, fill, hops, identity, judge, last};
use crate::criteria;
use crate::cursor::Pages;
use crate::grants::EITHER;
use crate::permit::{Plan, UpstreamCall};
use crate::released::Finding;
use crate::shape::SearchShape;

pub(super) fn step(plan: &mut Plan, shape: &mut SearchShape, document: &Document<'_>, seal: &mut Sealer<'_>) -> Step {
    if shape.waiting.is_some() {
        return hops::step(plan, shape, document, seal);
    }
    if shape.last.is_some() {
        let Some(judged) = judged(plan, shape, document.root(), seal) else { return Part::broken().into() };
        let Some(last) = shape.last.as_mut() else { return Part::broken().into() };
        return last::step(plan, last, document, judged);
    }
    let Some(mut judged) = each(plan, shape, document.root(), seal) else { return Part::broken().into() };
    shape.filling.learn(document.root(), judged.seen);
    let includes = includes(shape);
    let over = fill::cut(&mut shape.filling, &mut judged, includes).filter(|_| !judged.left_out());
    if over.is_none()
        && let Some(call) = following(plan, shape, document.root(), &mut judged)
    {
        return fill::ask_on(&mut shape.filling, judged, call);
    }
    let (own, next) = links(plan, shape, over.map(|start| fill::here(plan, start)), seal);
    if shape.filling.is_single() {
        shape.filling.add_to(&mut judged);
        in_one(plan, shape, &mut judged);
        return bundle::build(plan, document, judged, &own, next.as_deref()).into();
    }
    whole(plan, shape, judged, &own, next.as_deref(), seal).into()
}

/// A page that was gathered from several: judged once more as the one it is now.
pub(super) fn whole(
    plan: &Plan,
    shape: &mut SearchShape,
    mut found: Judged<'_>,
    own: &str,
    next: Option<&str>,
    seal: &mut Sealer<'_>,
) -> Part {
    let text = shape.filling.whole(&mut found);
    let Ok(document) = Document::parse(text.as_bytes()) else { return Part::broken() };
    // Each was found in its slice when it came.
    shape.union = None;
    let mut judged = Judged::default();
    for entry in fill::entries(&document) {
        judge_entry(plan, shape, entry, &mut judged, seal);
    }
    if judged.filtered > 0 {
        // The same bytes under the same rules.
        return Part::broken();
    }
    (judged.filtered, judged.remarks, judged.findings) = (found.filtered, found.remarks, found.findings);
    in_one(plan, shape, &mut judged);
    bundle::build(plan, &document, judged, own, next)
}

fn in_one(plan: &Plan, shape: &SearchShape, judged: &mut Judged<'_>) {
    connect::keep_connected(&plan.cx, shape, judged);
    fill::in_order(judged);
    bundle::settle(&mut judged.accepted);
}

/// What is asked behind this page of the upstream's: its next one, or the next slice of the scope (SR-32).
pub(super) fn following(
    plan: &Plan,
    shape: &mut SearchShape,
    bundle: Value<'_>,
    judged: &mut Judged<'_>,
) -> Option<UpstreamCall> {
    if shape.empty || judged.left_out() {
        return None;
    }
    let next = bundle::next_call(plan, bundle, &mut judged.findings);
    if next.is_some() {
        return next;
    }
    let union = shape.union.as_mut().filter(|union| !union.rest.is_empty())?;
    let query = union.rest.remove(0);
    union.at += 1;
    Some(UpstreamCall::get(plan.kind.name(), query))
}

/// The addresses of this page and of the next.
pub(super) fn links(
    plan: &Plan,
    shape: &SearchShape,
    next: Option<Next>,
    seal: &mut Sealer<'_>,
) -> (String, Option<String>) {
    let base = format!("{}/{}", plan.cx.public_base, plan.kind);
    let own = bundle::own_url(plan, base, (shape.page.as_ref(), &shape.applied), seal);
    let next = next.and_then(|next| {
        let pages = Pages::Search {
            includes: shape.includes.clone(),
            revincludes: shape.revincludes.clone(),
            slice: shape.union.as_ref().map(|union| union.at),
            rest: shape.union.as_ref().map(|union| union.rest.clone()).unwrap_or_default(),
        };
        let cursor = bundle::cursor(plan, shape.filling.size, next, shape.narrowed_by, pages);
        bundle::page_url(plan, &cursor, seal)
    });
    (own, next)
}

pub(super) fn includes(shape: &SearchShape) -> bool {
    !shape.includes.is_empty() || !shape.revincludes.is_empty()
}

/// A search that is answered within something else: the upstream's own page, which nothing can be filled from any more. The
/// address of those behind it stands only where this one is whole: a page that is short and leads on would tell why.
pub(super) fn within(
    plan: &Plan,
    shape: &SearchShape,
    bundle: Value<'_>,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Part {
    let Some(mut judged) = judged(plan, shape, bundle, seal) else { return Part::broken() };
    let next = if judged.filtered > 0 {
        None
    } else {
        bundle::next_call(plan, bundle, &mut judged.findings).map(|at| Next { at, start: None })
    };
    let (own, next) = links(plan, shape, next, seal);
    bundle::build(plan, document, judged, &own, next.as_deref())
}

/// The entries that may be released, settled; `None` when the answer is no searchset.
pub(super) fn judged<'d>(
    plan: &Plan,
    shape: &SearchShape,
    bundle: Value<'d>,
    seal: &mut Sealer<'_>,
) -> Option<Judged<'d>> {
    let mut judged = each(plan, shape, bundle, seal)?;
    in_one(plan, shape, &mut judged);
    Some(judged)
}

/// The entries that may be released, each by itself.
fn each<'d>(plan: &Plan, shape: &SearchShape, bundle: Value<'d>, seal: &mut Sealer<'_>) -> Option<Judged<'d>> {
    let entries = bundle::entries(bundle, "searchset")?;
    let mut judged = Judged::default();
    for entry in entries {
        if shape.empty {
            judged.filtered += 1;
        } else {
            judge_entry(plan, shape, entry, &mut judged, seal);
        }
    }
    Some(judged)
}

pub(super) fn judge_entry<'d>(
    plan: &Plan,
    shape: &SearchShape,
    entry: Value<'d>,
    judged: &mut Judged<'d>,
    seal: &mut Sealer<'_>,
) {
    // `search.mode` is the upstream's word: it decides how an entry is shown, never whether it is judged (SR-23).
    let said_included =
        entry.get("search").and_then(|search| search.get("mode")).is_some_and(|mode| mode.is_str("include"));
    let Some(resource) = entry.get("resource") else {
        judged.seen += u32::from(!said_included);
        judged.filtered += 1;
        return;
    };
    if resource.get("resourceType").is_some_and(|kind| kind.is_str("OperationOutcome")) {
        judged.remarks = true;
        return;
    }
    let Some((kind, id)) = identity(resource) else {
        judged.seen += u32::from(!said_included);
        judged.filtered += 1;
        return;
    };
    judged.seen += u32::from(!said_included && kind == plan.kind);
    let includes = includes(shape);
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
