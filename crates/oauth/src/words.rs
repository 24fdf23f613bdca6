//! What scopes open, in words for people: resource types, categories, letters and the words SMART adds. One table for every page and text.

mod kinds;

use domain::{Actions, Filter, Level, RequestedScope, ResourceMatch, Scope, ScopeWord};
use fhir::ResourceType;

/// What a refresh of `offline_access` is good for, as people are told before they allow it (US-01, US-02).
pub const OFFLINE: &str = "Keeps its access when you are not there, for up to 3 months, renewed whenever it is used";
/// What `online_access` is good for.
pub const ONLINE: &str = "Stays connected while you are signed in, and no longer";

/// One thing in words: its name, and what one finds in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    /// A short name, without article or full stop, e.g. `Health problems and diagnoses`.
    pub name: String,
    /// What data it opens.
    pub holds: String,
}

/// A US Core category of Condition or Observation that certification lets people choose by itself (SC-16).
#[derive(Debug, Eq, PartialEq)]
pub struct Category {
    /// Code system.
    pub system: &'static str,
    /// Code.
    pub code: &'static str,
    /// Its name in words.
    pub name: &'static str,
    /// What data it opens.
    pub holds: &'static str,
}

impl Category {
    /// As a token search writes it: `system|code`.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}|{}", self.system, self.code)
    }
}

const CONDITION_HL7: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const CONDITION_US: &str = "http://hl7.org/fhir/us/core/CodeSystem/condition-category";
const OBSERVATION_HL7: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const OBSERVATION_US: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category";
// US Core 5 and later keep `clinical-test` apart from the other US codes.
const CLINICAL_TEST_US: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-observation-category";

/// SC-16, Condition.
const CONDITIONS: [Category; 3] = [
    Category {
        system: CONDITION_HL7,
        code: "problem-list-item",
        name: "Problem list",
        holds: "lasting problems that the care team follows",
    },
    Category {
        system: CONDITION_HL7,
        code: "encounter-diagnosis",
        name: "Diagnoses of visits",
        holds: "what was diagnosed during a visit or hospital stay",
    },
    Category {
        system: CONDITION_US,
        code: "health-concern",
        name: "Health concerns",
        holds: "worries and risks that the patient or the care team noted",
    },
];

/// SC-16, Observation.
const OBSERVATIONS: [Category; 6] = [
    Category {
        system: OBSERVATION_HL7,
        code: "laboratory",
        name: "Laboratory results",
        holds: "blood, urine and other tests done in a laboratory",
    },
    Category {
        system: OBSERVATION_HL7,
        code: "vital-signs",
        name: "Vital signs",
        holds: "blood pressure, pulse, temperature, height and weight",
    },
    Category {
        system: CLINICAL_TEST_US,
        code: "clinical-test",
        name: "Clinical tests",
        holds: "tests done on the patient, such as an ECG or an eye test",
    },
    Category {
        system: OBSERVATION_HL7,
        code: "social-history",
        name: "Social history",
        holds: "smoking, alcohol, occupation, pregnancy and similar facts",
    },
    Category {
        system: OBSERVATION_US,
        code: "sdoh",
        name: "Living conditions",
        holds: "housing, food, transport, money and other social needs",
    },
    Category {
        system: OBSERVATION_HL7,
        code: "survey",
        name: "Questionnaires and scores",
        holds: "answers to surveys and assessments, also about mood, abilities and life situation",
    },
];

/// The categories of a type that people choose one by one; none for most types.
#[must_use]
pub fn categories(kind: ResourceType) -> &'static [Category] {
    if kind == ResourceType::CONDITION {
        &CONDITIONS
    } else if kind == ResourceType::OBSERVATION {
        &OBSERVATIONS
    } else {
        &[]
    }
}

/// The category of `kind` that a search value names: `system|code`, or a code alone that only one of them has.
#[must_use]
pub fn category(kind: ResourceType, value: &str) -> Option<&'static Category> {
    let named = |category: &&Category| match value.split_once('|') {
        Some((system, code)) => system == category.system && code == category.code,
        None => value == category.code,
    };
    categories(kind).iter().find(named)
}

