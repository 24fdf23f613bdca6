//! S3-10: labelled records and the patient's own Consents, whatever way leads to a record.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::{Consents, Guard, Verdict};
use testkit::world::{NOW, World, answer, run};

use crate::fixture::*;

const PSY: &str = r#","meta":{"versionId":"1","security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PSY"}]}"#;

fn labelled(id: &str) -> String {
    observation(id, &(subject("Patient/P1") + PSY))
}

fn permitted(scopes: &str) -> World {
    let mut world = World::new(scopes);
    world.profile.labels = BTreeSet::from(["PSY".to_owned()]);
    world
}

/// A rule of the organisation that keeps back what the task may see.
struct NoPsy;

impl Guard for NoPsy {
    fn releases(&self, _: fhir::ResourceType, labels: &BTreeSet<String>) -> bool {
        !labels.contains("PSY")
    }
}

/// Every way to `HID` gives what there would be without it.
#[test]
fn a_labelled_record_is_as_if_absent_on_every_way() {
    let hidden = labelled("HID");
    let set = |resources: &[String]| bundle_of("searchset", resources, "");
    let operations = |mut world: World| {
        world.profile.operations = [domain::Operation::Everything, domain::Operation::LastN].into();
        world
    };
    let last = "Observation?patient=Patient/P1&_sort=-date&_count=100";
    for (target, call, with, without) in [
        ("Observation/HID", "Observation/HID", Some(hidden.clone()), None),
        ("Observation/HID/_history/1", "Observation/HID/_history/1", Some(hidden.clone()), None),
        (
            "Observation/HID/_history",
            "Observation/HID/_history",
            Some(bundle_of("history", std::slice::from_ref(&hidden), "")),
            None,
        ),
        (
            "Observation",
            "Observation?patient=Patient/P1",
            Some(set(&[hidden.clone(), resource("O1")])),
            Some(set(&[resource("O1")])),
        ),
        (
            "Patient/P1/Observation",
            "Observation?patient=Patient/P1",
            Some(set(std::slice::from_ref(&hidden))),
            Some(set(&[])),
        ),
        (
            "Patient/P1/$everything",
            "Patient/P1/$everything",
            Some(set(&[hidden.clone(), resource("P1")])),
            Some(set(&[resource("P1")])),
        ),
        ("Observation/$lastn", last, Some(set(&[hidden.clone(), resource("O1")])), Some(set(&[resource("O1")]))),
        (
            "Patient?_revinclude=Observation:subject",
            "Patient?_id=P1&_revinclude=Observation:subject",
            Some(set(&[resource("P1"), hidden.clone()])),
            Some(set(&[resource("P1")])),
        ),
    ] {
        let known = |body: Option<String>| {
            body.map(|body| vec![(call, body), ("Observation/HID", hidden.clone())]).unwrap_or_default()
        };
        let got = ran(&operations(World::new(KPO)), target, &known(with.clone())).released();
        let absent = ran(&operations(World::new(KPO)), target, &known(without)).released();
        assert_eq!((got.status(), text(&got)), (absent.status(), text(&absent)), "{target}");
        assert!(got.findings().is_empty(), "{target}");
        let mut guarded = operations(permitted(KPO));
        guarded.guard = Some(Arc::new(NoPsy));
        let kept = ran(&guarded, target, &known(with.clone())).released();
        assert_eq!((kept.status(), text(&kept)), (absent.status(), text(&absent)), "{target}");
        let seen = ran(&operations(permitted(KPO)), target, &known(with)).released();
        assert!(seen.status() == 200 && text(&seen).contains("HID"), "{target}: {}", text(&seen));
    }
}

/// A clause that names the label permits it beside one that does not.
#[test]
fn s3_10_a_clause_that_names_a_label_is_not_lost_in_a_wider_one() {
    let got = |scopes: &str| World::new(scopes).released("Observation/HID", &labelled("HID")).status();
    for (scopes, status) in [
        ("patient/Observation.rs", 404),
        ("patient/Observation.rs?_security=PSY", 200),
        ("patient/Observation.rs patient/Observation.r?_security=PSY", 200),
        ("patient/Observation.r?_security=PSY patient/Observation.rs", 200),
        ("patient/Observation.rs patient/Observation.s?_security=PSY", 404),
        ("patient/Observation.rs patient/Observation.rs?_security=HIV", 404),
    ] {
        assert_eq!(got(scopes), status, "{scopes}");
    }
}

