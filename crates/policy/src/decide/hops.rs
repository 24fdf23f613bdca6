//! Chains and `_has`: answered by a search of the type they look into, judged like any other, and then by a search that
//! refers to what was found. So they tell nothing the caller could not ask by itself (CH-01 … CH-16).

use domain::{Actions, Reason};
use fhir::request::{Asked, Hop as Asks, Search, View};

use super::{Denial, Frame, search};
use crate::shape::{Hop, Joins};

/// Most chains in one search: each is a search of its own.
const HOPS_MAX: usize = 4;

/// The searches to make first. S1-26: a type that is not granted is 403; what cannot be proved harmless is 400.
pub(super) fn plan(frame: &Frame<'_>, asked: &Search) -> Result<Vec<Hop>, Denial> {
    for inference in &asked.inference {
        if let Some(kind) = inference.types.iter().find(|kind| !frame.cx.grants.includes(**kind)) {
            return Err(Denial::new(
                Reason::InferenceRefused,
                format!("`{}` would draw conclusions from `{kind}`, which is not granted", inference.param),
            ));
        }
    }
    if asked.inference.len() > HOPS_MAX {
        return Err(Denial::new(Reason::TooCostly, format!("at most {HOPS_MAX} chains are followed in one search")));
    }
    let mut hops = Vec::with_capacity(asked.inference.len());
    for inference in &asked.inference {
        let refused = || {
            Denial::new(
                Reason::NotSupported,
                format!("`{}`: this chain cannot be confined to the session's patient", inference.param),
            )
        };
        let asks = inference.hop.as_ref().ok_or_else(refused)?;
        hops.push(hop(frame, asks)?.ok_or_else(refused)?);
    }
    Ok(hops)
}

/// The type must be granted whole and be the session's patient's own: then the search finds just what is released.
fn hop(frame: &Frame<'_>, asks: &Asks) -> Result<Option<Hop>, Denial> {
    let kind = asks.kind;
    let whole = frame.cx.grants.covering(kind, &[Actions::SEARCH]).any(|clause| clause.scope.filter.is_none());
    if !whole || frame.cx.grants.shares(kind) {
        return Ok(None);
    }
    let mut inner = Search {
        kind,
        compartment: None,
        asked: Asked::Get,
        params: vec![asks.wanted.clone()],
        inference: Vec::new(),
        includes: Vec::new(),
        revincludes: Vec::new(),
        sort: Vec::new(),
        count: Some(frame.rules.count_max),
        total: None,
        view: View::default(),
    };
    if search::name_patient(frame, &mut inner)?.empty {
        return Ok(None);
    }
    let Some(narrowed_by) = search::narrow(frame, &mut inner)? else { return Ok(None) };
    search::in_order(&mut inner);
    let joins = if asks.reverse { Joins::From(asks.link) } else { Joins::By(asks.link) };
    Ok(Some(Hop { kind, query: inner.canonical_query(), narrowed_by, joins, found: Vec::new() }))
}
