//! `$everything`: each resource needs the grant of its own type, whatever the operation brings (OP-02 … OP-06).

use fhir::json::Document;

use super::bundle::{self, Judged};
use super::{Part, Sealer, Step};
use crate::cursor::{PageCursor, Pages};
use crate::grants::EITHER;
use crate::permit::Plan;

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
    let next = bundle::next_page(plan, document.root(), None, Pages::Everything, &mut judged.findings);
    let base = format!("{}/{}/{}/$everything", plan.cx.public_base, plan.kind, plan.cx.patient);
    let own = match page {
        Some(cursor) => bundle::page_url(plan, cursor, seal).unwrap_or(base),
        None if applied.is_empty() => base,
        None => format!("{base}?{applied}"),
    };
    let next = next.and_then(|cursor| bundle::page_url(plan, &cursor, seal));
    bundle::build(plan, document, judged, &own, next.as_deref()).into()
}
