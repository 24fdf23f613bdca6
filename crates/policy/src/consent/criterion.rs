//! The criteria of a provision, each put to one release (R4 Consent.provision).

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use fhir::ResourceType;
use fhir::json::Value;
use fhir::references::{self, Reference};

use super::ConsentContext;
use super::period::Period;
use super::provision::Budget;
use super::vocabulary;
use crate::labels::{self, Vocabulary};

/// Whether a criterion is met. Ordered: the least of several is their "and", the greatest their "or".
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Match {
    No,
    /// Cannot be told here.
    Maybe,
    Yes,
}

/// One criterion.
pub(super) enum Criterion {
    /// `actor`, since no one can say here which FHIR actor an Integration is, a member or of which organisation;
    /// `dataPeriod`, since "relevant for" a time is not written on a resource; an empty list; and any element that R4
    /// does not have, which may narrow or widen the rule.
    Unknown,
    Period(Period),
    Purpose(Vec<Coded>),
    Class(Vec<Coded>),
    Code(Vec<Coded>),
    SecurityLabel(Vec<Coded>),
    Action(Vec<Coded>),
    Data(Vec<Data>),
}

/// A Coding or a label; without a code it says what cannot be compared.
pub(super) struct Coded {
    pub(super) system: Option<String>,
    pub(super) code: Option<String>,
    /// Found once: labels are compared for every resource.
    pub(super) vocabulary: Option<Vocabulary>,
}

impl Coded {
    fn new(system: Option<String>, code: Option<String>) -> Self {
        let code = code.filter(|code| !code.is_empty());
        let vocabulary = vocabulary::of(system.as_deref(), code.as_deref().unwrap_or(""));
        Self { system, code, vocabulary }
    }
}

/// `data`: one instance, or what cannot be evaluated.
pub(super) enum Data {
    Instance {
        kind: ResourceType,
        id: String,
        /// This very instance, in every version.
        exact: bool,
    },
    /// `related`, `dependents` and `authoredby` need the other resources; a logical reference needs a look-up.
    Unknown,
}

/// Most labels of a resource that are compared: honest ones have a handful. With more it cannot be told what it is.
const LABELS_MAX: usize = 16;

/// Elements whose code says what the resource as a whole is about.
const MAIN_CODES: [&str; 4] = ["code", "type", "vaccineCode", "medicationCodeableConcept"];

/// A code found in a resource: its system, and whether it is a main code.
type Found<'d> = (Option<Cow<'d, str>>, bool);

/// The release that is asked for.
pub(super) struct Subject<'a, 'd> {
    context: &'a ConsentContext<'a>,
    kind: ResourceType,
    id: &'a str,
    resource: Value<'d>,
    labels: OnceCell<Vec<Coded>>,
    codes: OnceCell<HashMap<Cow<'d, str>, Vec<Found<'d>>>>,
}

impl<'a, 'd> Subject<'a, 'd> {
    pub(super) fn new(context: &'a ConsentContext<'a>, kind: ResourceType, id: &'a str, resource: Value<'d>) -> Self {
        Self { context, kind, id, resource, labels: OnceCell::new(), codes: OnceCell::new() }
    }

    fn labels(&self) -> &[Coded] {
        self.labels.get_or_init(|| {
            labels::all(self.resource).into_iter().map(|label| Coded::new(label.system, Some(label.code))).collect()
        })
    }

    fn codes(&self) -> &HashMap<Cow<'d, str>, Vec<Found<'d>>> {
        self.codes.get_or_init(|| {
            let mut out = HashMap::new();
            for (key, value) in self.resource.members() {
                gather(value, MAIN_CODES.iter().any(|name| key.is(name)), &mut out);
            }
            out
        })
    }
}

/// Every Coding at any depth; the depth is bounded by the reader of JSON.
fn gather<'d>(value: Value<'d>, main: bool, out: &mut HashMap<Cow<'d, str>, Vec<Found<'d>>>) {
    if let Some(code) = value.get_str("code") {
        out.entry(code).or_default().push((value.get_str("system"), main));
    }
    value.members().for_each(|(_, inner)| gather(inner, main, out));
    value.elements().for_each(|inner| gather(inner, main, out));
}

