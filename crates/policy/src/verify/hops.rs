//! The searches before a search: what a chain's type has that fits, and then the search that refers to it.

use domain::Reason;
use fhir::json::Document;
use fhir::params::ParamKind;
use fhir::request::{Asked, Param, VALUES_MAX};

use super::{Part, Sealer, Step, bundle, connect, search};
use crate::decide::Denial;
use crate::permit::{Plan, UpstreamBody, UpstreamCall, Verb};
use crate::shape::{Hop, Joins, SearchShape};

pub(super) fn step(plan: &mut Plan, shape: &mut SearchShape, document: &Document<'_>, seal: &mut Sealer<'_>) -> Step {
    let (Some(waiting), false) = (shape.waiting.as_mut(), shape.hops.is_empty()) else { return Part::broken().into() };
    let Hop { kind, narrowed_by, joins, .. } = shape.hops.remove(0);
    let asked = std::mem::replace(&mut plan.kind, kind);
    let inner = SearchShape { narrowed_by: Some(narrowed_by), ..SearchShape::default() };
    let judged = search::judged(plan, &inner, document.root(), seal);
    plan.kind = asked;
    let Some(judged) = judged else { return Part::broken().into() };
    if judged.left_out() {
        // The upstream ignored the filter here as it would in a search of the caller's own.
        return Part { findings: judged.findings, ..Part::broken() }.into();
    }
    let mut values: Vec<String> = Vec::new();
    for entry in &judged.accepted {
        match joins {
            Joins::By(_) => values.push(format!("{}/{}", entry.kind, entry.id)),
            Joins::From(link) => connect::by_param(&plan.cx, entry.kind, link, entry.resource, &mut |(kind, id)| {
                if kind == asked {
                    values.push(id);
                }
            }),
        }
    }
    values.sort_unstable();
    values.dedup();
    if values.len() > VALUES_MAX || bundle::next_url(document.root()).is_some() {
        let says = format!("too many instances of `{kind}` fit the chain; search `{kind}` itself and narrow it");
        return Step::Denied(Denial::new(Reason::TooCostly, says));
    }
    if values.is_empty() {
        // Nothing can refer to nothing: the answer is empty, and the upstream is not asked.
        let own = format!("{}/{asked}?{}", plan.cx.public_base, shape.applied);
        return bundle::build(plan, document, bundle::Judged::default(), &own, None).into();
    }
    let (name, kind) = match joins {
        Joins::By(link) => (link, ParamKind::Reference),
        Joins::From(_) => ("_id", ParamKind::Token),
    };
    waiting.params.push(Param { name, kind, modifier: None, values });
    if let Some(hop) = shape.hops.first() {
        return Step::Next(UpstreamCall::get(hop.kind.name(), hop.query.clone()));
    }
    let query = waiting.canonical_query();
    let call = match waiting.asked {
        Asked::Form => UpstreamCall {
            verb: Verb::Post,
            path: format!("{asked}/_search"),
            query: String::new(),
            body: Some(UpstreamBody::Form(query)),
            if_match: None,
        },
        _ => UpstreamCall::get(asked.name(), query),
    };
    shape.waiting = None;
    Step::Next(call)
}
