//! What is known to name no person and no institution: codes of public terminologies, units, countries and states. All of it
//! is a closed set, or a grammar with a check digit; whatever else a code element holds is text and does not leave.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::ucum;

/// Units of measure.
pub(crate) const UCUM: &str = "http://unitsofmeasure.org";

static SYSTEMS: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let rows = rows(include_str!("../tables/systems.tsv"));
    rows.filter_map(|row| row.split_once('\t')).map(|(system, codes)| (system, codes.split(' ').collect())).collect()
});

static CODES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| rows(include_str!("../tables/codes.tsv")).collect());

/// Countries and states, in lower case.
static PLACES: LazyLock<HashSet<(&'static str, String)>> = LazyLock::new(|| {
    let rows = rows(include_str!("../tables/places.tsv")).filter_map(|row| row.split_once('\t'));
    rows.map(|(what, name)| (what, name.to_lowercase())).collect()
});

static ZIP3: LazyLock<HashSet<&'static str>> = LazyLock::new(|| rows(include_str!("../tables/zip3.tsv")).collect());

fn rows(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// Codes of US Core, which R4 itself does not list.
const US_CORE: [(&str, &[&str]); 7] = [
    ("http://hl7.org/fhir/us/core/CodeSystem/careplan-category", &["assess-plan"]),
    ("http://hl7.org/fhir/us/core/CodeSystem/condition-category", &["health-concern"]),
    (
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-category",
        &[
            "sdoh",
            "functional-status",
            "disability-status",
            "cognitive-status",
            "treatment-intervention-preference",
            "care-experience-preference",
            "observation-adi-documentation",
        ],
    ),
    ("http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", &["clinical-note"]),
    ("http://hl7.org/fhir/us/core/CodeSystem/us-core-observation-category", &["clinical-test"]),
    ("http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type", &["transmitter"]),
    ("http://hl7.org/fhir/us/core/CodeSystem/us-core-tags", &["patient-supplied", "sdoh"]),
];

/// Whether `code` is one that R4 requires of some element.
pub(crate) fn is_code(code: &str) -> bool {
    CODES.contains(code)
}

/// Whether the public terminology `system` can have this code.
pub(crate) fn is_coding(system: &str, code: &str) -> bool {
    if let Some(codes) = SYSTEMS.get(system) {
        return codes.binary_search(&code).is_ok();
    }
    if let Some((_, codes)) = US_CORE.iter().find(|(known, _)| *known == system) {
        return codes.contains(&code);
    }
    match system {
        "http://snomed.info/sct" => is_concept(code),
        "http://loinc.org" => loinc(code),
        "http://www.nlm.nih.gov/research/umls/rxnorm" => matches(code, "#") && code.len() <= 7,
        "http://hl7.org/fhir/sid/cvx" => matches(code, "#") && code.len() <= 3,
        "http://hl7.org/fhir/sid/mvx" => (2..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_uppercase()),
        "http://hl7.org/fhir/sid/ndc" => {
            ["dddd-dddd-dd", "ddddd-ddd-dd", "ddddd-dddd-d", "ddddd-dddd-dd"].iter().any(|form| matches(code, form))
        }
        "http://hl7.org/fhir/sid/icd-10" | "http://hl7.org/fhir/sid/icd-10-cm" => icd_10(code),
        "http://hl7.org/fhir/sid/icd-9-cm" => {
            ["ddd", "ddd.d", "ddd.dd", "Vdd", "Vdd.d", "Vdd.dd", "Eddd", "Eddd.d", "dd.d", "dd.dd"]
                .iter()
                .any(|form| matches(code, form))
        }
        "http://www.ama-assn.org/go/cpt" => ["ddddd", "dddda"].iter().any(|form| matches(code, form)),
        "http://www.whocc.no/atc" => ["a", "add", "adda", "addaa", "addaadd"].iter().any(|form| matches(code, form)),
        "http://hl7.org/fhir/ndfrt" => matches(code, "Ndddddddddd"),
        "http://dicom.nema.org/resources/ontology/DCM" => {
            matches(code, "dddddd")
                || ["CR", "CT", "DX", "ES", "MG", "MR", "NM", "OT", "PT", "RF", "US", "XA", "XC"].contains(&code)
        }
        "http://nucc.org/provider-taxonomy" => ["dddadddddX", "dddaaddddX"].iter().any(|form| matches(code, form)),
        "http://www.nubc.org/patient-discharge" => matches(code, "dd"),
        "urn:ietf:bcp:47" => is_language(code),
        "urn:iso:std:iso:3166" => is_country(code),
        "urn:iso:std:iso:4217" => is_currency(code),
        UCUM => ucum::is_code(code),
        _ => false,
    }
}

/// Whether a code may be asked for by somebody who must not learn who it is about: one of a public terminology, by its system
/// or by its form, or one that R4 requires of some element. A number that could be somebody's is none.
#[must_use]
pub fn is_public_code(system: Option<&str>, code: &str) -> bool {
    match system {
        Some(system) => is_coding(system, code),
        None => is_code(code) || loinc(code) || is_concept(code) || is_word_of_some_system(code),
    }
}

/// Whether one of HL7's own systems has this code, and it is not a mere number.
fn is_word_of_some_system(code: &str) -> bool {
    let is_word = code.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_word && SYSTEMS.values().any(|codes| codes.binary_search(&code).is_ok())
}

/// Whether `text` is a language of two or three letters, with a region or without.
pub(crate) fn is_language(text: &str) -> bool {
    ["ll", "ll-aa"].iter().any(|form| matches(text, form))
}

/// Whether `text` has the form of an ISO 4217 currency.
pub(crate) fn is_currency(text: &str) -> bool {
    matches(text, "aaa")
}

/// Whether `text` is a country.
pub(crate) fn is_country(text: &str) -> bool {
    PLACES.contains(&("country", text.to_lowercase()))
}

/// Whether `text` is a state.
pub(crate) fn is_state(text: &str) -> bool {
    PLACES.contains(&("state", text.to_lowercase()))
}

/// Whether `text` means the United States, whose ZIP codes the Safe Harbor speaks of.
pub(crate) fn is_united_states(text: &str) -> bool {
    let names = ["us", "usa", "u.s.", "u.s.a.", "united states", "united states of america"];
    names.contains(&text.to_lowercase().as_str())
}

/// Whether at most 20,000 people live in a three-digit ZIP area.
pub(crate) fn is_small_area(zip3: &str) -> bool {
    ZIP3.contains(zip3)
}

/// Whether `text` has a form: `d` a digit, `a` an upper-case letter, `l` a lower-case one, `#` digits to the end, all else
/// itself.
fn matches(text: &str, form: &str) -> bool {
    if form == "#" {
        return !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    }
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_uppercase(),
            b'l' => byte.is_ascii_lowercase(),
            other => byte == other,
        })
}