impl Criterion {
    /// Reads the element `name` of a provision; `None` if it has not the shape that R4 gives it.
    pub(super) fn read(name: &str, value: Value<'_>, upstream_base: &str, budget: &mut Budget) -> Option<Self> {
        let list = |make: fn(Vec<Coded>) -> Self, read: fn(Value<'_>, &mut Budget) -> Option<Vec<Coded>>, budget| {
            let values = read(value, budget)?;
            Some(if values.is_empty() { Self::Unknown } else { make(values) })
        };
        match name {
            "period" => value.is_object().then(|| Period::read(value).map_or(Self::Unknown, Self::Period)),
            "purpose" => list(Self::Purpose, codings, budget),
            "class" => list(Self::Class, codings, budget),
            "securityLabel" => list(Self::SecurityLabel, codings, budget),
            "code" => list(Self::Code, concepts, budget),
            "action" => list(Self::Action, concepts, budget),
            "data" => {
                let values = data(value, upstream_base, budget)?;
                Some(if values.is_empty() { Self::Unknown } else { Self::Data(values) })
            }
            _ => Some(Self::Unknown),
        }
    }

    /// Whether it is met.
    pub(super) fn matches(&self, subject: &Subject<'_, '_>) -> Match {
        match self {
            Self::Unknown => Match::Maybe,
            Self::Period(period) => period.covers(subject.context.now),
            Self::Purpose(named) => purpose(named, subject.context.purpose_of_use),
            Self::Class(named) => any(named, |coded| class(coded, subject.kind)),
            Self::Code(named) => any(named, |coded| code(coded, subject)),
            Self::SecurityLabel(named) => security_label(named, subject.labels()),
            Self::Action(named) => action(named, subject.context.actions),
            Self::Data(named) => any(named, |data| instance(data, subject)),
        }
    }
}

fn any<T>(named: &[T], matches: impl Fn(&T) -> Match) -> Match {
    named.iter().map(matches).max().unwrap_or(Match::Maybe)
}

/// A list of Coding.
fn codings(list: Value<'_>, budget: &mut Budget) -> Option<Vec<Coded>> {
    if !list.is_array() {
        return None;
    }
    list.elements().map(|coding| coded(coding, budget)).collect()
}

/// A list of CodeableConcept: its codings are translations of each other, so each can stand for it.
fn concepts(list: Value<'_>, budget: &mut Budget) -> Option<Vec<Coded>> {
    if !list.is_array() {
        return None;
    }
    let mut out = Vec::new();
    for concept in list.elements() {
        match concept.get("coding") {
            Some(inner) => out.extend(codings(inner, budget)?),
            // Text alone is for people.
            None if concept.is_object() => out.push(Coded::new(None, None)),
            None => return None,
        }
    }
    Some(out)
}

fn coded(coding: Value<'_>, budget: &mut Budget) -> Option<Coded> {
    budget.value()?;
    let text = |name| match coding.get(name) {
        None => Some(None),
        Some(value) => value.as_str().map(|text| Some(text.into_owned())),
    };
    if !coding.is_object() {
        return None;
    }
    Some(Coded::new(text("system")?, text("code")?))
}

fn data(list: Value<'_>, upstream_base: &str, budget: &mut Budget) -> Option<Vec<Data>> {
    if !list.is_array() {
        return None;
    }
    let mut out = Vec::new();
    for data in list.elements() {
        budget.value()?;
        if !data.is_object() {
            return None;
        }
        let text = data.get("reference").and_then(|reference| reference.get_str("reference"));
        let instance = data.get("meaning").is_some_and(|meaning| meaning.is_str("instance"));
        out.push(match text.as_deref().map(references::parse) {
            Some(Reference::Relative { kind, id, version }) if instance => {
                Data::Instance { kind, id: id.to_owned(), exact: version.is_none() }
            }
            // The same server may be known by another name elsewhere.
            Some(Reference::Absolute { base, kind, id, version }) if instance => {
                Data::Instance { kind, id: id.to_owned(), exact: version.is_none() && base == upstream_base }
            }
            _ => Data::Unknown,
        });
    }
    Some(out)
}

