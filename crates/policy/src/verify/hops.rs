//! The searches before a search: what a chain's type has that fits, and then the search that refers to it.

use domain::Reason;
use fhir::ResourceType;
use fhir::json::Document;
use fhir::params::ParamKind;
use fhir::request::{Asked, Param, VALUES_MAX};

use super::{Part, Sealer, Step, bundle, connect, search};
use crate::decide::{Denial, in_order};
use crate::permit::{Plan, UpstreamBody, UpstreamCall, Verb};
use crate::released::Finding;
use crate::shape::{Hop, Joins, SearchShape};

pub(super) fn step(plan: &mut Plan, shape: &mut SearchShape, document: &Document<'_>, seal: &mut Sealer<'_>) -> Step {
    let (Some(waiting), false) = (shape.waiting.as_mut(), shape.hops.is_empty()) else { return Part::broken().into() };
    let Hop { kind, query, narrowed_by, joins, found } = shape.hops.remove(0);
    let asked = std::mem::replace(&mut plan.kind, kind);
    let inner = SearchShape { narrowed_by: Some(narrowed_by), ..SearchShape::default() };
    let judged = search::judged(plan, &inner, document.root(), seal);
    plan.kind = asked;
    let Some(judged) = judged else { return Part::broken().into() };
    if judged.left_out() {
        // The upstream ignored the filter here as it would in a search of the caller's own.
        return Part { findings: judged.findings, ..Part::broken() }.into();
    }
    let mut values = found;
    for entry in &judged.accepted {
        match joins {
            Joins::By(_) => values.push(format!("{}/{}", entry.kind, entry.id)),
            Joins::From(link) => connect::by_param(&plan.cx, entry.kind, link, entry.resource, &mut |(kind, id)| {
                // A reference to another patient is masked, so it leads nowhere (p11).
                let masked = kind == ResourceType::PATIENT && id != plan.cx.patient.as_str();
                if kind == asked && !masked {
                    values.push(id);
                }
            }),
        }
    }
    values.sort_unstable();
    values.dedup();
    // Only what was found is counted: how much is hidden on the way is not to be told by a refusal.
    if values.len() > VALUES_MAX {
        return too_many(kind);
    }
    // What leads to the session's patient alone cannot lead to more.
    let whole = asked == ResourceType::PATIENT && !values.is_empty();
    if let (Some(url), false) = (bundle::next_url(document.root()), whole) {
        let Some((path, page)) = bundle::below_base(&url, &plan.cx.upstream_base) else {
            return Part { findings: vec![Finding::ForeignLink], ..Part::broken() }.into();
        };
        let call = UpstreamCall::get(path, page);
        shape.hops.insert(0, Hop { kind, query, narrowed_by, joins, found: values });
        return Step::Next(call);
    }
    if matches!(joins, Joins::From(_)) {
        // One list of ids for one meaning: an upstream that takes the last of two would find others (SR-07).
        if let Some(at) = waiting.params.iter().position(|param| param.name == "_id" && param.modifier.is_none()) {
            let wanted = waiting.params.remove(at);
            values.retain(|id| wanted.values.contains(id));
        }
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
    in_order(waiting);
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

fn too_many(kind: ResourceType) -> Step {
    let says = format!("too many instances of `{kind}` fit the chain; search `{kind}` itself and narrow it");
    Step::Denied(Denial::new(Reason::TooCostly, says))
}
