//! b.3 and b.7: searching.

use domain::Reason;
use policy::Finding;
use testkit::world::{World, answer, run};

use crate::fixture::*;

fn query(scopes: &str, target: &str) -> Vec<String> {
    sent(&World::new(scopes).permit(target))
}

#[test]
fn sr_03_naming_another_patient_is_403() {
    let world = World::new(KOBS);
    for target in [
        "Observation?patient=P2",
        "Observation?patient=P12",
        "Observation?patient=Patient/P2",
        "Observation?subject=Patient/P2",
        "Observation?subject:Patient=P2",            // SR-13
        "Observation?subject=P1&patient=P2",         // SR-08
        "Observation?patient=P1&subject=Patient/P2", // SR-09
        "Observation?patient=P1&%70atient=P2",       // SR-57
        "Observation?patient=https://ehr/r4/Patient/P2",
        "Observation?patient=https://pep/fhir/Patient/P2",
        "Observation?performer=Patient/P2",
        "Observation?focus=Patient/P2",
        "Observation?patient=P2,P12",
        "Observation?subject=Patient/P2,Group/g",
    ] {
        let denial = denied(&world, target);
        assert_eq!(denial.reason, Reason::OtherPatient, "{target}");
        assert!(!denial.says.contains("P2"), "{target}");
    }
    let world = World::new(KPAT);
    // SR-39
    for target in ["Patient?_id=P2", "Patient?_id=P2,P12", "Patient?_id=P1&_id=P2", "Patient?link=Patient/P2"] {
        assert_eq!(reason(&world, target), Reason::OtherPatient, "{target}");
    }
}

#[test]
fn sr_04_searches_are_narrowed_to_the_patient() {
    for target in [
        "Observation",
        "Observation?patient=P1",
        "Observation?patient=Patient/P1", // SR-04
        "Observation?patient=P1,P2",      // SR-05
        "Observation?patient=P1%2CP2",    // SR-17
        "Observation?patient:Patient=P1",
        "Observation?patient=Patient/P1/_history/3",
        "Observation?patient=https://ehr/r4/Patient/P1", // SR-14
        "Observation?patient=https://pep/fhir/Patient/P1",
        "Observation?patient=P1,https://elsewhere/Patient/P1",
    ] {
        assert_eq!(query(KOBS, target), ["patient=Patient/P1"], "{target}");
    }
    // SR-06
    assert_eq!(query(KOBS, "Observation?subject=Patient/P1,Group/g"), ["patient=Patient/P1", "subject=Patient/P1"]);
    assert_eq!(
        query(KOBS, "Observation?encounter=https://ehr/r4/Encounter/E1"),
        ["encounter=Encounter/E1", "patient=Patient/P1"]
    );
    // SR-37, SR-60
    assert_eq!(query(KOBS, "Observation?_id=O2"), ["_id=O2", "patient=Patient/P1"]);
    assert_eq!(query(KOBS, "Observation?_tag=a|b"), ["_tag=a|b", "patient=Patient/P1"]);
    // SR-38
    assert_eq!(query(KPAT, "Patient"), ["_id=P1"]);
    assert_eq!(query(KPAT, "Patient?_id=P1,P2"), ["_id=P1"]);
    // A party list beside the patient: both must hold.
    assert_eq!(query(KALL, "Appointment?actor=Practitioner/PRA"), ["actor=Practitioner/PRA", "patient=Patient/P1"]);
}

#[test]
fn the_self_link_shows_what_was_applied() {
    let released =
        World::new(KOBS).released("Observation?patient=P1,P2&_total=accurate&_count=1000", &bundle(&["O1"], ""));
    assert_eq!(link(&released, "self").unwrap(), "https://pep/fhir/Observation?patient=Patient/P1&_count=100");
    let body = json(&released);
    // SR-34
    assert!(body.get("total").is_none() && body.get("id").is_none() && body.get("meta").is_none());
    assert_eq!(body["entry"][0]["fullUrl"], "https://pep/fhir/Observation/O1");
    assert_eq!(body["entry"][0]["search"]["mode"], "match");
}

