//! Searching the shelf: reads a query, filters, sorts, follows includes and cuts a page.

pub(crate) mod compare;
mod include;
pub(crate) mod table;

use std::cmp::Ordering;
use std::sync::Arc;

use fhir::params::{ParamKind, SearchParam};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::fault::Fault;
use crate::shelf::{Shelf, Stored};

/// Most parameters of one search.
const PARAMETERS_MAX: usize = 200;

/// Everything but RFC 3986 unreserved characters is escaped in the links this server writes.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parameters that steer the answer instead of filtering.
const STEERING: [&str; 12] = [
    "_count",
    "_sort",
    "_include",
    "_revinclude",
    "_elements",
    "_summary",
    "_total",
    "_format",
    "_pretty",
    "_page",
    "_contained",
    "_containedType",
];

/// Decoded `name=value` pairs of a query or a form, in order.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(PARAMETERS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Writes pairs as a query again.
pub(crate) fn query(pairs: &[(String, String)]) -> String {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&")
}

/// Whether an entry was asked for or comes along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Match,
    Include,
}

/// One page of results.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<(Arc<Value>, Mode)>,
    /// Matches in all pages; absent when the search asked for no total.
    pub(crate) total: Option<usize>,
    /// Offset of the next page.
    pub(crate) next: Option<usize>,
}

/// What to do with a parameter this server does not know.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownParameters {
    /// Pass over it, as most servers do by default.
    #[default]
    Ignore,
    /// Answer 400.
    Refuse,
}

/// One search, ready to run.
pub(crate) struct Search<'a> {
    pub(crate) kind: &'a str,
    pub(crate) pairs: &'a [(String, String)],
    pub(crate) offset: usize,
    /// Matches on a page.
    pub(crate) count: usize,
    pub(crate) base: &'a str,
    pub(crate) unknown: UnknownParameters,
    pub(crate) faults: &'a [Fault],
}

impl Search<'_> {
    fn first(&self, wanted: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    fn ignores(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.ignores(bare(name)))
    }

    /// Everything that matches, unsorted; the error is the name of a parameter this server does not know.
    pub(crate) fn matches<'s>(&'s self, shelf: &'s Shelf) -> Result<Vec<&'s Stored>, String> {
        let mut matches: Vec<&Stored> = shelf.all(self.kind).collect();
        for (name, value) in self.pairs {
            if STEERING.contains(&bare(name)) || self.ignores(name) || value.is_empty() {
                continue;
            }
            let Some(parameter) = table::find(self.kind, bare(name)) else {
                match self.unknown {
                    UnknownParameters::Ignore => continue,
                    UnknownParameters::Refuse => return Err(name.clone()),
                }
            };
            let modifier = name.split_once(':').map(|(_, modifier)| modifier);
            matches.retain(|s| compare::matches(&s.resource, parameter, modifier, value, self.base));
        }
        Ok(matches)
    }

    /// Runs the search; the error is the name of a parameter this server does not know.
    pub(crate) fn run(&self, shelf: &Shelf) -> Result<Page, String> {
        let mut matches = self.matches(shelf)?;
        self.sort(&mut matches);
        let total = matches.len();
        let wants_total = self.first("_total") != Some("none");
        let mut page = Page { total: wants_total.then_some(total), ..Page::default() };
        if self.count == 0 || self.first("_summary") == Some("count") {
            page.total = Some(total);
            return Ok(page);
        }
        let on_page: Vec<&Stored> = matches.into_iter().skip(self.offset).take(self.count).collect();
        let reached = self.offset.saturating_add(on_page.len());
        page.next = (reached < total && !on_page.is_empty()).then_some(reached);
        let included = include::includes(self, shelf, &on_page);
        let shown = |stored: &Stored| self.project(&stored.resource);
        page.entries = on_page.iter().map(|s| (shown(s), Mode::Match)).collect();
        page.entries.extend(included.iter().map(|s| (shown(s), Mode::Include)));
        Ok(page)
    }

    fn sort(&self, matches: &mut [&Stored]) {
        let Some(order) = self.first("_sort") else { return };
        // The last key is sorted first: each sort is stable, so earlier keys end up on top.
        for key in order.split(',').rev() {
            let (key, down) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
            let Some(parameter) = table::find(self.kind, key) else { continue };
            matches.sort_by(|a, b| {
                let ordering = sort_key(a, parameter).partial_cmp(&sort_key(b, parameter)).unwrap_or(Ordering::Equal);
                if down { ordering.reverse() } else { ordering }
            });
        }
    }

    /// Applies `_elements` and `_summary`, in the smallest form that clients accept.
    fn project(&self, resource: &Arc<Value>) -> Arc<Value> {
        project(resource, self.first("_elements"), self.first("_summary"))
    }
}

/// The name of a parameter without its modifier.
fn bare(name: &str) -> &str {
    name.split_once(':').map_or(name, |(bare, _)| bare)
}

#[derive(PartialEq, PartialOrd)]
enum SortKey {
    Absent,
    Time(i64),
    Number(f64),
    Text(String),
}

fn sort_key(stored: &Stored, parameter: &SearchParam) -> SortKey {
    let first = parameter.paths.iter().flat_map(|path| compare::elements(&stored.resource, path.elements)).next();
    let Some(element) = first else { return SortKey::Absent };
    match parameter.kind {
        ParamKind::Date => compare::span_of(element).map_or(SortKey::Absent, |span| SortKey::Time(span.start)),
        ParamKind::Quantity => element.get("value").and_then(Value::as_f64).map_or(SortKey::Absent, SortKey::Number),
        _ => SortKey::Text(element.as_str().map_or_else(|| element.to_string(), str::to_lowercase)),
    }
}

/// Members that stay whatever `_elements` or `_summary` asks for.
const KEPT: [&str; 3] = ["resourceType", "id", "meta"];
/// Members that `_summary=true` leaves out.
const BULKY: [&str; 7] = ["text", "contained", "note", "extension", "photo", "communication", "referenceRange"];

/// A resource cut to `_elements` or `_summary` and tagged SUBSETTED; itself when neither asks for less.
pub(crate) fn project(resource: &Arc<Value>, elements: Option<&str>, summary: Option<&str>) -> Arc<Value> {
    let Value::Object(members) = resource.as_ref() else { return Arc::clone(resource) };
    let wanted: Option<Vec<&str>> = elements.map(|text| text.split(',').map(str::trim).collect());
    let keep = |key: &str| {
        if KEPT.contains(&key) {
            return true;
        }
        match (&wanted, summary) {
            (Some(wanted), _) => wanted.contains(&key),
            (None, Some("true")) => !BULKY.contains(&key),
            (None, Some("data")) => key != "text",
            (None, Some("text")) => key == "text",
            (None, _) => true,
        }
    };
    if wanted.is_none() && matches!(summary, None | Some("false")) {
        return Arc::clone(resource);
    }
    let mut kept: serde_json::Map<String, Value> =
        members.iter().filter(|(key, _)| keep(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    tag_subsetted(&mut kept);
    Arc::new(Value::Object(kept))
}

/// Adds the SUBSETTED tag (R4 §3.1.1.5.9).
pub(crate) fn tag_subsetted(resource: &mut serde_json::Map<String, Value>) {
    let tag =
        serde_json::json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"});
    let meta = resource.entry("meta").or_insert_with(|| serde_json::json!({}));
    if let Some(meta) = meta.as_object_mut()
        && let Some(tags) = meta.entry("tag").or_insert_with(|| serde_json::json!([])).as_array_mut()
    {
        tags.push(tag);
    }
}
