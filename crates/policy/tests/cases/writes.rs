//! b.12, b.15: creating, changing and deleting one instance.

use domain::Reason;
use fhir::request::{Body, Conditions, Method, Raw};
use policy::{Decision, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};
use testkit::world::{Ran, World, answer, run};

use crate::fixture::*;

pub const KW: &str = "patient/Observation.cruds";
pub const JSON: &str = "application/fhir+json";

/// One write as it comes in.
pub fn ask(world: &World, method: Method, target: &str, media: &str, body: &str) -> Result<Decision, String> {
    ask_when(world, method, target, media, body, Conditions::default())
}

fn ask_when(
    world: &World,
    method: Method,
    target: &str,
    media: &str,
    body: &str,
    conditions: Conditions<'_>,
) -> Result<Decision, String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = format!("/{path}");
    let sent = (!body.is_empty()).then_some(Body { media: Some(media), bytes: body.as_bytes() });
    let raw = Raw { body: sent, conditions, ..Raw::plain(method, &path, query) };
    world.ask(&raw).map_err(|why| why.what)
}

/// An upstream that stores these resources in version 7 and takes every write.
pub fn upstream(stored: &[(&str, &str)]) -> impl FnMut(&UpstreamCall) -> UpstreamAnswer {
    let stored: Vec<(String, String)> =
        stored.iter().map(|(path, body)| ((*path).to_owned(), versioned(body))).collect();
    move |call| match (&call.verb, &call.body) {
        (Verb::Get, _) => match stored.iter().find(|(path, _)| *path == call.path) {
            Some((_, body)) => answer(200, body.as_bytes()),
            None => answer(404, b"{}"),
        },
        (Verb::Delete, _) => answer(204, b""),
        (verb, Some(UpstreamBody::Resource(body))) => {
            let created = *verb == Verb::Post;
            let body = if created { body.replacen('{', r#"{"id":"new","#, 1) } else { body.clone() };
            let status = if created { 201 } else { 200 };
            answer(status, body.as_bytes())
        }
        _ => answer(400, b"{}"),
    }
}

pub fn versioned(body: &str) -> String {
    if body.contains("versionId") { body.into() } else { body.replacen('{', r#"{"meta":{"versionId":"7"},"#, 1) }
}

pub fn sent_body(ran: &Ran) -> String {
    match ran.writes().last().and_then(|call| call.body.clone()) {
        Some(UpstreamBody::Resource(body)) => body,
        _ => panic!("nothing was written: {:?}", ran.refused()),
    }
}

pub fn put(world: &World, path: &str, stored: &[(&str, &str)], body: &str) -> Ran {
    run(ask(world, Method::Put, path, JSON, body).unwrap(), &mut upstream(stored))
}

pub fn post(world: &World, kind: &str, stored: &[(&str, &str)], body: &str) -> Ran {
    run(ask(world, Method::Post, kind, JSON, body).unwrap(), &mut upstream(stored))
}

fn patch(world: &World, path: &str, stored: &[(&str, &str)], body: &str) -> Ran {
    run(ask(world, Method::Patch, path, "application/json-patch+json", body).unwrap(), &mut upstream(stored))
}

pub fn refused(ran: &Ran, reason: Reason, what: &str) {
    assert_eq!(ran.refused(), Some(reason), "{what}");
    assert_eq!(ran.writes().count(), 0, "{what}: nothing is sent");
}

fn obs(rest: &str) -> String {
    format!(r#"{{"resourceType":"Observation","status":"final"{rest}}}"#)
}

pub fn mine(rest: &str) -> String {
    obs(&(subject("Patient/P1") + rest))
}

#[test]
fn wr_01_a_create_is_sent_without_id_and_answered_with_our_location() {
    let body = r#"{"resourceType":"Observation","id":"smuggled","\u0069mplicitRules":"x","status":"final","subject":{"reference":"https://pep/fhir/Patient/P1"},"valueQuantity":{"value":1.10}}"#;
    let ran = post(&World::new(KW), "Observation", &[], body);
    let sent = sent_body(&ran);
    assert!(!sent.contains("smuggled"), "{sent}");
    assert!(sent.contains(r#""value":1.10"#), "numbers as written: {sent}");
    assert!(sent.contains(r#""reference":"Patient/P1""#), "our address is the upstream's: {sent}");
    let call = ran.writes().next().unwrap().clone();
    assert_eq!((call.verb, call.path.as_str(), call.if_match.as_deref()), (Verb::Post, "Observation", None));
    let released = ran.released();
    assert_eq!(released.status(), 201);
    assert_eq!(released.location(), Some("https://pep/fhir/Observation/new"));
}

#[test]
fn wr_03_04_09_10_11_creates_that_are_refused() {
    let slice = "patient/Observation.c?category=vital-signs patient/Observation.rs";
    for (id, scopes, kind, body, reason) in [
        (
            "WR-03",
            KW,
            "Observation",
            obs(&(subject("Patient/P2") + r#","performer":[{"reference":"Patient/P1"}]"#)),
            Reason::WriteRefused,
        ),
        ("WR-04", KW, "Observation", obs(""), Reason::WriteRefused),
        ("WR-09", KOBS, "Observation", mine(""), Reason::ScopeInsufficient),
        ("WR-10", slice, "Observation", mine(&category("laboratory")), Reason::ScopeInsufficient),
        (
            "SC-12",
            "patient/Observation.c?category=laboratory patient/Observation.u?category=vital-signs",
            "Observation",
            mine(&category("vital-signs")),
            Reason::ScopeInsufficient,
        ),
        ("WR-11", "patient/Patient.cruds", "Patient", r#"{"resourceType":"Patient"}"#.into(), Reason::WriteRefused),
        (
            "p4",
            "patient/Practitioner.cruds",
            "Practitioner",
            r#"{"resourceType":"Practitioner"}"#.into(),
            Reason::WriteRefused,
        ),
        (
            "p4",
            "patient/Consent.cruds",
            "Consent",
            r#"{"resourceType":"Consent","patient":{"reference":"Patient/P1"}}"#.into(),
            Reason::WriteRefused,
        ),
    ] {
        refused(&post(&World::new(scopes), kind, &[], &body), reason, id);
    }
}

/// Whatever leads to another patient, wherever it stands, however it is written.
fn foreign_bodies() -> Vec<String> {
    let reference = |text: &str| format!(r#"{{"reference":"{text}"}}"#);
    let mut all = Vec::new();
    for text in [
        "Patient/P2",
        "https://pep/fhir/Patient/P2",
        "https://ehr/r4/Patient/P2",
        "https://elsewhere/Patient/P1",
        "Patient/P2/_history/1",
        "Patient/%50%32",
        "Patient/P1/",
        " Patient/P1",
        "patient/P2",
        "/Patient/P2",
        "Patient?identifier=x",
        "urn:uuid:1",
        "#gone",
        "https://ehr/r4/Patient/P2/Observation/O1",
    ] {
        all.push(mine(&format!(r#","performer":[{}]"#, reference(text))));
        all.push(mine(&format!(r#","extension":[{{"url":"urn:x","valueReference":{}}}]"#, reference(text))));
        all.push(mine(&format!(r#","unknown":{{"deep":[{}]}}"#, reference(text))));
        all.push(mine(&format!(
            r#","contained":[{{"resourceType":"Observation","id":"c","subject":{}}}]"#,
            reference(text)
        )));
        all.push(obs(&subject(text)));
    }
    for rest in [
        r#","extension":[{"url":"u","valueUri":"Patient/P2"}]"#,
        r#","extension":[{"url":"u","valueUri":"https://pep/fhir/Patient/P2"}]"#,
        r#","extension":[{"url":"u","valueUri":"https://ehr/r4/Patient/P2"}]"#,
        r#","extension":[{"url":"u","valueUrl":"https://elsewhere/x/Patient/P2"}]"#,
        r#","extension":[{"url":"u","valueUrl":"https://elsewhere/x/%50atient/P2"}]"#,
        r#","text":{"status":"generated","div":"<div><a href=\"Patient/P2\">x</a></div>"}"#,
        r#","text":{"status":"generated","div":"<div><a href=\"https://pep/fhir/Patient/P2\">x</a></div>"}"#,
        r#","text":{"status":"generated","div":"<div><img src=\"https://ehr/r4/Patient/P2/photo\"/></div>"}"#,
        r#","performer":[{"type":"Patient","display":"Two"}]"#,
        r#","performer":[{"identifier":{"system":"mrn","value":"2"}}]"#,
        r#","performer":{"type":"Patient","identifier":{"value":"2"}}"#,
        r#","contained":[{"resourceType":"Patient","id":"p"}]"#,
        r#","contained":[{"resourceType":"Condition","id":"p"}]"#,
        r#","contained":{"resourceType":"Observation","id":"p"}"#,
        r#","note":[{"resourceType":"Observation"}]"#,
        r#","_subject":{"reference":"Patient/P2"}"#,
        r#","meta":{"security":[{"code":"R"}]}"#,
        r#","meta":{"tag":[{"code":"mine"}]}"#,
        r#","subject2":{"reference":"Group/G12"}"#,
    ] {
        all.push(mine(rest));
    }
    all
}

#[test]
fn wr_03_no_create_and_no_update_names_another_patient() {
    let (world, old) = (World::new(KW), resource("O1"));
    for body in foreign_bodies() {
        refused(&post(&world, "Observation", &[("Group/G12", &resource("G12"))], &body), Reason::WriteRefused, &body);
        let body = body.replacen('{', r#"{"id":"O1","#, 1);
        let stored = [("Observation/O1", old.as_str()), ("Group/G12", &resource("G12"))];
        let ran = put(&world, "Observation/O1", &stored, &body);
        assert_eq!(ran.writes().count(), 0, "{body}");
        assert!(ran.refused().is_some(), "{body}");
    }
}

#[test]
fn requests_that_cannot_be_read() {
    let world = World::new(KW);
    let read = |method, target, body: &str| ask(&world, method, target, JSON, body).is_err();
    for (id, method, target, body) in [
        ("WR-08", Method::Post, "Observation", r#"{"resourceType":"Condition"}"#),
        ("WR-12", Method::Post, "Observation/O9", r#"{"resourceType":"Observation"}"#),
        ("WR-17", Method::Put, "Observation/O1", r#"{"resourceType":"Observation","id":"O2"}"#),
        ("WR-17", Method::Put, "Observation/O1", r#"{"resourceType":"Observation"}"#),
        ("WR-17", Method::Put, "Observation/O1", r#"{"resourceType":"Observation","id":1}"#),
        ("dup", Method::Post, "Observation", r#"{"resourceType":"Observation","subject":{},"subject":{}}"#),
        ("dup", Method::Post, "Observation", r#"{"resourceType":"Observation","subject":{},"\u0073ubject":{}}"#),
        ("dup", Method::Post, "Observation", r#"{"resourceType":"Observation","resourceType":"Patient"}"#),
        ("WR-27", Method::Patch, "Observation?subject=P1", "[]"),
        ("WR-33", Method::Delete, "Observation/O1/_history", ""),
        ("WR-33", Method::Delete, "Observation/O1/_history/1", ""),
        ("WR-33", Method::Delete, "Observation/O1?_expunge=true", ""),
        ("WR-36", Method::Delete, "Observation?patient=P1&status=final", ""),
        ("WR-37", Method::Delete, "Observation", ""),
        ("p9", Method::Put, "Observation?identifier=1", r#"{"resourceType":"Observation"}"#),
        ("empty", Method::Post, "Observation", ""),
        ("array", Method::Post, "Observation", "[]"),
    ] {
        assert!(read(method, target, body), "{id} {target}");
    }
    for conditions in [
        Conditions { if_none_exist: Some("identifier=1"), ..Conditions::default() },
        Conditions { if_none_match: Some("*"), ..Conditions::default() },
        Conditions { if_match: Some("W/\"1\""), ..Conditions::default() },
    ] {
        assert!(ask_when(&world, Method::Post, "Observation", JSON, &mine(""), conditions).is_err(), "p9");
    }
    for tag in ["*", "3", "\"1\", \"2\"", "W/3", ""] {
        let conditions = Conditions { if_match: Some(tag), ..Conditions::default() };
        assert!(ask_when(&world, Method::Delete, "Observation/O1", JSON, "", conditions).is_err(), "`{tag}`");
    }
}

#[test]
fn wr_13_an_update_carries_the_version_that_was_judged() {
    let (world, old) = (World::new(KW), resource("O1"));
    let new = observation("O1", &(subject("Patient/P1") + r#","valueInteger":5"#));
    let ran = put(&world, "Observation/O1", &[("Observation/O1", &old)], &new);
    let call = ran.writes().next().unwrap();
    assert_eq!(
        (call.verb, call.path.as_str(), call.if_match.as_deref()),
        (Verb::Put, "Observation/O1", Some("W/\"7\""))
    );
    assert_eq!(ran.calls.first().unwrap().verb, Verb::Get);
    assert_eq!(ran.released().status(), 200);
    for (tag, reason) in [("W/\"7\"", None), ("\"7\"", None), ("W/\"6\"", Some(Reason::VersionConflict))] {
        let conditions = Conditions { if_match: Some(tag), ..Conditions::default() };
        let decision = ask_when(&world, Method::Put, "Observation/O1", JSON, &new, conditions).unwrap();
        let ran = run(decision, &mut upstream(&[("Observation/O1", &old)]));
        assert_eq!((ran.refused(), ran.writes().count()), (reason, usize::from(reason.is_none())), "{tag}");
    }
}

#[test]
fn wr_24_29_foreign_and_absent_are_one_answer() {
    let world = World::new(KW);
    for name in ["O2", "O12", "OPF", "OFO", "OEX", "OID", "ONO", "OCT"] {
        let (path, stored) = (format!("Observation/{name}"), resource(name));
        let new = observation(name, &subject("Patient/P1"));
        let test = r#"[{"op":"test","path":"/subject/reference","value":"Patient/P2"}]"#;
        let media = "application/json-patch+json";
        for (method, media, body) in [
            (Method::Put, JSON, new.as_str()),
            (Method::Delete, JSON, ""),
            (Method::Patch, media, test),
            (Method::Patch, media, r#"[{"op":"test","path":"/subject/reference","value":"no"}]"#),
        ] {
            let run_with =
                |stored: &[(&str, &str)]| run(ask(&world, method, &path, media, body).unwrap(), &mut upstream(stored));
            let (foreign, absent) = (run_with(&[(&path, &stored)]), run_with(&[]));
            refused(&foreign, Reason::NotFound, name);
            let (foreign, absent) = (foreign.released(), absent.released());
            assert_eq!((foreign.status(), foreign.body()), (absent.status(), absent.body()), "{name}");
            assert_eq!(foreign.resources(), absent.resources());
        }
    }
}

#[test]
fn references_to_instances_are_looked_up_and_foreign_is_absent() {
    let world = World::new("patient/Observation.cruds patient/Encounter.rs");
    let e1 = r#"{"resourceType":"Encounter","id":"E1","subject":{"reference":"Patient/P1"}}"#;
    let e2 = r#"{"resourceType":"Encounter","id":"E2","subject":{"reference":"Patient/P2"}}"#;
    let stored = [("Encounter/E1", e1), ("Encounter/E2", e2)];
    for (reference, fits) in [
        ("Encounter/E1", true),
        ("https://pep/fhir/Encounter/E1", true),
        ("https://ehr/r4/Encounter/E1", true),
        ("Encounter/E2", false),
        ("Encounter/E3", false),
        ("https://pep/fhir/Encounter/E2", false),
        ("https://ehr/r4/Encounter/E2", false),
        ("Encounter/E2/_history/1", false),
        ("https://elsewhere/Encounter/E1", false),
    ] {
        for rest in [
            format!(r#","encounter":{{"reference":"{reference}"}}"#),
            format!(r#","extension":[{{"url":"u","valueReference":{{"reference":"{reference}"}}}}]"#),
            format!(
                r#","contained":[{{"resourceType":"Observation","id":"c","subject":{{"reference":"Patient/P1"}},"encounter":{{"reference":"{reference}"}}}}]"#
            ),
            format!(r#","extension":[{{"url":"u","valueAttachment":{{"url":"{reference}"}}}}]"#),
        ] {
            let ran = post(&world, "Observation", &stored, &mine(&rest));
            assert_eq!(ran.writes().count(), usize::from(fits), "{rest} {:?}", ran.end.as_ref().err());
        }
    }
    let says = |name: &str| match post(
        &world,
        "Observation",
        &stored,
        &mine(&format!(r#","encounter":{{"reference":"Encounter/{name}"}}"#)),
    )
    .end
    {
        Err(denial) => denial,
        Ok(_) => panic!("{name}"),
    };
    assert_eq!(says("E2"), says("E3"), "foreign and absent are one answer");
}

#[test]
fn wr_18_an_update_without_the_right_to_read_shows_and_tells_nothing() {
    let world = World::new("patient/Observation.u");
    let (old, new) = (resource("O1"), observation("O1", &(subject("Patient/P1") + r#","valueString":"secret""#)));
    let released = put(&world, "Observation/O1", &[("Observation/O1", &old)], &new).released();
    assert_eq!((released.status(), released.counts().released), (200, 0));
    assert!(!String::from_utf8_lossy(released.body()).contains("secret"));
    for value in ["final", "amended"] {
        let test = format!(r#"[{{"op":"test","path":"/status","value":"{value}"}}]"#);
        refused(
            &patch(&world, "Observation/O1", &[("Observation/O1", &old)], &test),
            Reason::ScopeInsufficient,
            "WR-25",
        );
    }
}

#[test]
fn wr_20_old_and_new_lie_in_the_slice() {
    let world = World::new("patient/Observation.rs patient/Observation.u?category=vital-signs");
    let vital = observation("O1", &(subject("Patient/P1") + &category("vital-signs")));
    let lab = observation("O1", &(subject("Patient/P1") + &category("laboratory")));
    for (old, new, fits) in [(&vital, &vital, true), (&vital, &lab, false), (&lab, &vital, false), (&lab, &lab, false)]
    {
        let ran = put(&world, "Observation/O1", &[("Observation/O1", old)], new);
        assert_eq!(ran.writes().count(), usize::from(fits));
        assert_eq!(ran.refused(), (!fits).then_some(Reason::ScopeInsufficient));
    }
    let world = World::new("patient/Observation.cud?category=vital-signs patient/Observation.rs?category=vital-signs");
    refused(
        &put(&world, "Observation/O1", &[("Observation/O1", &lab)], &vital),
        Reason::NotFound,
        "what cannot be read is not there",
    );
    let ran = run(
        ask(&world, Method::Delete, "Observation/O1", JSON, "").unwrap(),
        &mut upstream(&[("Observation/O1", &lab)]),
    );
    refused(&ran, Reason::NotFound, "delete");
}

#[test]
fn wr_21_labels_are_not_the_clients() {
    let world = World::new(KW);
    let with = |meta: &str| observation("O1", &(subject("Patient/P1") + r#","meta":{"versionId":"7""# + meta + "}"));
    let (plain, tagged) = (
        with(""),
        with(
            r#","tag":[{"code":"a"}],"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"N"}]"#,
        ),
    );
    for (old, new) in [
        (&plain, with(r#","tag":[{"code":"a"}]"#)),
        (&plain, with(r#","security":[{"code":"N"}]"#)),
        (&tagged, plain.clone()),
        (&tagged, tagged.replace(r#""code":"N""#, r#""code":"U""#)),
        (&tagged, observation("O1", &subject("Patient/P1"))),
    ] {
        refused(&put(&world, "Observation/O1", &[("Observation/O1", old)], &new), Reason::WriteRefused, &new);
    }
    assert_eq!(put(&world, "Observation/O1", &[("Observation/O1", &tagged)], &tagged).writes().count(), 1);
}

#[test]
fn wr_21_a_tag_that_the_scope_asks_for_is_set_and_no_other() {
    let world = World::new("patient/Observation.cruds?_tag=urn:t|mine");
    let with =
        |tags: &str| observation("O1", &(subject("Patient/P1") + r#","meta":{"versionId":"7","tag":["# + tags + "]}"));
    let mine = r#"{"system":"urn:t","code":"mine"}"#;
    let other = r#"{"system":"urn:t","code":"other"}"#;
    let both = format!("{mine},{other}");
    assert_eq!(post(&world, "Observation", &[], &with(mine)).writes().count(), 1);
    assert_eq!(post(&world, "Observation", &[], &with("")).writes().count(), 0, "outside the slice");
    refused(&post(&world, "Observation", &[], &with(&both)), Reason::WriteRefused, "another's tag");
    let put = |old: &str, new: &str| {
        put(&world, "Observation/O1", &[("Observation/O1", &with(old))], &with(new)).writes().count()
    };
    assert_eq!(put(mine, mine), 1);
    assert_eq!(put(mine, &both), 0, "added");
    assert_eq!(put(&both, mine), 0, "taken away");
    assert_eq!(put(&both, &format!("{other},{mine}")), 1);
}

#[test]
fn wr_22_23_26_patches_are_judged_by_what_they_make() {
    let (world, old) = (
        World::new(KW),
        observation(
            "O1",
            &(subject("Patient/P1") + r#","note":[{"text":"Patient/P2"}],"focus":[{"reference":"Patient/P2"}]"#),
        ),
    );
    let stored = [("Observation/O1", old.as_str())];
    let ran = patch(&world, "Observation/O1", &stored, r#"[{"op":"replace","path":"/status","value":"amended"}]"#);
    assert_eq!(sent_body(&ran), versioned(&old).replace("final", "amended"), "WR-22");
    assert_eq!(ran.writes().next().unwrap().if_match.as_deref(), Some("W/\"7\""));
    for (body, reason) in [
        (r#"[{"op":"replace","path":"/subject/reference","value":"Patient/P2"}]"#, Reason::WriteRefused),
        (r#"[{"op":"copy","from":"/note/0/text","path":"/subject/reference"}]"#, Reason::WriteRefused),
        (r#"[{"op":"move","from":"/note/0/text","path":"/subject/reference"}]"#, Reason::WriteRefused),
        (r#"[{"op":"remove","path":"/subject"}]"#, Reason::WriteRefused),
        (r#"[{"op":"replace","path":"/id","value":"O2"}]"#, Reason::RequestInvalid),
        (r#"[{"op":"replace","path":"/resourceType","value":"Patient"}]"#, Reason::RequestInvalid),
        (r#"[{"op":"replace","path":"","value":{"resourceType":"Observation","id":"O1"}}]"#, Reason::WriteRefused),
        (r#"[{"op":"test","path":"/focus/0/reference","value":"Patient/P2"}]"#, Reason::RequestInvalid),
        (r#"[{"op":"test","path":"/focus/0/reference","value":"Patient/P3"}]"#, Reason::RequestInvalid),
        (r#"[{"op":"test","path":"/status","value":"no"}]"#, Reason::VersionConflict),
        (r#"[{"op":"add","path":"/meta/tag","value":[{"code":"x"}]}]"#, Reason::WriteRefused),
    ] {
        let ran = patch(&world, "Observation/O1", &stored, body);
        assert_eq!(ran.writes().count(), 0, "{body}");
        assert!(
            ran.refused() == Some(reason) || reason == Reason::RequestInvalid && ran.refused().is_some(),
            "{body} {:?}",
            ran.refused()
        );
    }
    let oracle = |value: &str| {
        patch(
            &world,
            "Observation/O1",
            &stored,
            &format!(r#"[{{"op":"test","path":"/focus/0/reference","value":"{value}"}}]"#),
        )
        .end
        .err()
    };
    assert_eq!(oracle("Patient/P2"), oracle("Patient/P3"), "a test tells nothing of what is hidden");
    let fhirpath = |path: &str, value: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[{{"name":"type","valueCode":"replace"}},{{"name":"path","valueString":"{path}"}},{{"name":"value",{value}}}]}}]}}"#
        )
    };
    let run_path =
        |body: &str| run(ask(&world, Method::Patch, "Observation/O1", JSON, body).unwrap(), &mut upstream(&stored));
    assert!(sent_body(&run_path(&fhirpath("Observation.status", r#""valueCode":"amended""#))).contains("amended"));
    refused(
        &run_path(&fhirpath("Observation.subject", r#""valueReference":{"reference":"Patient/P2"}"#)),
        Reason::WriteRefused,
        "WR-26",
    );
}

#[test]
fn wr_28_31_deletes() {
    let world = World::new("patient/Observation.cruds patient/Patient.cruds");
    let ran = run(
        ask(&world, Method::Delete, "Observation/O1", JSON, "").unwrap(),
        &mut upstream(&[("Observation/O1", &resource("O1"))]),
    );
    assert_eq!(ran.writes().next().unwrap().if_match.as_deref(), Some("W/\"7\""));
    assert_eq!(ran.released().status(), 204);
    let refuse = |path| run(ask(&world, Method::Delete, path, JSON, "").unwrap(), &mut upstream(&[]));
    refused(&refuse("Patient/P1"), Reason::WriteRefused, "WR-31");
    refused(&refuse("Patient/P2"), Reason::OtherPatient, "p2");
    let put_other = put(&world, "Patient/P2", &[], r#"{"resourceType":"Patient","id":"P2"}"#);
    assert_eq!((put_other.refused(), put_other.calls.len()), (Some(Reason::OtherPatient), 0), "p2: not even looked at");
}