// S1-23
#[test]
fn unbound_searches_are_narrowed_and_remarked() {
    let world = World::new(KPAT);
    let permit = world.permit("Patient?name=Smith");
    assert_eq!(sent(&permit), ["_id=P1", "name=Smith"]);
    assert_eq!(permit.remark(), Some(Reason::UnboundSearch));
    let empty = r#"{"resourceType":"Bundle","type":"searchset","total":0}"#;
    let released = world.released("Patient?name=Smith", empty);
    assert_eq!(
        String::from_utf8_lossy(released.body()),
        r#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"https://pep/fhir/Patient?_id=P1&name=Smith"}]}"#
    );
    assert_eq!(released.reason(), Some(Reason::UnboundSearch));
    assert_eq!(world.permit("Patient?_id=P1").remark(), None);
    assert_eq!(World::new(KOBS).permit("Observation?patient=P1").remark(), None);
}

#[test]
fn sr_11_sr_12_modifiers_on_patients_are_refused() {
    let world = World::new(KALL);
    for target in [
        "Observation?subject:missing=true",
        "Observation?subject:identifier=sys|mrn2",
        "Observation?patient=P1\\,P2",               // SR-16
        "Observation?_sort=subject.name",            // SR-36
        "Patient?_id:not=P1",                        // SR-44
        "Observation,Condition?patient=P1",          // SR-51
        "Observation?patient=P1&_type=Condition",    // SR-55
        "?_type=Observation,Condition",              // SR-50
        "Observation?_filter=subject eq Patient/P2", // FL-01
        "Observation?_query=all-of-them&patient=P1", // FL-03
        "Observation?_contained=both",               // FL-05
        "Patient?_list=L1",                          // FL-06
        "Observation?_content=x",                    // FL-08
        "Observation?_text=x",
        "Observation?patient=P1&_expunge=true", // FL-10
        "Observation?_assoc=x",
        "Observation?patient:not=P1",
    ] {
        let refused = match world.get(target) {
            Err(_) => true,
            Ok(policy::Decision::Deny(denial)) => denial.reason == Reason::NotSupported,
            Ok(policy::Decision::Permit(_) | policy::Decision::Write(_)) => false,
        };
        assert!(refused, "{target}");
    }
}