fn icd_10(code: &str) -> bool {
    let (category, rest) = code.split_once('.').unwrap_or((code, "0"));
    let fits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    ["add", "ada"].iter().any(|form| matches(category, form)) && (1..=4).contains(&rest.len()) && fits(rest)
}

/// Codes, parts (`LP`) and answers (`LA`); the last digit of a code is a Luhn check digit over the others.
fn loinc(code: &str) -> bool {
    if let Some(rest) = code.strip_prefix("LA").or_else(|| code.strip_prefix("LP")) {
        let digits = rest.split_once('-').map_or(0, |(digits, _)| digits.len());
        return (1..=6).contains(&digits)
            && rest.len() == digits + 2
            && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    }
    let Some((number, check)) = code.split_once('-') else { return false };
    if !matches(number, "#") || number.len() > 6 || !matches(check, "d") {
        return false;
    }
    let digits = number.bytes().chain(check.bytes()).rev().map(|byte| u32::from(byte - b'0'));
    let sum: u32 =
        digits.enumerate().map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit }).sum();
    sum.is_multiple_of(10)
}

/// A SNOMED CT concept: before the check digit stand the two digits that say so.
fn is_concept(code: &str) -> bool {
    let kind = code.len().checked_sub(3).and_then(|at| code.get(at..at + 2));
    (6..=18).contains(&code.len()) && matches!(kind, Some("00" | "10")) && verhoeff(code)
}

