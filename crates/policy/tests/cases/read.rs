//! b.1: reading one instance.

use domain::Reason;
use policy::{Answered, Released, UpstreamAnswer};
use testkit::world::{World, answer, release, released};

use crate::fixture::*;

fn read(scopes: &str, target: &str, name: &str) -> Released {
    World::new(scopes).released(target, &resource(name))
}

fn verify(answered: Answered, seal: &mut policy::Sealer<'_>) -> Released {
    released(policy::verify(answered, seal))
}

fn is_not_found(released: &Released) -> bool {
    let absent = verify(World::new(KOBS).permit("Observation/none").answered(answer(404, b"{}")), &mut |_| None);
    released.status() == 404
        && released.reason() == Some(Reason::NotFound)
        && released.body() == absent.body()
        && released.resources().is_empty()
        && released.counts().released == 0
}

#[test]
fn rd_01_own_observation_is_released() {
    let released = read(KOBS, "Observation/O1", "O1");
    assert_eq!((released.status(), released.reason()), (200, None));
    assert_eq!(released.body(), resource("O1").as_bytes(), "FM-07: not a byte is altered");
    assert_eq!(released.resources(), ["Observation/O1"]);
    assert_eq!(released.clauses(), [0]);
    assert_eq!(released.interaction_name(), "read");
    assert_eq!(released.call().path, "Observation/O1");
}

// S1-04, S1-31
#[test]
fn rd_02_foreign_reads_equal_absent_ones() {
    for name in ["O2", "O12", "OPF", "OFO", "OEX", "OID", "ONO", "OCT"] {
        // RD-02, RD-13, RD-17, RD-20, RD-21
        assert!(is_not_found(&read(KOBS, &format!("Observation/{name}"), name)), "{name}");
    }
    assert!(!is_not_found(&read(KOBS, "Observation/OAB", "OAB")), "the upstream's own base is local");
    assert!(!is_not_found(&read(KOBS, "Observation/OVR", "OVR")), "a versioned reference counts");
}

