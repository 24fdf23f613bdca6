//! `$everything`: each resource needs the grant of its own type, whatever the operation brings (OP-02 … OP-06).

use fhir::json::{Document, Value};

use super::bundle::{self, Judged, Next};
use super::{Part, Sealer, Step, fill};
use crate::cursor::{PageCursor, Pages};
use crate::grants::EITHER;
use crate::permit::Plan;
use crate::shape::Filling;

pub(super) fn step(
    plan: &Plan,
    asked: (Option<&PageCursor>, &str),
    filling: &mut Filling,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Step {
    let Some(entries) = bundle::entries(document.root(), "searchset") else { return Part::broken().into() };
    let mut judged = each(plan, entries.into_iter(), seal);
    filling.learn(document.root(), judged.seen);
    let over = fill::cut(filling, &mut judged, false);
    if over.is_none()
        && let Some(call) = bundle::next_call(plan, document.root(), &mut judged.findings)
    {
        return fill::ask_on(filling, judged, call);
    }
    let (own, next) = links(plan, asked, filling.size, over.map(|start| fill::here(plan, start)), seal);
    if filling.is_single() {
        filling.add_to(&mut judged);
        bundle::settle(&mut judged.accepted);
        return bundle::build(plan, document, judged, &own, next.as_deref()).into();
    }
    whole(plan, filling, judged, &own, next.as_deref(), seal).into()
}

fn each<'d>(plan: &Plan, entries: impl Iterator<Item = Value<'d>>, seal: &mut Sealer<'_>) -> Judged<'d> {
    let mut judged = Judged::default();
    for entry in entries {
        judged.seen += 1;
        // What is not granted leaves no trace: that there is something is for its own scope to tell.
        match entry.get("resource").map(|resource| bundle::accept(plan, resource, &EITHER, false, seal)) {
            Some(Ok(accepted)) => judged.accepted.push(accepted),
            _ => judged.filtered += 1,
        }
    }
    judged
}

/// A page that was gathered from several: judged once more as the one it is now.
pub(super) fn whole(
    plan: &Plan,
    filling: &mut Filling,
    mut found: Judged<'_>,
    own: &str,
    next: Option<&str>,
    seal: &mut Sealer<'_>,
) -> Part {
    let text = filling.whole(&mut found);
    let Ok(document) = Document::parse(text.as_bytes()) else { return Part::broken() };
    let mut judged = each(plan, fill::entries(&document), seal);
    if judged.filtered > 0 {
        return Part::broken();
    }
    (judged.filtered, judged.findings) = (found.filtered, found.findings);
    bundle::settle(&mut judged.accepted);
    bundle::build(plan, &document, judged, own, next)
}

/// The addresses of this page and of the next.
pub(super) fn links(
    plan: &Plan,
    asked: (Option<&PageCursor>, &str),
    size: Option<u32>,
    next: Option<Next>,
    seal: &mut Sealer<'_>,
) -> (String, Option<String>) {
    let base = format!("{}/{}/{}/$everything", plan.cx.public_base, plan.kind, plan.cx.patient);
    let own = bundle::own_url(plan, base, asked, seal);
    let next = next.and_then(|next| {
        let cursor = bundle::cursor(plan, size, next, None, Pages::Everything);
        bundle::page_url(plan, &cursor, seal)
    });
    (own, next)
}