/// The check digit of SNOMED CT identifiers: Verhoeff, the dihedral group of order ten.
fn verhoeff(code: &str) -> bool {
    const PERMUTED: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let times = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let permuted = |digit: u8, times: usize| {
        (0..times % 8).fold(digit, |digit, _| PERMUTED.get(usize::from(digit)).copied().unwrap_or(0))
    };
    matches(code, "#")
        && code.bytes().rev().enumerate().fold(0, |sum, (at, byte)| times(sum, permuted(byte - b'0', at))) == 0
}

#[test]
fn codes_of_public_terminologies_are_known() {
    for (system, code, known) in [
        ("http://snomed.info/sct", "38341003", true),
        ("http://snomed.info/sct", "73211009", true),
        ("http://snomed.info/sct", "44054006", true),
        ("http://snomed.info/sct", "162673000", true),
        ("http://snomed.info/sct", "38341004", false),
        ("http://snomed.info/sct", "Smith", false),
        ("http://snomed.info/sct", "123456789", false),
        ("http://loinc.org", "8302-2", true),
        ("http://loinc.org", "85354-9", true),
        ("http://loinc.org", "85354-8", false),
        ("http://loinc.org", "LA6568-5", true),
        ("http://loinc.org", "LASmith-5", false),
        ("http://hl7.org/fhir/sid/icd-10-cm", "E11.9", true),
        ("http://hl7.org/fhir/sid/icd-10", "I10", true),
        ("http://hl7.org/fhir/sid/icd-10", "Smith", false),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "314076", true),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "123456789", false),
        ("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "M", true),
        ("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "Smith", false),
        ("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs", true),
        ("http://unitsofmeasure.org", "mg/dL", true),
        ("http://nucc.org/provider-taxonomy", "208D00000X", true),
        ("http://nucc.org/provider-taxonomy", "163WP0200X", true),
        ("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "sdoh", true),
        ("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "Smith", false),
        ("http://hospital.example/codes", "1", false),
        ("http://hl7.org/fhir/sid/us-ssn", "123", false),
    ] {
        assert_eq!(is_coding(system, code), known, "{system}|{code}");
    }
    assert!(is_code("female") && is_code("entered-in-error") && !is_code("Smith"));
    assert!(is_state("MA") && is_state("Massachusetts") && !is_state("Boston"));
    assert!(is_country("US") && is_country("nld") && !is_country("Boston"));
    assert!(is_small_area("036") && !is_small_area("021"));
    assert_eq!(ZIP3.len(), 17);
}

#[test]
fn what_may_be_asked_for_without_a_system_has_a_form_that_no_name_has() {
    for (system, code, public) in [
        (None, "final", true),
        (None, "8302-2", true),
        (None, "vital-signs", true),
        (None, "AMB", true),
        (None, "38341003", true),
        (None, "38341004", false),
        (None, "Smith", false),
        (None, "12345", false),
        (None, "", false),
        (Some("http://loinc.org"), "8302-2", true),
        (Some("http://hl7.org/fhir/sid/us-ssn"), "123456789", false),
        (Some("http://hospital.example/mrn"), "38341003", false),
        (Some(""), "8302-2", false),
    ] {
        assert_eq!(is_public_code(system, code), public, "{system:?} {code}");
    }
}

#[test]
fn codes_of_each_system_are_in_order() {
    for (system, codes) in &*SYSTEMS {
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{system}");
    }
}