#[test]
fn sr_15_a_foreign_base_matches_nothing() {
    let world = World::new(KOBS);
    for target in [
        "Observation?subject=https://elsewhere/Patient/P1",
        "Observation?subject=Group/g",
        "Observation?patient=https://elsewhere/r4/Patient/P1",
    ] {
        let permit = world.permit(target);
        assert!(!permit.call().query.contains("elsewhere") && !permit.call().query.contains("P1"), "{target}");
        let released =
            world.released(target, &bundle(&["O1"], r#","link":[{"relation":"next","url":"https://ehr/r4?x=1"}]"#));
        assert_eq!(released.status(), 200);
        assert!(ids(&released).is_empty(), "{target}");
        assert!(link(&released, "next").is_none());
    }
}

// S1-31
#[test]
fn sr_23_every_entry_is_judged_whatever_its_mode() {
    let names = ["O1", "O2:", "O12:include", "OPF:match", "P2:include", "P1:include", "C1:", "OID", "OEX:outcome"];
    let released = World::new(KPO).released("Observation?patient=P1&_include=Observation:subject", &bundle(&names, ""));
    assert_eq!(ids(&released), ["O1", "P1"]);
    assert_eq!((released.counts().released, released.counts().filtered), (2, 7));
    assert_eq!(released.resources(), ["Observation/O1", "Patient/P1"]);
    let text = String::from_utf8_lossy(released.body()).into_owned();
    assert!(text.contains(r#""mode":"outcome""#) && !text.contains("P2") && !text.contains("P12"));
}

#[test]
fn foreign_matches_poison_and_end_the_pages() {
    let next = r#","link":[{"relation":"next","url":"https://ehr/r4?_getpages=1"}]"#;
    let world = World::new(KPO);
    let behind = ("?_getpages=1", bundle(&["OAB"], ""));
    let first =
        |of: &str, names: &[&str]| vec![(of.to_owned(), bundle(names, next)), (behind.0.to_owned(), behind.1.clone())];
    let found = |world: &World, target: &str, of: &str, names: &[&str]| {
        let known = first(of, names);
        let known: Vec<(&str, String)> = known.iter().map(|(at, body)| (at.as_str(), body.clone())).collect();
        ran(world, target, &known).released()
    };
    let clean = found(&world, "Observation?patient=P1", "Observation?patient=Patient/P1", &["O1"]);
    assert!(link(&clean, "next").is_some() && clean.findings().is_empty());
    for foreign in ["O2", "O2:", "OPF", "ONO"] {
        let released = world.released("Observation?patient=P1", &bundle(&["O1", foreign], next));
        assert_eq!(ids(&released), ["O1"], "{foreign}");
        assert_eq!(
            released.findings(),
            [Finding::ForeignMatch { kind: fhir::ResourceType::OBSERVATION, param: "patient".into() }],
            "{foreign}"
        );
        assert!(link(&released, "next").is_none(), "{foreign}");
    }
    let released = world.released("Patient?name=x", &bundle(&["P1", "P2"], next));
    assert_eq!(released.findings(), [Finding::ForeignMatch { kind: fhir::ResourceType::PATIENT, param: "_id".into() }]);
    // Not evidence: unreadable subjects, shared parties, and what was asked to be included.
    for held_back in ["OID", "OEX", "OCT"] {
        let released = found(&world, "Observation?patient=P1", "Observation?patient=Patient/P1", &["O1", held_back]);
        assert_eq!((ids(&released), released.findings().len()), (vec!["O1".into(), "OAB".into()], 0), "{held_back}");
    }
    // SR-46: the filter did its work, p3 does the rest.
    let released = found(
        &World::new(KALL),
        "Appointment?actor=Patient/P1",
        "Appointment?actor=Patient/P1&patient=Patient/P1",
        &["A12", "A1"],
    );
    assert_eq!((ids(&released), released.findings().len()), (vec!["A1".to_owned()], 0));
}

#[test]
fn poisoned_filters_are_refused_until_proved() {
    let mut world = World::new(KOBS);
    world.rules.filters.poisoned.insert((fhir::ResourceType::OBSERVATION, "patient".into()));
    assert_eq!(reason(&world, "Observation?patient=P1"), Reason::FilterUnproved);
    assert_eq!(world.released("Observation/O1", &resource("O1")).status(), 200, "reads need no filter");
    world.rules.filters.proved.insert((fhir::ResourceType::OBSERVATION, "subject".into()));
    assert_eq!(sent(&world.permit("Observation?code=1")), ["code=1", "subject=Patient/P1"]);
    world.rules.filters.proved.clear();
    world.rules.filters.proved.insert((fhir::ResourceType::OBSERVATION, "code".into()));
    assert_eq!(reason(&world, "Observation?code=1"), Reason::NotSupported, "`code` says nothing of a patient");
}

#[test]
fn sr_25_sr_26_sr_27_letters_for_searches() {
    assert_eq!(reason(&World::new(KOBS), "Condition?patient=P1"), Reason::ScopeInsufficient);
    assert_eq!(reason(&World::new("patient/Observation.r"), "Observation?patient=P1"), Reason::ScopeInsufficient);
    let released = World::new("patient/Observation.s").released("Observation?patient=P1", &bundle(&["O1"], ""));
    assert_eq!(ids(&released), ["O1"]);
}

#[test]
fn sr_28_to_sr_33_scope_queries_are_imposed_and_verified() {
    let vital = "category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";
    let encoded = |query: Vec<String>| query.iter().map(|pair| pair.replace("%3A", ":")).collect::<Vec<_>>();
    assert_eq!(encoded(query(KVIT, "Observation?patient=P1")), [vital, "patient=Patient/P1"]);
    let world = World::new(KVIT);
    assert_eq!(ids(&world.released("Observation?patient=P1", &bundle(&["O1", "O1L"], ""))), ["O1"]);
    // SR-29: beside the caller's own, both must hold.
    assert_eq!(
        encoded(query(KVIT, "Observation?patient=P1&category=laboratory")),
        [vital, "category=laboratory", "patient=Patient/P1"]
    );
    // SR-31
    let released = world.released("Observation?patient=P1&category:not=vital-signs", &bundle(&["O1L"], ""));
    assert!(ids(&released).is_empty());
    // SR-30: one parameter, several clauses: a union in one list.
    let twin = "patient/Observation.rs?category=vital-signs patient/Observation.rs?category=laboratory";
    assert_eq!(query(twin, "Observation"), ["category=vital-signs,laboratory", "patient=Patient/P1"]);
    assert_eq!(ids(&World::new(twin).released("Observation", &bundle(&["O1", "O1L", "OAB"], ""))), ["O1", "O1L"]);
    // SR-32: not expressible in one search: one after another, none twice.
    let mixed = "patient/Observation.rs?category=laboratory patient/Observation.rs?status=final";
    assert_eq!(query(mixed, "Observation"), ["category=laboratory", "patient=Patient/P1", "_count=20"]);
    let world = World::new(mixed);
    let ran = run(world.get("Observation").unwrap(), &mut |_| answer(200, bundle(&["O1", "O1L"], "").as_bytes()));
    assert_eq!(ran.calls.len(), 2, "the other slice follows");
    assert_eq!(ids(&ran.released()), ["O1L", "O1"]);
    // A slice without results is passed over.
    let ran = run(world.get("Observation").unwrap(), &mut |_| answer(200, bundle(&["O1"], "").as_bytes()));
    let queries: Vec<&str> = ran.calls.iter().map(|call| call.query.as_str()).collect();
    assert_eq!(
        queries,
        ["category=laboratory&patient=Patient/P1&_count=20", "patient=Patient/P1&status=final&_count=20"]
    );
    assert_eq!(ids(&ran.released()), ["O1"]);
    // With an order there is one search, told apart by verification alone.
    assert_eq!(query(mixed, "Observation?_sort=date"), ["patient=Patient/P1", "_sort=date"]);
    let released = World::new(mixed).released("Observation?_sort=date", &bundle(&["O1", "O1L"], ""));
    assert_eq!(ids(&released), ["O1", "O1L"]);
    // SR-33
    let both = "patient/Observation.rs?category=laboratory&status=final";
    assert_eq!(query(both, "Observation"), ["category=laboratory", "patient=Patient/P1", "status=final"]);
    assert_eq!(ids(&World::new(both).released("Observation", &bundle(&["O1", "O1L"], ""))), ["O1L"]);
    // A clause without a query is the whole type.
    assert_eq!(query(&format!("{KVIT} {KOBS}"), "Observation"), ["patient=Patient/P1"]);
}

// S1-24
#[test]
fn sr_35_counts_are_clamped_and_zero_refused() {
    assert_eq!(query(KOBS, "Observation?_count=1000"), ["patient=Patient/P1", "_count=100"]);
    assert_eq!(query(KOBS, "Observation?_count=7&_total=accurate"), ["patient=Patient/P1", "_count=7"]);
    assert_eq!(reason(&World::new(KOBS), "Observation?_count=0"), Reason::NotSupported);
}

#[test]
fn sr_48_sr_49_provenance_and_shared_types() {
    let released = World::new(KALL).released("Provenance?patient=P1", &bundle(&["PV12"], ""));
    assert!(ids(&released).is_empty());
    let world = World::new("patient/Practitioner.rs");
    assert_eq!(sent(&world.permit("Practitioner?name=x")), ["name=x"]);
    assert_eq!(ids(&world.released("Practitioner?name=x", &bundle(&["PRA"], ""))), ["PRA"]);
    let mut world = world;
    world.rules.shared.clear();
    assert_eq!(reason(&world, "Practitioner?name=x"), Reason::TypeNotShared);
}

#[test]
fn only_searchsets_are_results() {
    let world = World::new(KOBS);
    for body in [
        resource("O1"),
        r#"{"resourceType":"OperationOutcome","issue":[]}"#.into(),
        bundle(&["O1"], "").replace("searchset", "history"),
        bundle(&["O1"], "").replace("\"searchset\"", "7"),
        r#"{"resourceType":"Bundle","type":"searchset","entry":{}}"#.into(),
        r#"{"type":"searchset"}"#.into(),
        "[]".into(),
    ] {
        let released = world.released("Observation?patient=P1", &body);
        assert_eq!((released.status(), released.reason()), (502, Some(Reason::UpstreamBroken)), "{body}");
    }
}

#[test]
fn er_02_the_upstreams_own_outcome_is_replaced() {
    let body = r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"OperationOutcome","issue":[{"diagnostics":"row 7 of P2"}]},"search":{"mode":"outcome"}}]}"#;
    let released = World::new(KOBS).released("Observation?patient=P1", body);
    let text = String::from_utf8_lossy(released.body()).into_owned();
    assert!(text.contains(r#""mode":"outcome""#) && !text.contains("row 7"));
}