/// A resource type in words. Every R4 type has some: the usual ones by hand, the others by their name.
#[must_use]
pub fn kind(kind: ResourceType) -> Words {
    if let Some((_, name, holds)) = kinds::KINDS.iter().find(|(known, _, _)| *known == kind.name()) {
        return Words { name: (*name).to_owned(), holds: (*holds).to_owned() };
    }
    Words { name: kinds::plain(kind.name()), holds: "entries of this kind that the hospital keeps".to_owned() }
}

/// Where a type stands in a list for people: what most say first, the rest after it.
#[must_use]
pub fn rank(kind: ResourceType) -> usize {
    kinds::KINDS.iter().position(|(known, _, _)| *known == kind.name()).unwrap_or(kinds::KINDS.len())
}

/// What letters let their holder do, e.g. `see, add and change`.
#[must_use]
pub fn actions(actions: Actions) -> String {
    let mut verbs = Vec::new();
    if actions.contains(Actions::READ) {
        verbs.push("see");
    } else if actions.contains(Actions::SEARCH) {
        verbs.push("search");
    }
    for (letter, verb) in [(Actions::CREATE, "add"), (Actions::UPDATE, "change"), (Actions::DELETE, "delete")] {
        if actions.contains(letter) {
            verbs.push(verb);
        }
    }
    match verbs.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Whether letters let their holder change the record.
#[must_use]
pub fn writes(actions: Actions) -> bool {
    !actions.and(Actions::V1_WRITE).is_empty()
}

/// Whose data a level opens.
#[must_use]
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Patient => "of this patient",
        Level::User => "of every patient you may see, this one included",
        Level::System => "of every patient of the hospital",
    }
}

/// What `*` opens.
#[must_use]
pub fn everything() -> Words {
    Words { name: "The whole record".to_owned(), holds: "everything in it, now and in future".to_owned() }
}

/// A query's restriction, e.g. `status is final`.
#[must_use]
pub fn filter(kind: Option<ResourceType>, filter: &Filter) -> String {
    let pair = |(name, value): &(String, String)| {
        let values: Vec<String> = value.split(',').map(|value| filter_value(kind, name, value)).collect();
        let name = name.trim_start_matches('_').replace(['-', '_'], " ");
        format!("{name} is {}", values.join(" or "))
    };
    filter.pairs.iter().map(pair).collect::<Vec<_>>().join(", and ")
}

fn filter_value(kind: Option<ResourceType>, name: &str, value: &str) -> String {
    if name == "category"
        && let Some(known) = kind.and_then(|kind| category(kind, value))
    {
        return known.name.to_lowercase();
    }
    value.rsplit('|').find(|part| !part.is_empty()).unwrap_or(value).to_owned()
}

/// One clause in a line, e.g. `See and change laboratory results of this patient`.
#[must_use]
pub fn scope(scope: &Scope) -> String {
    let (kind, name) = match scope.resource {
        ResourceMatch::Every => (None, everything().name),
        ResourceMatch::One(kind) => (Some(kind), self::kind(kind).name),
    };
    let verbs = actions(scope.actions);
    let of = level(scope.level);
    let only = scope.filter.as_ref().map(|only| format!(", where {}", filter(kind, only))).unwrap_or_default();
    capital(&format!("{verbs} {} {of}{only}", name.to_lowercase()))
}

/// One of the words SMART adds to the FHIR clauses; `None` for clauses and what grants nothing.
#[must_use]
pub fn item(item: &RequestedScope) -> Option<&'static str> {
    match item {
        RequestedScope::Word(ScopeWord::Launch | ScopeWord::LaunchPatient | ScopeWord::LaunchEncounter) => {
            Some("Knows which patient and visit are open")
        }
        RequestedScope::Word(ScopeWord::OpenId | ScopeWord::FhirUser | ScopeWord::Profile) => {
            Some("Knows who you are: your name and your entry as patient or staff")
        }
        RequestedScope::Word(ScopeWord::OnlineAccess) => Some(ONLINE),
        RequestedScope::Word(ScopeWord::OfflineAccess) => Some(OFFLINE),
        RequestedScope::Fhir(_) | RequestedScope::Unknown(_) => None,
    }
}

