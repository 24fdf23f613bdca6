//! Searches by case of the catalogue, as far as the request alone decides them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::*;
use fhir::ResourceType;
use fhir::request::{Include, Interaction, Modifier, Summary, Total};

#[test]
fn sr_04_to_sr_17_values_are_decoded_once_and_split() {
    let patient = |list: &[&str]| vec![("patient", None, texts(list))];
    assert_eq!(values("/Observation?patient=Patient/P1"), patient(&["Patient/P1"]), "SR-04");
    assert_eq!(values("/Observation?patient=P1,P2"), patient(&["P1", "P2"]), "SR-05");
    assert_eq!(values("/Observation?patient=P1%2CP2"), patient(&["P1", "P2"]), "SR-17");
    assert_eq!(
        values("/Observation?subject=Patient/P1,Group/g"),
        [("subject", None, texts(&["Patient/P1", "Group/g"]))],
        "SR-06"
    );
    assert_eq!(
        values("/Observation?subject=P1&patient=P2"),
        [("patient", None, texts(&["P2"])), ("subject", None, texts(&["P1"]))],
        "SR-08: both are kept for the policy to judge"
    );
    assert_eq!(
        values("/Observation?patient=P1&%70atient=P2"),
        [("patient", None, texts(&["P1"])), ("patient", None, texts(&["P2"]))],
        "SR-57"
    );
    assert_eq!(
        values("/Observation?subject:Patient=P2"),
        [("subject", Some(Modifier::Type(ResourceType::PATIENT)), texts(&["P2"]))],
        "SR-13"
    );
    for absolute in ["https://ehr/r4/Patient/P1", "https://elsewhere/Patient/P1"] {
        let target = format!("/Observation?subject={absolute}");
        assert_eq!(values(&target), [("subject", None, texts(&[absolute]))], "SR-14, SR-15");
    }
    refused(
        MALFORMED,
        &[
            "/Observation?patient=P1\\,P2", // SR-16
            "/Observation?patient=P1%5C%2CP2",
            "/Observation?patient=",
            "/Observation?patient",
            "/Observation?patient=P1,",
            "/Observation?patient=P1,,P2",
            "/Observation?=P1",
            "/Observation?patient=%20P1",
            "/Observation?patient=Patient/P1/",
            "/Observation?patient=patient/P1",
            "/Observation?patient=Patient/P1%3Fx",
            "/Observation?patient=%2523p",
            "/Observation?patient=P1%00",
            "/Observation?code=a%0d%0ab",
            "/Observation?code=a\\b",
            "/Observation?date=yesterday",
            "/Observation?_id=../P2",
        ],
    );
    refused(NOT_SUPPORTED, &["/Observation?code=a\\|b", "/Observation?code-value-quantity=a\\$b"]);
    assert_eq!(values("/Patient?name=J%C3%B6rg+Smith"), [("name", None, texts(&["Jörg Smith"]))]);
    assert_eq!(values("/Patient?name=a\\,b,c\\\\"), [("name", None, texts(&["a,b", "c\\"]))]);
}

#[test]
fn sr_11_sr_12_sr_31_sr_44_modifiers_are_an_allow_list() {
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation?subject:missing=true", // SR-11
            "/Observation?patient:missing=false",
            "/Observation?performer:missing=true",
            "/Observation?subject:identifier=sys|mrn2", // SR-12
            "/Patient?_id:not=P1",                      // SR-44
            "/Patient?_id:missing=true",
            "/Observation?code:in=x",
            "/Observation?code:not-in=x",
            "/Observation?code:above=x",
            "/Observation?code:below=x",
            "/Observation?code:text=x",
            "/Observation?code:exact=x",
            "/Patient?name:Exact=x",
            "/Observation?subject:Medication=x",
            "/Observation?subject:patient=x",
            "/Observation?subject:=x",
            "/Observation?patient:x:y=1",
        ],
    );
    assert_eq!(
        values("/Observation?patient=P1&category:not=vital-signs"),
        [("category", Some(Modifier::Not), texts(&["vital-signs"])), ("patient", None, texts(&["P1"]))],
        "SR-31"
    );
    assert_eq!(values("/Patient?name:exact=Li")[0].1, Some(Modifier::Exact));
    assert_eq!(values("/Patient?name:contains=Li")[0].1, Some(Modifier::Contains));
    assert_eq!(values("/Observation?encounter:missing=true")[0].1, Some(Modifier::Missing));
    refused(MALFORMED, &["/Observation?encounter:missing=perhaps", "/Observation?encounter:missing=true,false"]);
}

