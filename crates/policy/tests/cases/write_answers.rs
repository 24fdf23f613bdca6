//! b.12, b.15: what becomes of a change, and links to Binaries.

use domain::Reason;
use fhir::request::Method;
use policy::{BinaryProof, Decision, UpstreamAnswer};
use testkit::world::{PUBLIC, World, answer, run, run_sealed};

use crate::fixture::*;
use crate::writes::{JSON, KW, ask, mine, post, refused, sent_body};

#[test]
fn without_versions_nothing_is_changed() {
    let world = World::new(KW);
    let ran = run(ask(&world, Method::Delete, "Observation/O1", JSON, "").unwrap(), &mut |_| {
        answer(200, resource("O1").as_bytes())
    });
    refused(&ran, Reason::UpstreamBroken, "no version");
    let mut call = 0;
    let ran = run(ask(&world, Method::Delete, "Observation/O1", JSON, "").unwrap(), &mut |_| {
        call += 1;
        if call > 1 {
            return answer(204, b"");
        }
        UpstreamAnswer { etag: Some("W/\"9\"".into()), ..answer(200, resource("O1").as_bytes()) }
    });
    assert_eq!(ran.writes().next().unwrap().if_match.as_deref(), Some("W/\"9\""));
}

#[test]
fn what_the_upstream_says_of_a_change_is_judged() {
    let world = World::new(KW);
    let with = |status: u16, body: &str, location: Option<&str>| {
        let answered = UpstreamAnswer { location: location.map(str::to_owned), ..answer(status, body.as_bytes()) };
        run(ask(&world, Method::Post, "Observation", JSON, &mine("")).unwrap(), &mut |_| UpstreamAnswer {
            location: answered.location.clone(),
            ..answer(answered.status, &answered.body)
        })
        .released()
    };
    // WR-38
    let released = with(201, &resource("O2"), None);
    assert_eq!((released.status(), released.counts().released, released.findings().len()), (201, 0, 1));
    assert!(!String::from_utf8_lossy(released.body()).contains("P2"));
    let other = with(201, &resource("O1"), Some("https://ehr/r4/Observation/O2/_history/1"));
    assert_eq!((other.location(), other.findings().len()), (None, 1), "two ids are none");
    for location in
        ["https://elsewhere/Observation/O9", "Patient/P2", "Observation/O9/x", "https://ehr/r4/Patient/P2/_history/1"]
    {
        assert_eq!(with(201, "", Some(location)).location(), None, "{location}");
    }
    let (own, theirs) = ("https://ehr/r4/Observation/O1/_history/2", "https://ehr/r4/Observation/O2/_history/1");
    assert_eq!(
        with(201, &resource("O1"), Some(own)).location(),
        Some("https://pep/fhir/Observation/O1/_history/2"),
        "the record proves it"
    );
    let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"Patient/P2 Zwei"}]}"#;
    for body in ["", outcome, &resource("O2"), "{"] {
        for location in [own, theirs] {
            let released = with(201, body, Some(location));
            assert_eq!((released.location(), released.etag()), (None, None), "{location} by its word alone: {body}");
        }
    }
    for (status, expected, reason) in [
        (409, 412, Reason::VersionConflict),
        (412, 412, Reason::VersionConflict),
        (422, 422, Reason::UpstreamRefused),
        (400, 422, Reason::UpstreamRefused),
        (500, 500, Reason::OutcomeUnknown),
        (502, 500, Reason::OutcomeUnknown),
        (503, 500, Reason::OutcomeUnknown),
        (504, 500, Reason::OutcomeUnknown),
        (202, 500, Reason::OutcomeUnknown),
        (302, 500, Reason::OutcomeUnknown),
        (401, 502, Reason::UpstreamBroken),
        (404, 404, Reason::NotFound),
    ] {
        let released = with(status, outcome, None);
        assert_eq!((released.status(), released.reason()), (expected, Some(reason)), "{status}");
        assert!(!String::from_utf8_lossy(released.body()).contains("P2"), "WR-39");
    }
}