/// An HL7 v3 PurposeOfUse code in words; one that is not known stays a code.
#[must_use]
pub fn purpose_of_use(code: &str) -> &str {
    match code {
        "TREAT" => "Treatment",
        "HOPERAT" => "Running the hospital",
        "HPAYMT" => "Payment for care",
        "HRESCH" => "Research",
        "PATRQT" => "At the patient's request",
        "PUBHLTH" => "Public health",
        "ETREAT" => "Emergency treatment",
        "CAREMGT" => "Care management",
        "COC" => "Coordination of care",
        "HMARKT" => "Marketing of health services",
        "FAMRQT" => "At the family's request",
        "PWATRNY" => "At the request of the holder of a power of attorney",
        other => other,
    }
}

/// `text` with its first letter as a capital.
#[must_use]
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_words() {
        for known in ResourceType::all() {
            let words = kind(known);
            assert!(words.name.chars().next().unwrap().is_uppercase(), "{known}: {words:?}");
            assert!(words.name.len() > 3 && !words.holds.is_empty(), "{known}: {words:?}");
        }
        assert_eq!(kind(ResourceType::CONDITION).name, "Health problems and diagnoses");
        assert_eq!(kind("SubstanceNucleicAcid".parse().unwrap()).name, "Substance nucleic acids");
        assert_eq!(kind("TerminologyCapabilities".parse().unwrap()).name, "Terminology capabilities");
    }

    #[test]
    fn the_table_names_types_once_each() {
        for (at, (name, ..)) in kinds::KINDS.iter().enumerate() {
            assert!(name.parse::<ResourceType>().is_ok(), "{name}");
            assert_eq!(kinds::KINDS.iter().position(|(other, ..)| other == name), Some(at), "{name}");
        }
    }

    /// SC-16: the nine categories, each with the system that US Core data uses.
    #[test]
    fn sc_16_the_categories_of_us_core_are_known() {
        let codes = |kind| categories(kind).iter().map(|category| category.code).collect::<Vec<_>>();
        assert_eq!(codes(ResourceType::CONDITION), ["problem-list-item", "encounter-diagnosis", "health-concern"]);
        assert_eq!(
            codes(ResourceType::OBSERVATION),
            ["laboratory", "vital-signs", "clinical-test", "social-history", "sdoh", "survey"]
        );
        for kind in [ResourceType::CONDITION, ResourceType::OBSERVATION] {
            for known in categories(kind) {
                assert_eq!(category(kind, &known.token()), Some(known));
                assert_eq!(category(kind, known.code), Some(known));
                assert_eq!(category(kind, &format!("http://else.example|{}", known.code)), None);
            }
        }
        assert!(categories(ResourceType::PATIENT).is_empty());
    }

    #[test]
    fn clauses_read_as_sentences() {
        for (clause, says) in [
            ("patient/Condition.rs", "See health problems and diagnoses of this patient"),
            ("patient/Observation.cruds", "See, add, change and delete measurements and test results of this patient"),
            ("patient/Observation.c", "Add measurements and test results of this patient"),
            (
                "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory&status=final",
                "See measurements and test results of this patient, where category is laboratory results, and status is final",
            ),
            ("patient/*.s", "Search the whole record of this patient"),
        ] {
            assert_eq!(scope(&clause.parse().unwrap()), says);
        }
        assert!(item(&RequestedScope::read("offline_access")).unwrap().contains("3 months"), "US-02");
        assert_eq!(item(&RequestedScope::read("whatever")), None);
        assert_eq!((purpose_of_use("TREAT"), purpose_of_use("ODD")), ("Treatment", "ODD"));
    }
}
