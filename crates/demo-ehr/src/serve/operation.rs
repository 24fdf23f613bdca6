//! The operations `Patient/{id}/$everything` and `Observation/$lastn`.

use std::collections::{HashMap, HashSet};

use fhir::compartment::patient_paths;
use serde_json::Value;

use crate::fault::Fault;
use crate::search::compare::{elements, local, span_of};
use crate::search::{Mode, Search, table};
use crate::serve::listing::{Listed, Listing, unknown};
use crate::serve::message::{Entry, Refused};
use crate::serve::outcome;
use crate::serve::route::State;
use crate::shelf::{Found, Shelf, Stored};
use crate::time::{self, Span};

/// Types that belong to nobody, and come along when a chart refers to them.
const SHARED: [&str; 5] = ["Location", "Medication", "Organization", "Practitioner", "PractitionerRole"];
/// Parameters that say when something was, the best one first.
const DATES: [&str; 9] = [
    "date",
    "period",
    "onset-date",
    "recorded-date",
    "authoredon",
    "effective-time",
    "authored-on",
    "created",
    "recorded",
];

impl State {
    /// A patient's chart: the patient, the compartment, and what it refers to that belongs to nobody.
    pub(super) fn everything(&self, shelf: &Shelf, id: &str, listing: &Listing<'_>) -> Result<Listed, Refused> {
        let patient = match shelf.find("Patient", id) {
            _ if listing.faults.contains(&Fault::Gone) => return Err(self.gone(shelf, "Patient", id)),
            Found::Here(stored) => stored,
            Found::Deleted => return Err(self.gone(shelf, "Patient", id)),
            Found::Absent => {
                let outcome = outcome::not_found("Patient", id, &self.bystander(shelf, id));
                return Err(Refused { status: 404, outcome });
            }
        };
        let everyone = listing.faults.contains(&Fault::EverythingOfEveryone);
        let own = format!("Patient/{id}");
        let mut chart = vec![patient];
        for kind in shelf.kinds() {
            let paths = kind.parse().map(patient_paths).unwrap_or_default();
            let inside = |stored: &&Stored| {
                let mut references = paths.iter().flat_map(|path| elements(&stored.resource, path.elements));
                references.any(|element| {
                    let reference = element.get("reference").and_then(Value::as_str);
                    reference.is_some_and(|text| {
                        let text = local(text, &self.base);
                        text == own || (everyone && text.starts_with("Patient/"))
                    })
                })
            };
            let others = |stored: &&Stored| everyone && kind == "Patient" || inside(stored);
            chart.extend(shelf.all(kind).filter(others).filter(|stored| stored.id != id || kind != "Patient"));
        }
        let shared = self.shared(shelf, &chart, listing);
        let wanted = Wanted::read(listing);
        let entry = |stored: &Stored, mode| Entry::found(stored.resource.clone(), Some(mode));
        let mut entries: Vec<Entry> =
            chart.iter().filter(|s| wanted.holds(s, Mode::Match)).map(|s| entry(s, Mode::Match)).collect();
        let total = entries.len();
        entries.extend(shared.iter().filter(|s| wanted.holds(s, Mode::Include)).map(|s| entry(s, Mode::Include)));
        Ok(listing.page("searchset", total, entries))
    }

    /// What a chart refers to that belongs to nobody, each once.
    fn shared<'s>(&self, shelf: &'s Shelf, chart: &[&'s Stored], listing: &Listing<'_>) -> Vec<&'s Stored> {
        let mut names = Vec::new();
        chart.iter().for_each(|stored| references(&stored.resource, &mut names));
        let everything = listing.faults.contains(&Fault::IncludeEverything);
        let wanted: HashSet<String> = names.iter().map(|name| local(name, &self.base)).collect();
        let shared = SHARED.iter().flat_map(|kind| shelf.all(kind));
        shared.filter(|s| everything || wanted.contains(&format!("{}/{}", s.kind, s.id))).collect()
    }

    /// The latest observations of each code, `max` of each.
    pub(super) fn last_n(&self, shelf: &Shelf, listing: &Listing<'_>) -> Result<Listed, Refused> {
        let whose = |name: &str| matches!(name.split_once(':').map_or(name, |(bare, _)| bare), "patient" | "subject");
        if !listing.pairs.iter().any(|(name, value)| whose(name) && !value.is_empty()) {
            let text = format!("HAPI-1001: $lastn needs a patient or subject, e.g. {}", self.bystander(shelf, ""));
            return Err(Refused::new(400, "required", &text));
        }
        let anyone = listing.faults.contains(&Fault::LastnIgnoresPatient);
        let filters: Vec<(String, String)> =
            listing.pairs.iter().filter(|(name, _)| name != "max" && !(anyone && whose(name))).cloned().collect();
        let search = Search {
            kind: "Observation",
            pairs: &filters,
            offset: 0,
            count: usize::MAX,
            base: &self.base,
            unknown: self.unknown,
            faults: listing.faults,
        };
        let mut found = search.matches(shelf).map_err(|name| unknown("Observation", &name))?;
        found.sort_by_key(|stored| std::cmp::Reverse(moment(stored).map(|span| span.start)));
        let max = listing.first("max").and_then(|max| max.parse().ok()).unwrap_or(1);
        let mut counts: HashMap<String, usize> = HashMap::new();
        found.retain(|stored| {
            let count = counts.entry(code(&stored.resource)).or_default();
            *count += 1;
            *count <= max
        });
        let entry = |stored: &&Stored| Entry::found(stored.resource.clone(), Some(Mode::Match));
        Ok(listing.page("searchset", found.len(), found.iter().map(entry).collect()))
    }
}

/// What `$everything` is narrowed to.
struct Wanted<'a> {
    kinds: Option<Vec<&'a str>>,
    since: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
}

impl<'a> Wanted<'a> {
    fn read(listing: &'a Listing<'_>) -> Self {
        let span = |name: &str| listing.first(name).and_then(time::span);
        Self {
            kinds: listing.first("_type").map(|kinds| kinds.split(',').map(str::trim).collect()),
            since: span("_since").map(|since| since.start),
            start: span("start").map(|start| start.start),
            end: span("end").map(|end| end.end),
        }
    }

    fn holds(&self, stored: &Stored, mode: Mode) -> bool {
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&stored.kind.as_str())) {
            return false;
        }
        if self.since.is_some_and(|since| stored.updated < since) {
            return false;
        }
        // Care dates are of the chart alone; what has none stays.
        let Some(span) = moment(stored).filter(|_| mode == Mode::Match) else { return true };
        self.start.is_none_or(|start| span.end > start) && self.end.is_none_or(|end| span.start < end)
    }
}

/// When something was, or was done.
fn moment(stored: &Stored) -> Option<Span> {
    if stored.kind == "Patient" {
        return None;
    }
    let parameters = DATES.iter().filter_map(|name| table::find(&stored.kind, name));
    parameters
        .flat_map(|parameter| parameter.paths)
        .flat_map(|path| elements(&stored.resource, path.elements))
        .find_map(span_of)
}

/// The code by which an observation is grouped: its first coding, or its text.
fn code(resource: &Value) -> String {
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str);
    let coded =
        text("/code/coding/0/code").map(|code| format!("{}|{code}", text("/code/coding/0/system").unwrap_or("")));
    coded.or_else(|| text("/code/text").map(str::to_owned)).unwrap_or_default()
}

/// Every `reference` in a resource.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(members) => {
            found.extend(members.get("reference").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        _ => {}
    }
}