#[test]
fn rd_03_rd_36_absent_and_deleted_are_one_answer() {
    for status in [404, 410] {
        let world = World::new(KOBS);
        let released = verify(
            world.permit("Observation/ODEL").answered(answer(status, br#"{"resourceType":"OperationOutcome"}"#)),
            &mut |_| None,
        );
        assert!(is_not_found(&released), "{status}");
    }
}

#[test]
fn rd_04_rd_06_only_the_own_patient() {
    assert_eq!(read(KPAT, "Patient/P1", "P1").status(), 200);
    let world = World::new(KPAT);
    for other in ["P2", "P12", "none", "p1"] {
        let denial = denied(&world, &format!("Patient/{other}"));
        assert_eq!(denial.reason, Reason::OtherPatient);
        assert!(!denial.says.contains(other), "names no foreign id");
    }
}

#[test]
fn rd_07_rd_08_rd_09_types_and_letters() {
    for (scopes, target, scope) in [
        (KOBS, "Patient/P1", "patient/Patient.rs"),
        (KOBS, "Condition/C1", "patient/Condition.rs"),
        ("patient/Observation.s", "Observation/O1", "patient/Observation.rs"),
        ("patient/Observation.c", "Observation/O1", "patient/Observation.rs"),
        ("patient/Observation.write", "Observation/O1", "patient/Observation.rs"),
    ] {
        let denial = denied(&World::new(scopes), target);
        assert_eq!(denial.reason, Reason::ScopeInsufficient, "{scopes} {target}");
        assert_eq!(denial.scope.as_deref(), Some(scope));
    }
    // SC-01
    assert_eq!(read("patient/Observation.read", "Observation/O1", "O1").status(), 200);
}

#[test]
fn rd_11_the_slice_of_a_scope_holds_for_reads() {
    assert_eq!(read(KVIT, "Observation/O1", "O1").status(), 200);
    assert!(is_not_found(&read(KVIT, "Observation/O1L", "O1L")));
    // SC-15: what lacks the field is no match.
    assert!(is_not_found(&read(KVIT, "Observation/OAB", "OAB")));
}

#[test]
fn sc_12_letters_and_queries_stay_together() {
    let scopes = "patient/Observation.s patient/Observation.r?category=laboratory";
    assert!(is_not_found(&read(scopes, "Observation/O1", "O1")));
    let released = read(scopes, "Observation/O1L", "O1L");
    assert_eq!((released.status(), released.clauses()), (200, &[1_u32][..]));
}

#[test]
fn rd_22_shared_types_only_as_configured() {
    assert_eq!(read(KALL, "Medication/MED1", "MED1").status(), 200);
    let mut world = World::new(KALL);
    world.rules.shared.clear();
    assert_eq!(reason(&world, "Medication/MED1"), Reason::TypeNotShared);
    // A type that may not be shared is not, whatever the configuration says.
    world.rules.shared.extend(fhir::ResourceType::all());
    for kind in ["Bundle", "Parameters", "Subscription", "Linkage", "MessageHeader", "PaymentNotice"] {
        assert_eq!(reason(&world, &format!("{kind}/x")), Reason::TypeNotShared, "{kind} (CT-05)");
    }
    assert!(is_not_found(&world.released("Observation/O2", &resource("O2"))), "sharing a patient's type has no effect");
    // p4: a shared resource that refers to any other patient is not shared.
    let named = r#"{"resourceType":"Practitioner","id":"PRA","extension":[{"url":"x","valueReference":{"reference":"Patient/P2"}}]}"#;
    assert!(is_not_found(&World::new(KALL).released("Practitioner/PRA", named)));
}

#[test]
fn rd_23_added_owner_rules() {
    assert_eq!(read(KALL, "Task/T1", "T1").status(), 200);
    assert!(is_not_found(&read(KALL, "Task/T2", "T2")));
}

#[test]
fn p3_several_parties() {
    for name in ["A12", "CV", "AE12", "PV12", "G12"] {
        let kind = ["Appointment", "Coverage", "AuditEvent", "Provenance", "Group"];
        let kind = kind.iter().find(|kind| resource(name).contains(&format!("\"{kind}\""))).unwrap();
        assert!(is_not_found(&read(KALL, &format!("{kind}/{name}"), name)), "{name}");
    }
    assert_eq!(read(KALL, "Appointment/A1", "A1").status(), 200);
    for actor in [
        r#"{"identifier":{"value":"mrn2"}}"#,
        r#"{"display":"Two"}"#,
        r#"{"reference":"Group/G12"}"#,
        r##"{"reference":"#p"}"##,
    ] {
        let body = resource("A1").replace(r#"{"reference":"Practitioner/PRA"}"#, actor);
        assert!(is_not_found(&World::new(KALL).released("Appointment/A1", &body)), "{actor}");
    }
}

#[test]
fn rd_26_rd_28_the_answer_is_the_resource_asked_for() {
    let world = World::new(KALL);
    for body in [
        resource("O2"),
        resource("P1"),
        r#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"select * from patient where id=2"}]}"#.into(),
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1"}}"#.into(),
        r#"{"id":"O1","subject":{"reference":"Patient/P1"}}"#.into(),
        r#"{"resourceType":"observation","id":"O1","subject":{"reference":"Patient/P1"}}"#.into(),
        bundle(&["O1"], ""),
        "[]".into(),
        "null".into(),
        "\"O1\"".into(),
    ] {
        let released = world.released("Observation/O1", &body);
        assert_eq!((released.status(), released.reason()), (502, Some(Reason::UpstreamBroken)), "{body}");
        assert!(!String::from_utf8_lossy(released.body()).contains("select"));
    }
}

#[test]
fn rd_29_rd_30_rd_31_broken_json_is_502() {
    let whole = resource("O1");
    for body in [
        "",
        "{",
        &whole[..whole.len() - 1],
        &(whole.clone() + "x"),
        &format!("\u{feff}{whole}"),
        r#"{"resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P2"},"subject":{"reference":"Patient/P1"}}"#,
        r#"{"resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P2"},"\u0073ubject":{"reference":"Patient/P1"}}"#,
        r#"{"resourceType":"Observation","resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P1"}}"#,
        r#"{"resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P2","reference":"Patient/P1"}}"#,
        r#"{"resourceType":"Observation","id":"O1","subject":{"reference":"Patient/P1"},"valueDecimal":NaN}"#,
    ] {
        let released = World::new(KOBS).released("Observation/O1", body);
        assert_eq!((released.status(), released.reason()), (502, Some(Reason::UpstreamBroken)), "{body}");
    }
}

#[test]
fn rd_35_search_parameters_have_no_place_on_reads() {
    assert!(unreadable(&World::new(KOBS), "Observation/O1?subject=Patient/P2"));
}

#[test]
fn er_02_er_03_statuses_are_mapped_and_bodies_replaced() {
    for (status, expected) in [
        (100, 502),
        (201, 502),
        (202, 502),
        (204, 502),
        (206, 502),
        (301, 502),
        (302, 502),
        (304, 502),
        (307, 502),
        (400, 502),
        (401, 502),
        (403, 404),
        (405, 502),
        (422, 502),
        (429, 503),
        (500, 502),
        (502, 502),
        (503, 503),
        (504, 503),
    ] {
        let released = verify(
            World::new(KOBS).permit("Observation/O1").answered(answer(status, resource("O1").as_bytes())),
            &mut |_| None,
        );
        assert_eq!(released.status(), expected, "{status}");
        assert!(!String::from_utf8_lossy(released.body()).contains("Patient/P1"), "{status}");
    }
}

#[test]
fn fm_04_only_json_is_read() {
    for (content_type, status) in [
        (Some("application/fhir+json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/FHIR+JSON;charset=\"UTF-8\";fhirVersion=4.0"), 200),
        (Some("application/fhir+json;charset=utf-16"), 502),
        (Some("application/fhir+xml"), 502),
        (Some("text/html"), 502),
        (Some("text/plain"), 502),
        (Some(""), 502),
        (None, 502),
    ] {
        let answer = UpstreamAnswer {
            status: 200,
            content_type: content_type.map(str::to_owned),
            body: resource("O1").into_bytes(),
            ..UpstreamAnswer::default()
        };
        let released = verify(World::new(KOBS).permit("Observation/O1").answered(answer), &mut |_| None);
        assert_eq!(released.status(), status, "{content_type:?}");
    }
}

#[test]
fn rd_37_version_and_date_come_from_what_was_judged() {
    let body = resource("O1").replace(r#""status""#, r#""meta":{"versionId":"2"},"status""#);
    let mut upstream = answer(200, body.as_bytes());
    upstream.etag = Some("W/\"99\"".into());
    upstream.last_modified = Some("Sun, 06 Nov 1994 08:49:37 GMT".into());
    let released = verify(World::new(KOBS).permit("Observation/O1").answered(upstream), &mut |_| None);
    assert_eq!(released.etag(), Some("W/\"2\""));
    assert_eq!(released.last_modified(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(released.resources(), ["Observation/O1/_history/2"]);
    let mut odd = answer(200, body.replace("\"2\"", "\"a b\"").as_bytes());
    odd.last_modified = Some("Set-Cookie: a\r\n".into());
    let released = release_answer(odd);
    assert_eq!((released.etag(), released.last_modified()), (None, None));
    assert_eq!(release(World::new(KOBS).permit("Observation/O1"), body.as_bytes()).status(), 200);
}

fn release_answer(answer: UpstreamAnswer) -> Released {
    verify(World::new(KOBS).permit("Observation/O1").answered(answer), &mut |_| None)
}
