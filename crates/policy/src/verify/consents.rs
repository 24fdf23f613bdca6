//! The answer to a search for Consents: rules, or that they cannot be known.

use fhir::json::Document;

use super::{Step, bundle, judge};
use crate::consent::{Consents, ConsentsBuilder};
use crate::permit::{Plan, UpstreamAnswer, UpstreamCall};

/// A server without the type has no Consents; any other failure leaves unknown what the patient wants, which denies all.
pub(super) fn step(plan: &Plan, builder: &mut ConsentsBuilder, answer: &UpstreamAnswer) -> Step {
    match answer.status {
        200 => {}
        404 if plan.steps == 1 => return Step::Consents(Some(Consents::none())),
        _ => return Step::Consents(None),
    }
    let Some(document) = super::parse(answer) else { return Step::Consents(None) };
    let Some(entries) = bundle::entries(document.root(), "searchset") else { return Step::Consents(None) };
    for entry in entries {
        // What came without a body, or shortened, may be the very rule that forbids.
        let Some(resource) = entry.get("resource").filter(|resource| !judge::is_subsetted(*resource)) else {
            return Step::Consents(None);
        };
        builder.add(resource);
    }
    match next(plan, &document) {
        Ok(Some(call)) => Step::Next(call),
        Ok(None) => Step::Consents(Some(std::mem::replace(builder, fresh(plan)).build())),
        Err(()) => Step::Consents(None),
    }
}

fn next(plan: &Plan, document: &Document<'_>) -> Result<Option<UpstreamCall>, ()> {
    let Some(url) = bundle::next_url(document.root()) else { return Ok(None) };
    let (path, query) = bundle::below_base(&url, &plan.cx.upstream_base).ok_or(())?;
    Ok(Some(UpstreamCall::get(path, query)))
}

fn fresh(plan: &Plan) -> ConsentsBuilder {
    ConsentsBuilder::new(&plan.cx.patient, &plan.cx.upstream_base)
}
