//! The slices a scope grants of one type, as search parameters (S1-34, SR-28 … SR-33).

use domain::{Actions, Filter};
use fhir::ResourceType;
use fhir::request::{Asked, Param, Search};

use super::Frame;
use crate::criteria;

/// Most slices that are searched one by one; more are told apart by verification alone.
const SLICES_MAX: usize = 8;

/// How a scope's slices are asked of the upstream. Verification applies them whatever was asked.
pub(super) enum Slices {
    /// The whole type is granted, or no search says the slices.
    Unsaid,
    /// One search says them.
    One(Vec<Param>),
    /// One search each (SR-32).
    Several(Vec<Vec<Param>>),
}

pub(super) fn of(frame: &Frame<'_>, search: &Search) -> Slices {
    let kind = search.kind;
    let mut filters: Vec<&Filter> = Vec::new();
    for clause in frame.cx.grants.covering(kind, &[Actions::SEARCH]) {
        match &clause.scope.filter {
            Some(filter) => filters.push(filter),
            None => return Slices::Unsaid,
        }
    }
    let all = |filter: &Filter| -> Vec<Param> {
        filter.pairs.iter().filter_map(|(name, value)| imposed(frame, kind, name, &[value])).collect()
    };
    match filters.as_slice() {
        [] => Slices::Unsaid,
        [only] => Slices::One(all(only)),
        several => match one_parameter(several) {
            Some((name, values)) => match imposed(frame, kind, name, &values) {
                Some(param) => Slices::One(vec![param]),
                None => Slices::Unsaid,
            },
            // An order over several searches is none, and what is last needs one.
            None if search.sort.is_empty()
                && !matches!(search.asked, Asked::LastN(_))
                && search.inference.is_empty()
                && several.len() <= SLICES_MAX =>
            {
                Slices::Several(several.iter().map(|filter| all(filter)).collect())
            }
            None => Slices::Unsaid,
        },
    }
}

/// The one parameter that all slices differ in: its values are alternatives (SR-30).
fn one_parameter<'f>(filters: &[&'f Filter]) -> Option<(&'f str, Vec<&'f String>)> {
    let mut found: Option<(&str, Vec<&String>)> = None;
    for filter in filters {
        let [(name, value)] = filter.pairs.as_slice() else { return None };
        match &mut found {
            None => found = Some((name, vec![value])),
            Some((known, values)) if known == name => values.push(value),
            Some(_) => return None,
        }
    }
    found
}

fn imposed(frame: &Frame<'_>, kind: ResourceType, name: &str, values: &[&String]) -> Option<Param> {
    let known = criteria::param(kind, name)?;
    if frame.rules.filters.is_poisoned(kind, name) {
        return None;
    }
    let mut alternatives = Vec::new();
    for value in values {
        for alternative in criteria::alternatives(value) {
            // `\|` and `\$` cannot be told from separators once un-escaped: left to verification.
            if alternative.contains("\\|") || alternative.contains("\\$") {
                return None;
            }
            let alternative = criteria::unescape(&alternative)?;
            if !alternatives.contains(&alternative) {
                alternatives.push(alternative);
            }
        }
    }
    Some(Param { name: known.name, kind: known.kind, modifier: None, values: alternatives })
}