#[test]
fn fl_01_to_fl_10_pg_10_unknown_parameters_are_named_and_refused() {
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation?_filter=subject%20eq%20Patient/P2",
            "/Observation?_query=all-of-them&patient=P1",
            "/Observation?_contained=both&_containedType=contained",
            "/Patient?_list=L1",
            "/Patient?_list=$current-allergies",
            "/Observation?_content=x",
            "/Observation?_text=x",
            "/Observation?patient=P1&_assoc=x",
            "/Observation?patient=P1&_with=x",
            "/Observation?patient=P1&_expunge=true",
            "/Observation?patient=P1&.fields=x",
            "/Observation?patient=P1&_type=Condition", // SR-55
            "/Observation?_page=2",                    // PG-10
            "/Observation?_offset=2",
            "/Observation?ct=x",
            "/Observation?_cursor=x",
            "/Observation?page=2",
            "/Observation?_getpages=x",
            "/Observation?Patient=P1",
            "/Observation?PATIENT=P1",
            "/Observation?patient%20=P1",
            "/Observation?actor=P1",
        ],
    );
    assert!(get("/Observation?_filter=x").unwrap_err().what.contains("`_filter`"));
    let long = format!("/Observation?{}=1", "x".repeat(5000));
    assert!(get(&long).unwrap_err().what.chars().count() < 200, "the quotation is cut");
    // SR-60
    let labels =
        search("/Observation?patient=P1&_source=http://x&_security=R&_tag=t&_lastUpdated=gt2020&_profile=http://p");
    assert_eq!(labels.params.len(), 6);
}

#[test]
fn ch_01_to_ch_16_an_inference_names_the_types_it_looks_into() {
    use ResourceType as T;
    for (target, types) in [
        ("/Observation?patient.name=Smith", vec![T::PATIENT]), // CH-01
        ("/Observation?encounter.status=finished", vec![T::ENCOUNTER]), // CH-05
        ("/Observation?has-member.code=x", vec![T::OBSERVATION]), // CH-07
        ("/Patient?_has:Observation:patient:code=1234", vec![T::OBSERVATION]), // CH-08
        ("/Patient?_has:Condition:patient:code=HIV", vec![T::CONDITION]), // CH-09
        ("/Patient?_has:Group:member:_id=G12", vec![T::GROUP]), // CH-12
        ("/Observation?patient:Patient.identifier=mrn2", vec![T::PATIENT]), // CH-14
        ("/Patient?_has%3ACondition%3Apatient%3Acode=HIV", vec![T::CONDITION]), // CH-16
        ("/Observation?_sort=subject:Patient.name", vec![T::PATIENT]), // S1-26
        ("/Patient?_sort=_has:Condition:patient:code", vec![T::CONDITION]),
    ] {
        let search = search(target);
        let found: Vec<_> = search.inference.iter().flat_map(|inference| inference.types.clone()).collect();
        assert_eq!(found, types, "{target}");
        assert!(search.params.is_empty() && search.sort.is_empty(), "{target}");
    }
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation?subject:Patient.organization.name=x", // CH-06
            "/Patient?_has:Observation:patient:_has:AuditEvent:entity:agent=x", // CH-11
            "/Patient?_HAS:Condition:patient:code=HIV",         // CH-16
            "/Patient?_has=x",
            "/Patient?_has:Nothing:patient:code=x",
            "/Patient?_has:Condition:code:code=x",
            "/Patient?_has:Condition:patient=x",
            "/Observation?nothing.name=x",
            "/Observation?code.name=x",
            "/Observation?patient.=x",
            "/Observation?subject:Medication.code=x",
            "/Observation?_sort=subject.name", // SR-36
            "/Observation?_sort=nothing",
            "/Observation?_sort=-",
            "/Observation?_sort=_score",
        ],
    );
}