#[test]
fn bi_06_links_to_binaries_are_proved() {
    let mut world = World::new("patient/DocumentReference.cruds patient/Binary.crud patient/Observation.cruds");
    let document = |url: &str| {
        format!(
            r#"{{"resourceType":"DocumentReference","subject":{{"reference":"Patient/P1"}},"content":[{{"attachment":{{"url":"{url}"}}}}]}}"#
        )
    };
    for url in [
        "Binary/B2",
        "https://pep/fhir/Binary/B2",
        "https://ehr/r4/Binary/B2",
        "https://ehr/r4//Binary/B2",
        "https://attacker/",
        "Binary/B2/_history/1",
        "/Binary/B2",
        "Binary/%422",
        "HTTPS://EHR/r4/Binary/B2",
        "https://pep/fhir/Binary/B2?_hilum=other",
        "Binary/B1?_hilum=b1x",
        "DocumentReference/D2",
        "urn:uuid:1",
        "javascript:alert(1)",
        "data:text/plain,x",
        "Binary/B2?_hilum=b1",
        "https://ehr/r4/DocumentReference/../Binary/B2",
    ] {
        let ran = post(&world, "DocumentReference", &[], &document(url));
        refused(&ran, Reason::WriteRefused, url);
    }
    // Proofs as a read gives them, to this session and to another.
    let proof = |session| {
        let mut reader = World::new("patient/DocumentReference.cruds patient/Binary.crud");
        reader.session.id = session;
        let stored = document("Binary/B1").replacen('{', r#"{"id":"D1","#, 1);
        let mut sealed = Vec::new();
        let decision = Decision::Permit(reader.permit("DocumentReference/D1"));
        let _ = run_sealed(decision, &mut |_| answer(200, stored.as_bytes()), &mut |bytes| {
            sealed = bytes.to_vec();
            Some("s".into())
        });
        BinaryProof::decode(&sealed).unwrap()
    };
    world.proofs.insert("b1".into(), proof(world.session.id));
    world.proofs.insert("stranger".into(), proof(domain::SessionId([1; 16])));
    refused(
        &post(&world, "DocumentReference", &[], &document("Binary/B1?_hilum=stranger")),
        Reason::WriteRefused,
        "another session's",
    );
    refused(
        &post(&world, "DocumentReference", &[], &document("Binary/B2?_hilum=b1")),
        Reason::WriteRefused,
        "another Binary's",
    );
    let ran = post(&world, "DocumentReference", &[], &document(&format!("{PUBLIC}/Binary/B1?_hilum=b1")));
    assert!(sent_body(&ran).contains(r#""url":"Binary/B1""#));
    // A Binary is the patient's by its securityContext.
    for (context, fits) in [("Patient/P1", true), ("Patient/P2", false), ("DocumentReference/D1", false)] {
        let body = format!(
            r#"{{"resourceType":"Binary","contentType":"text/plain","data":"Zm9v","securityContext":{{"reference":"{context}"}}}}"#
        );
        assert_eq!(post(&world, "Binary", &[], &body).writes().count(), usize::from(fits), "{context}");
    }
    assert_eq!(
        post(&world, "Binary", &[], r#"{"resourceType":"Binary","contentType":"text/plain"}"#).writes().count(),
        0
    );
    let by_reference = mine(r#","extension":[{"url":"u","valueReference":{"reference":"Binary/B2"}}]"#);
    let b2 = r#"{"resourceType":"Binary","id":"B2","contentType":"text/plain"}"#;
    assert_eq!(post(&world, "Observation", &[("Binary/B2", b2)], &by_reference).writes().count(), 0);
}

/// The patient's Consent that denies a class of resources.
fn denying(class: &str) -> policy::Consents {
    let consent = format!(
        r#"{{"resourceType":"Consent","id":"X","status":"active","patient":{{"reference":"Patient/P1"}},
        "scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},
        "provision":{{"type":"deny","class":[{{"system":"http://hl7.org/fhir/resource-types","code":"{class}"}}]}}}}"#
    );
    let document = fhir::json::Document::parse(consent.as_bytes()).unwrap();
    policy::Consents::read([document.root()], &"P1".parse().unwrap(), testkit::world::UPSTREAM)
}

#[test]
fn what_the_patient_denies_is_neither_written_nor_there() {
    let mut world = World::new(KW);
    world.consents = denying("Observation");
    refused(&post(&world, "Observation", &[], &mine("")), Reason::WriteRefused, "create");
    let (old, media) = (resource("O1"), "application/json-patch+json");
    for (method, media, body) in [
        (Method::Put, JSON, old.as_str()),
        (Method::Delete, JSON, ""),
        (Method::Patch, media, r#"[{"op":"test","path":"/status","value":"final"}]"#),
    ] {
        let decision = ask(&world, method, "Observation/O1", media, body).unwrap();
        let ran = run(decision, &mut crate::writes::upstream(&[("Observation/O1", &old)]));
        refused(&ran, Reason::NotFound, "as if absent");
    }
    // What is denied cannot be found out by referring to it.
    world.consents = denying("Encounter");
    let e1 = r#"{"resourceType":"Encounter","id":"E1","subject":{"reference":"Patient/P1"}}"#;
    let refers = |id: &str| {
        let body = mine(&format!(r#","encounter":{{"reference":"Encounter/{id}"}}"#));
        post(&world, "Observation", &[("Encounter/E1", e1)], &body).end.err()
    };
    assert!(refers("E1").is_some());
    assert_eq!(refers("E1"), refers("E9"));
}

#[test]
fn what_a_label_holds_back_is_not_changed() {
    let world = World::new(KW);
    let label = r#","meta":{"versionId":"7","security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}"#;
    let old = observation("O1", &(subject("Patient/P1") + label));
    for (method, body) in [(Method::Put, old.as_str()), (Method::Delete, "")] {
        let decision = ask(&world, method, "Observation/O1", JSON, body).unwrap();
        let ran = run(decision, &mut crate::writes::upstream(&[("Observation/O1", &old)]));
        refused(&ran, Reason::NotFound, "held back");
    }
    let mut world = World::new(KW);
    world.profile.labels = ["R".to_owned()].into();
    let ran = run(
        ask(&world, Method::Put, "Observation/O1", JSON, &old).unwrap(),
        &mut crate::writes::upstream(&[("Observation/O1", &old)]),
    );
    assert_eq!(ran.writes().count(), 1, "{:?}", ran.refused());
    let without = observation("O1", &(subject("Patient/P1") + r#","meta":{"versionId":"7"}"#));
    let ran = run(
        ask(&world, Method::Put, "Observation/O1", JSON, &without).unwrap(),
        &mut crate::writes::upstream(&[("Observation/O1", &old)]),
    );
    refused(&ran, Reason::WriteRefused, "nobody sets it free");
}
