//! `$everything`: each resource needs the grant of its own type, whatever the operation brings (OP-02 … OP-06).

use fhir::json::{Document, Value};

use super::bundle::{self, Judged};
use super::{Part, Sealer, Step};
use crate::cursor::{PageCursor, Pages};
use crate::grants::EITHER;
use crate::permit::{Plan, UpstreamCall};

pub(super) fn step(
    plan: &Plan,
    page: Option<&PageCursor>,
    applied: &str,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Step {
    let Some(entries) = bundle::entries(document.root(), "searchset") else { return Part::broken().into() };
    let mut judged = Judged::default();
    for entry in entries {
        // What is not granted leaves no trace: that there is something is for its own scope to tell.
        match entry.get("resource").map(|resource| bundle::accept(plan, resource, &EITHER, false, seal)) {
            Some(Ok(accepted)) => judged.accepted.push(accepted),
            _ => judged.filtered += 1,
        }
    }
    bundle::settle(&mut judged.accepted);
    let empty = judged.accepted.is_empty();
    match links(plan, page, applied, document.root(), empty, &mut judged, seal) {
        Ok((own, next)) => bundle::build(plan, document, judged, &own, next.as_deref()).into(),
        Err(call) => Step::Next(call),
    }
}

/// The addresses of this page and of the next; or what is asked instead, where nothing on this one is released.
pub(super) fn links(
    plan: &Plan,
    page: Option<&PageCursor>,
    applied: &str,
    bundle: Value<'_>,
    empty: bool,
    judged: &mut Judged<'_>,
    seal: &mut Sealer<'_>,
) -> Result<(String, Option<String>), UpstreamCall> {
    let next = bundle::next_page(plan, bundle, None, Pages::Everything, &mut judged.findings);
    if let Some(call) = bundle::past_empty(plan, empty, next.as_ref()) {
        return Err(call);
    }
    let base = format!("{}/{}/{}/$everything", plan.cx.public_base, plan.kind, plan.cx.patient);
    let own = match page {
        Some(cursor) => bundle::page_url(plan, cursor, seal).unwrap_or(base),
        None if applied.is_empty() => base,
        None => format!("{base}?{applied}"),
    };
    Ok((own, next.and_then(|cursor| bundle::page_url(plan, &cursor, seal))))
}