#[test]
fn in_01_to_in_16_includes_are_single_explicit_hops() {
    let include = |source, param, target| Include { source, param, target, iterate: false };
    assert_eq!(
        search("/Observation?_include=Observation:patient").includes,
        [include(ResourceType::OBSERVATION, "patient", None)]
    );
    assert_eq!(
        search("/Observation?_include=Observation:subject:Patient").includes,
        [include(ResourceType::OBSERVATION, "subject", Some(ResourceType::PATIENT))],
        "IN-14"
    );
    assert_eq!(
        search("/Patient?_revinclude=Observation:subject").revincludes,
        [include(ResourceType::OBSERVATION, "subject", None)],
        "IN-04"
    );
    assert_eq!(search("/Patient?_include=Patient:link&_include=Patient:link").includes.len(), 1, "IN-20");
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation?_include=*", // IN-09
            "/Observation?_include=Observation:*",
            "/Patient?_revinclude=*",
            "/Observation?_include:recurse=Observation:has-member", // IN-12
        ],
    );
    refused(
        MALFORMED,
        &[
            "/Observation?_include=Condition:subject", // IN-16
            "/Observation?_include=Observation",
            "/Observation?_include=Observation:code",
            "/Observation?_include=Observation:nothing",
            "/Observation?_include=Observation:subject:Medication",
            "/Observation?_include=Observation:subject:Patient:x",
            "/Observation?_include=Observation:subject,Observation:performer",
            "/Patient?_revinclude=Observation:encounter",
            "/Patient?_revinclude=Observation:subject:Group",
        ],
    );
}

#[test]
fn el_01_to_el_07_projection_has_a_simple_grammar() {
    let view = search("/Observation?patient=P1&_elements=code,status,code").view;
    assert_eq!(view.elements, Some(texts(&["code", "status"])), "EL-01");
    for (text, summary) in
        [("true", Summary::True), ("text", Summary::Text), ("data", Summary::Data), ("false", Summary::False)]
    {
        let target = format!("/Observation/O1?_summary={text}");
        let Ok(Interaction::Read { view, .. }) = get(&target) else { panic!("{target}") };
        assert_eq!(view.summary, Some(summary), "EL-03, EL-05");
    }
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation?_summary=count",            // EL-04
            "/Observation?_elements:exclude=subject", // EL-07
            "/Observation?_elements=code&_summary=true",
        ],
    );
    refused(
        MALFORMED,
        &[
            "/Observation?_elements=Observation.subject.display,x", // EL-06
            "/Observation?_elements=subject.display",
            "/Observation?_elements=code,",
            "/Observation?_elements=code&_elements=subject",
            "/Observation?_summary=maybe",
            "/Observation?_pretty=yes",
        ],
    );
}

#[test]
fn counts_totals_and_orders() {
    let search = search("/Observation?patient=P1&_count=20&_total=accurate&_sort=-date,code&_pretty=true");
    assert_eq!((search.count, search.total), (Some(20), Some(Total::Accurate)));
    assert_eq!(search.sort, [("date".to_owned(), true), ("code".to_owned(), false)]);
    assert!(search.view.pretty);
    refused(
        MALFORMED,
        &[
            "/Observation?_count=-1",
            "/Observation?_count=%2B1",
            "/Observation?_count=9999999999",
            "/Observation?_count=1&_count=2",
            "/Observation?_total=all",
            "/Observation?_sort=date,-date",
            "/Observation?_sort=date&_sort=code",
        ],
    );
}

#[test]
fn the_canonical_query_has_one_spelling() {
    for (target, canonical) in [
        ("/Observation?subject=P1&patient=P2", "patient=P2&subject=P1"),
        ("/Observation?%70atient=Patient%2FP1&_format=json", "patient=Patient/P1"),
        ("/Observation?code=http://loinc.org|8867-4", "code=http://loinc.org%7C8867-4"),
        ("/Patient?name=J%c3%b6rg+Smith", "name=J%C3%B6rg%20Smith"),
        ("/Patient?name=a\\,b,c%26d%3De", "name=a%5C,b,c%26d%3De"),
        ("/Observation?_count=5&_include=Observation:patient&code=x", "code=x&_include=Observation:patient&_count=5"),
        ("/Observation?_sort=-date&_summary=text", "_sort=-date&_summary=text"),
        ("/Observation?date=ge2020-01-01T00:00:00%2B01:00", "date=ge2020-01-01T00:00:00%2B01:00"),
        ("/Observation?", ""),
    ] {
        assert_eq!(search(target).canonical_query(), canonical, "{target}");
    }
}