/// R4 binding of `purpose`: where several are named, an operation must have all of them. A session has one purpose, so
/// it is sure to be covered only if it is within each; being within one is enough for a denial.
fn purpose(named: &[Coded], session: &str) -> Match {
    let one = |coded: &Coded| {
        let known = coded.system.as_deref().is_none_or(|system| Vocabulary::of(system) == Vocabulary::ActReason);
        match &coded.code {
            Some(code) if known => vocabulary::purpose(code, session),
            _ => Match::Maybe,
        }
    };
    let least = named.iter().map(one).min().unwrap_or(Match::Maybe);
    if least == Match::No { any(named, one).min(Match::Maybe) } else { least }
}

/// Resource types are "or'ed" (R4). Profiles, CDA and media types cannot be told from a resource.
fn class(coded: &Coded, kind: ResourceType) -> Match {
    const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
    let known = coded.system.as_deref().is_none_or(|system| system == RESOURCE_TYPES);
    match coded.code.as_deref().map(str::parse::<ResourceType>) {
        Some(Ok(named)) if known && named == kind => Match::Yes,
        Some(Ok(_)) if known => Match::No,
        _ => Match::Maybe,
    }
}

/// "If this code is found in an instance, then the rule applies" (R4): anywhere in it. As what a resource is about it
/// is found in its main code alone, and a code is the same only in the same system, whose names we do not all know.
fn code(coded: &Coded, subject: &Subject<'_, '_>) -> Match {
    let Some(code) = &coded.code else { return Match::Maybe };
    let Some(found) = subject.codes().get(code.as_str()) else { return Match::No };
    if found.iter().any(|(system, main)| *main && system.as_deref() == coded.system.as_deref()) {
        Match::Yes
    } else {
        Match::Maybe
    }
}

/// Met by a label within one that is named. For certain only if every label of that vocabulary is within one: a permit
/// for PSY does not let go what is also HIV, nor one for R what is also V (R4: a high water mark).
fn security_label(named: &[Coded], labels: &[Coded]) -> Match {
    if labels.len() > LABELS_MAX {
        return Match::Maybe;
    }
    let within = |label: &Coded| any(named, |coded| vocabulary::label(coded, label));
    let apart = |label: &Coded| named.iter().all(|coded| vocabulary::is_apart(coded, label));
    match labels.iter().map(within).max() {
        None | Some(Match::No) => Match::No,
        Some(Match::Yes) if labels.iter().all(|label| within(label) == Match::Yes || apart(label)) => Match::Yes,
        Some(_) => Match::Maybe,
    }
}

/// A denial of one action denies; a permit has to name all that the release amounts to. `correct` is the one known
/// action that no release is.
fn action(named: &[Coded], ours: &[&str]) -> Match {
    let is_known = |coded: &Coded| {
        coded.code.as_deref().is_some_and(|code| vocabulary::ACTIONS.contains(&code))
            && coded.system.as_deref().is_none_or(vocabulary::is_consent_action)
    };
    let count = ours
        .iter()
        .filter(|action| named.iter().any(|coded| is_known(coded) && coded.code.as_deref() == Some(action)))
        .count();
    // A release that amounts to nothing known may be anything.
    if count == ours.len() && count > 0 {
        Match::Yes
    } else if count == 0 && !ours.is_empty() && named.iter().all(is_known) {
        Match::No
    } else {
        Match::Maybe
    }
}

fn instance(data: &Data, subject: &Subject<'_, '_>) -> Match {
    match data {
        Data::Unknown => Match::Maybe,
        Data::Instance { kind, .. } if *kind != subject.kind => Match::No,
        // A resource without id could be any.
        Data::Instance { .. } if subject.id.is_empty() => Match::Maybe,
        Data::Instance { id, .. } if id != subject.id => Match::No,
        Data::Instance { exact: true, .. } => Match::Yes,
        Data::Instance { .. } => Match::Maybe,
    }
}
