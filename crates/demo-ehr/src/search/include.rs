//! `_include` and `_revinclude`: what comes along with the matches of a page, over one hop or, with `:iterate`, over all.

use std::collections::HashSet;

use fhir::params::ParamKind;
use serde_json::Value;

use super::{Search, compare, table};
use crate::fault::Fault;
use crate::shelf::{Found, Shelf, Stored};

/// Most resources that includes may add to one page.
const INCLUDES_MAX: usize = 2000;
/// Most hops of an iterating include; chains in a chart are shorter, and loops end when nothing new comes.
const HOPS_MAX: usize = 20;

/// What has been included so far.
struct Included<'s> {
    seen: HashSet<(&'s str, &'s str)>,
    list: Vec<&'s Stored>,
}

impl<'s> Included<'s> {
    fn add(&mut self, stored: &'s Stored) {
        if self.list.len() < INCLUDES_MAX && self.seen.insert((stored.kind.as_str(), stored.id.as_str())) {
            self.list.push(stored);
        }
    }
}

/// `Type:parameter[:target]`.
struct Spec<'a> {
    source: &'a str,
    name: &'a str,
    target: Option<&'a str>,
}

impl<'a> Spec<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(':');
        Self { source: parts.next().unwrap_or(""), name: parts.next().unwrap_or(""), target: parts.next() }
    }
}

/// Resources that `_include` and `_revinclude` add, each once.
pub(super) fn includes<'s>(search: &Search<'_>, shelf: &'s Shelf, matches: &[&'s Stored]) -> Vec<&'s Stored> {
    let seen = matches.iter().map(|stored| (stored.kind.as_str(), stored.id.as_str())).collect();
    let mut included = Included { seen, list: Vec::new() };
    let mut sources = matches.to_vec();
    for hop in 0..HOPS_MAX {
        let before = included.list.len();
        for (name, value) in search.pairs {
            let (name, modifier) =
                name.split_once(':').map_or((name.as_str(), None), |(name, rest)| (name, Some(rest)));
            // `:recurse` is what `:iterate` was called before R4.
            if hop > 0 && !matches!(modifier, Some("iterate" | "recurse")) {
                continue;
            }
            match name {
                "_include" => forwards(search, shelf, &Spec::read(value), &sources, &mut included),
                "_revinclude" => backwards(search, shelf, &Spec::read(value), &sources, &mut included),
                _ => {}
            }
        }
        sources = included.list.iter().skip(before).copied().collect();
        if sources.is_empty() {
            break;
        }
    }
    included.list
}

/// What the sources refer to.
fn forwards<'s>(
    search: &Search<'_>,
    shelf: &'s Shelf,
    spec: &Spec<'_>,
    sources: &[&'s Stored],
    included: &mut Included<'s>,
) {
    for stored in sources.iter().filter(|stored| spec.source == stored.kind || spec.source == "*") {
        let wanted = references(&stored.resource, &stored.kind, spec.name, search.base);
        for (kind, id) in wanted.iter().filter_map(|text| text.split_once('/')) {
            if spec.target.is_some_and(|target| target != kind) {
                continue;
            }
            if let Found::Here(hit) = shelf.find(kind, id) {
                included.add(hit);
                if search.faults.contains(&Fault::IncludeEverything) {
                    shelf.all(&hit.kind).for_each(|other| included.add(other));
                }
            }
        }
    }
}

/// What refers to the sources.
fn backwards<'s>(
    search: &Search<'_>,
    shelf: &'s Shelf,
    spec: &Spec<'_>,
    sources: &[&'s Stored],
    included: &mut Included<'s>,
) {
    let Some(kind) = shelf.kinds().find(|kind| *kind == spec.source) else { return };
    let targets: HashSet<(&str, &str)> = sources.iter().map(|s| (s.kind.as_str(), s.id.as_str())).collect();
    let everything = search.faults.contains(&Fault::IncludeEverything);
    for stored in shelf.all(kind) {
        let hit = references(&stored.resource, kind, spec.name, search.base)
            .iter()
            .filter_map(|text| text.split_once('/'))
            .any(|target| spec.target.is_none_or(|kind| kind == target.0) && targets.contains(&target));
        if hit || everything {
            included.add(stored);
        }
    }
}

fn references(resource: &Value, kind: &str, name: &str, base: &str) -> Vec<String> {
    let parameters: Vec<_> = match name {
        "*" | "" => table::all(kind).filter(|p| p.kind == ParamKind::Reference).collect(),
        name => table::find(kind, name).into_iter().collect(),
    };
    let found = parameters.iter().flat_map(|p| p.paths.iter().map(|path| (path.elements, path.patient_only)));
    found
        .flat_map(|(path, patient_only)| compare::elements(resource, path).into_iter().map(move |e| (e, patient_only)))
        .filter_map(|(element, patient_only)| {
            let reference = compare::local(element.get("reference")?.as_str()?, base);
            (!patient_only || reference.starts_with("Patient/")).then_some(reference)
        })
        .collect()
}
