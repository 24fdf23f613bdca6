//! b.15: a Binary is had by proof of link, by its security context or by a document; never by its name alone.

use std::collections::BTreeMap;

use domain::{Reason, SessionId};
use fhir::request::{Method, Raw};
use policy::{BinaryProof, Content, Decision, Released};
use testkit::world::{NOW, Ran, World, answer, run, run_sealed};

use crate::fixture::*;

const KDOC: &str = "patient/DocumentReference.rs patient/Binary.r";
const LOOK_UP: &str = "DocumentReference?location=Binary/B1,https%3A//ehr/r4/Binary/B1&patient=Patient/P1";
const RESTRICTED: &str = r#","meta":{"security":[{"code":"R"}]}"#;

fn binary(id: &str, rest: &str) -> String {
    format!(r#"{{"resourceType":"Binary","id":"{id}","contentType":"text/plain","data":"Zm9v"{rest}}}"#)
}

fn context(reference: &str) -> String {
    binary("B1", &format!(r#","securityContext":{{"reference":"{reference}"}}"#))
}

fn document(id: &str, patient: &str, url: &str, rest: &str) -> String {
    format!(
        r#"{{"resourceType":"DocumentReference","id":"{id}","status":"current","subject":{{"reference":"Patient/{patient}"}},"content":[{{"attachment":{{"contentType":"application/pdf","url":"{url}"}}}}]{rest}}}"#
    )
}

fn status(ran: &Ran) -> u16 {
    ran.end.as_ref().map_or(0, Released::status)
}

/// The proof that a released document carries.
fn proof(world: &World, url: &str) -> Option<BinaryProof> {
    let mut found = None;
    let known = [("DocumentReference/D1", document("D1", "P1", url, ""))];
    let _ran = run_sealed(world.get("DocumentReference/D1").unwrap(), &mut upstream(&known), &mut |bytes| {
        found = BinaryProof::decode(bytes).ok();
        Some("t".into())
    });
    found
}

fn with_proof(mut world: World, proof: Option<BinaryProof>) -> World {
    world.proofs = BTreeMap::from_iter(proof.map(|proof| ("t".to_owned(), proof)));
    world
}

#[test]
fn bi_01_bi_03_a_released_link_proves() {
    let world = World::new(KDOC);
    let found = proof(&world, "Binary/B1").unwrap();
    let known = [("Binary/B1", binary("B1", ""))];
    let played = ran(&with_proof(World::new(KDOC), Some(found.clone())), "Binary/B1?_hilum=t", &known);
    assert_eq!(played.calls.len(), 1);
    let released = played.released();
    assert_eq!((released.status(), released.body()), (200, &b"foo"[..]));
    assert_eq!(released.content(), &Content::Raw("application/pdf".into()), "the type is the attachment's");
    // Of another session, of another Binary, too old, or no proof at all.
    let mut session = with_proof(World::new(KDOC), Some(found.clone()));
    session.session.id = SessionId([1; 16]);
    assert_eq!(reason(&session, "Binary/B1?_hilum=t"), Reason::PageInvalid);
    let own = with_proof(World::new(KDOC), Some(found));
    assert_eq!(reason(&own, "Binary/B2?_hilum=t"), Reason::PageInvalid);
    assert_eq!(reason(&own, "Binary/B1?_hilum=other"), Reason::PageInvalid);
    assert_eq!(reason(&World::new(KDOC), "Binary/B1?_hilum=t"), Reason::PageInvalid);
    // BI-04: without a grant of Binary there is no proof, and no Binary.
    assert!(proof(&World::new("patient/DocumentReference.rs"), "Binary/B1").is_none());
    assert_eq!(reason(&World::new("patient/DocumentReference.rs"), "Binary/B1"), Reason::ScopeInsufficient);
    // A link elsewhere proves nothing here (BI-08).
    for url in ["https://elsewhere/Binary/B1", "https://pep/other/Binary/B1", "Binary/B1/x", "Observation/B1"] {
        assert!(proof(&World::new(KDOC), url).is_none(), "{url}");
    }
    assert!(proof(&World::new(KDOC), "https://ehr/r4/Binary/B1").is_some());
}

#[test]
fn a_proof_does_not_outweigh_what_the_binary_says() {
    let own = || with_proof(World::new(KDOC), proof(&World::new(KDOC), "Binary/B1"));
    let target = "Binary/B1?_hilum=t";
    for (body, expected) in [
        (binary("B1", ""), 200),
        (context("Patient/P1"), 200),
        (context("Patient/P2"), 404),
        (context("https://elsewhere/Patient/P1"), 404),
        (context("Practitioner/PRA"), 404),
        (context("Group/G12"), 404),
        (context("Binary/B2"), 404),
        (context(""), 404),
        (binary("B1", r#","securityContext":{"identifier":{"value":"mrn-p1"}}"#), 404),
        (binary("B1", RESTRICTED), 404),
        (binary("B2", ""), 502),
        (resource("O1"), 502),
        (binary("B1", "").replace("Zm9v", "*"), 502),
    ] {
        let played = ran(&own(), target, &[("Binary/B1", body.clone())]);
        assert_eq!(status(&played), expected, "{body}");
    }
    assert_eq!(status(&ran(&own(), target, &[])), 404);
}

#[test]
fn bi_02_a_security_context_opens_what_the_session_may_have_of_it() {
    let scopes = "patient/Binary.r patient/Observation.rs";
    let held = |text: &str| [("Binary/B1", context("Observation/O1")), ("Observation/O1", text.to_owned())];
    let played = ran(&World::new(scopes), "Binary/B1", &held(&resource("O1")));
    assert_eq!((played.calls.len(), status(&played)), (2, 200));
    let absent = ran(&World::new(scopes), "Binary/none", &[]).released();
    for other in [
        observation("O1", &subject("Patient/P2")),
        observation("O1", ""),
        resource("O2"),
        observation("O1", &(subject("Patient/P1") + RESTRICTED)),
        resource("O1").replace("Observation", "Condition"),
    ] {
        let released = ran(&World::new(scopes), "Binary/B1", &held(&other)).released();
        assert_eq!((released.status(), released.body()), (404, absent.body()), "{other}");
    }
    // The type itself is not granted, or its slice is not.
    for scopes in ["patient/Binary.r", "patient/Binary.r patient/Observation.rs?category=http://x|y"] {
        assert_eq!(status(&ran(&World::new(scopes), "Binary/B1", &held(&resource("O1")))), 404, "{scopes}");
    }
    for status_ in [500_u16, 403, 404, 503] {
        let mut known = upstream(&[]);
        let body = context("Observation/O1");
        let played = run(World::new(scopes).get("Binary/B1").unwrap(), &mut |call| {
            if call.path == "Binary/B1" {
                answer(200, body.as_bytes())
            } else {
                let _ = known(call);
                answer(status_, b"{}")
            }
        });
        assert!(status(&played) >= 400, "{status_}");
    }
}

#[test]
fn bi_05_a_document_proves_only_where_the_session_cannot_have_written_it() {
    let look_up =
        |documents: &[String]| [("Binary/B1", binary("B1", "")), (LOOK_UP, bundle_of("searchset", documents, ""))];
    let own = document("D1", "P1", "Binary/B1", "");
    let played = ran(&World::new(KDOC), "Binary/B1", &look_up(std::slice::from_ref(&own)));
    assert_eq!(played.calls.iter().map(address).collect::<Vec<_>>(), ["Binary/B1", LOOK_UP]);
    assert_eq!(status(&played), 200);
    let absent = ran(&World::new(KDOC), "Binary/none", &[]).released();
    for documents in [
        vec![],
        vec![document("D1", "P1", "Binary/B2", "")],
        vec![document("D2", "P2", "Binary/B1", "")],
        vec![document("D1", "P1", "https://elsewhere/Binary/B1", "")],
        vec![document("D1", "P1", "Binary/B1", RESTRICTED)],
        vec![document("D1", "P1", "Binary/B1", r#","contained":[{"resourceType":"Patient","id":"p"}]"#)],
        vec![own.replace("DocumentReference", "Observation")],
    ] {
        let released = ran(&World::new(KDOC), "Binary/B1", &look_up(&documents)).released();
        assert_eq!((released.status(), released.body()), (404, absent.body()), "{documents:?}");
    }
    for scopes in [
        "patient/DocumentReference.rs patient/DocumentReference.c patient/Binary.r",
        "patient/DocumentReference.cruds patient/Binary.r",
        "patient/DocumentReference.write patient/DocumentReference.read patient/Binary.r",
        "patient/Binary.r",
    ] {
        let played = ran(&World::new(scopes), "Binary/B1", &look_up(std::slice::from_ref(&own)));
        assert_eq!((played.calls.len(), status(&played)), (1, 404), "{scopes}");
    }
}

#[test]
fn binary_has_no_other_way_in() {
    for target in [
        "Binary",
        "Binary?_id=B1",
        "Binary/B1/_history",
        "Binary/B1/_history/1",
        "Patient/P1/Binary",
        "Binary/B1?_elements=data",
        "Binary/B1?_hilum=a&_hilum=b",
        "Binary/B1?_hilum=%2F",
    ] {
        assert!(unreadable(&World::new(KALL), target), "{target}");
    }
    let read = |accept: &str| {
        fhir::request::read(&Raw { accept: Some(accept), ..Raw::plain(Method::Get, "/Binary/B1", None) })
    };
    assert!(read("application/fhir+xml").is_err(), "FM-01");
    assert!(read("application/fhir+json, application/fhir+xml;q=0.9").is_ok());
    // As a resource it is judged like its content, and nothing of its context is told but that it is the session's.
    let world = World::new("patient/Binary.r");
    let decision = world.decide(read("application/fhir+json").unwrap(), None);
    assert!(matches!(decision, Decision::Permit(_)));
    let released = run(decision, &mut upstream(&[("Binary/B1", context("Patient/P1"))])).released();
    assert_eq!(released.content(), &Content::Fhir);
    assert_eq!(json(&released)["data"], "Zm9v");
    assert!(world.session.expires_at > NOW);
}