/// What is included by way of a hidden resource did not come along.
#[test]
fn in_11_nothing_is_reached_through_what_is_hidden() {
    let scopes = "patient/Observation.rs patient/Practitioner.rs patient/Encounter.rs";
    let target = "Observation?_include=Observation:encounter&_include:iterate=Encounter:participant";
    let encounter = |rest: &str| {
        format!(
            r#"{{"resourceType":"Encounter","id":"E1","subject":{{"reference":"Patient/P1"}},"participant":[{{"individual":{{"reference":"Practitioner/PRA"}}}}]{rest}}}"#
        )
    };
    let match_ = observation("O1", &(subject("Patient/P1") + r#","encounter":{"reference":"Encounter/E1"}"#));
    let with = |rest: &str| {
        let bundle = bundle_of("searchset", &[match_.clone(), encounter(rest), resource("PRA")], "");
        ids(&World::new(scopes).released(target, &bundle))
    };
    assert_eq!(with(""), ["O1", "E1", "PRA"]);
    assert_eq!(with(PSY), ["O1"]);
    // A match that is hidden leads nowhere either.
    let hidden = observation("O1", &(subject("Patient/P1") + r#","encounter":{"reference":"Encounter/E1"}"# + PSY));
    let bundle = bundle_of("searchset", &[hidden, encounter(""), resource("PRA")], "");
    assert!(ids(&World::new(scopes).released(target, &bundle)).is_empty());
}

#[test]
fn ct_04_labels_within_contained_resources_count() {
    let holds = |label: &str| {
        let contained = format!(
            r#","contained":[{{"resourceType":"Condition","id":"c","subject":{{"reference":"Patient/P1"}}{label}}}]"#
        );
        World::new("patient/Observation.rs patient/Condition.rs")
            .released("Observation/O1", &observation("O1", &(subject("Patient/P1") + &contained)))
            .status()
    };
    assert_eq!(holds(""), 200);
    assert_eq!(holds(PSY), 404);
    assert_eq!(holds(r#","meta":{"security":"N"}"#), 404);
}

fn consent(rest: &str) -> String {
    format!(r#"{{"resourceType":"Consent","id":"c1","status":"active","patient":{{"reference":"Patient/P1"}}{rest}}}"#)
}

const NO_CONDITIONS: &str = r#","provision":{"type":"permit","provision":[{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Condition"}]}]}"#;

/// The Consents that an upstream's answers amount to; `None` when they cannot be known.
fn asked(answers: &[(&str, String)]) -> Option<Consents> {
    let world = World::new(KPO);
    let mut verdict = Verdict::Next(policy::ask_consents(&world.rules, &world.session, NOW).unwrap());
    let mut upstream = upstream(answers);
    loop {
        match verdict {
            Verdict::Next(permit) => {
                let answer = upstream(permit.call());
                verdict = policy::verify(permit.answered(answer), &mut |_| None);
            }
            Verdict::Consents(found) => return found,
            Verdict::Denied(_) => return None,
            _ => panic!("released"),
        }
    }
}

const ASKED: &str = "Consent?_count=100&patient=Patient/P1";

fn reads(consents: Option<Consents>, target: &str, body: &str) -> u16 {
    let mut world = World::new("patient/Condition.rs patient/Observation.rs");
    world.consents = consents.unwrap_or_else(Consents::unknown);
    let path = target.to_owned();
    let body = body.to_owned();
    let played = run(world.get(target).unwrap(), &mut |call| {
        assert_eq!(call.path, path);
        answer(200, body.as_bytes())
    });
    played.released().status()
}

#[test]
fn a_consent_denies_what_it_names_contained_too() {
    let found = || asked(&[(ASKED, bundle_of("searchset", &[consent(NO_CONDITIONS)], ""))]);
    assert_eq!(reads(found(), "Observation/O1", &resource("O1")), 200);
    assert_eq!(reads(found(), "Condition/C1", &resource("C1")), 404);
    let holds = observation(
        "O1",
        &(subject("Patient/P1")
            + r#","contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/P1"}}]"#),
    );
    assert_eq!(reads(asked(&[(ASKED, bundle_of("searchset", &[], ""))]), "Observation/O1", &holds), 200);
    assert_eq!(reads(found(), "Observation/O1", &holds), 404);
    // On a second page as on the first.
    let pages = [
        (ASKED, bundle_of("searchset", &[], &next_link("https://ehr/r4?page=2"))),
        ("?page=2", bundle_of("searchset", &[consent(NO_CONDITIONS)], "")),
    ];
    assert_eq!(reads(asked(&pages), "Condition/C1", &resource("C1")), 404);
}

/// What cannot be known forbids.
#[test]
fn consents_that_cannot_be_read_are_unknown() {
    let set = |resources: &[String], more: &str| bundle_of("searchset", resources, more);
    let subsetted = consent(r#","meta":{"tag":[{"code":"SUBSETTED"}]}"#);
    for (what, body) in [
        ("no searchset", bundle_of("history", &[], "")),
        ("no Bundle", resource("P1")),
        (
            "an entry without a body",
            r#"{"resourceType":"Bundle","type":"searchset","entry":[{"fullUrl":"https://ehr/r4/Consent/c1"}]}"#
                .to_owned(),
        ),
        ("shortened", set(&[subsetted], "")),
        ("led away", set(&[], &next_link("https://evil/r4?page=2"))),
        ("a page that is missing", set(&[], &next_link("https://ehr/r4?page=2"))),
        ("pages without end", set(&[], &next_link("https://ehr/r4/Consent?_count=100&patient=Patient/P1"))),
        ("no JSON", "<html>".to_owned()),
    ] {
        assert!(asked(&[(ASKED, body)]).is_none(), "{what}");
    }
    // No resource at all: it may have been one.
    let odd = asked(&[(ASKED, set(&["{}".to_owned()], ""))]);
    assert_eq!(reads(odd, "Observation/O1", &resource("O1")), 404);
    assert_eq!(reads(None, "Observation/O1", &resource("O1")), 404);
    // A server without the type has none.
    assert_eq!(reads(asked(&[]), "Observation/O1", &resource("O1")), 200);
}
