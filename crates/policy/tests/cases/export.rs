//! Bulk export, as far as it is decided purely: who, whose, what, and every line (S1-12 … S1-15, b.11).

use std::sync::Arc;

use domain::{ApprovalStatus, Class, ExportRule, FirstApproval, LaunchMode, Reason, Subject};
use fhir::request::{Bulk, ExportOf, Interaction, KickOff, Method, Raw, read};
use fhir::{Id, ResourceType};
use policy::{
    BrokenLine, Consents, Denial, ExportAsk, ExportJob, ExportPlan, Guard, Held, Line, LineJudge, Manifest,
    UpstreamAnswer, decide_export, decide_lines,
};
use proptest::prelude::*;
use testkit::naive;
use testkit::world::{NOW, World, answer, release};

use crate::fixture::*;
use crate::naive::{SCOPES, any_resource, session};

const KSYS: &str = "system/Patient.rs system/Observation.rs system/Practitioner.read";

/// An `analytics` integration with an approval for Group/G1, as it is after both approvers.
fn world(scopes: &str) -> World {
    let mut world = World::new(scopes);
    world.integration.class = Class::Analytics;
    world.session.subject = Subject::Cohort;
    world.session.expires_at = NOW + 300_000;
    approve(&mut world, "Group/G1");
    world.approval.first =
        Some(FirstApproval { by: "q@mercy.example".parse().unwrap(), at: NOW - 7, until: NOW + 1_000_000 });
    world
}

fn approve(world: &mut World, of: &str) {
    world.approval.terms.launch = vec![LaunchMode::Export(ExportRule { of: of.parse().unwrap() })];
}

fn ask(world: &World) -> ExportAsk<'_> {
    ExportAsk {
        now: NOW,
        rules: &world.rules,
        integration: &world.integration,
        approval: &world.approval,
        profile: &world.profile,
        session: &world.session,
    }
}

fn kick_off(target: &str) -> KickOff {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    match read(&Raw::plain(Method::Get, &format!("/{path}"), query)) {
        Ok(Interaction::Bulk(Bulk::KickOff(kick_off))) => kick_off,
        other => panic!("{target}: {other:?}"),
    }
}

fn plan(world: &World, target: &str) -> Result<ExportPlan, Denial> {
    decide_export(&ask(world), kick_off(target))
}

fn why(world: &World, target: &str) -> Reason {
    plan(world, target).unwrap_err().reason
}

fn group(members: &str) -> String {
    format!(r#"{{"resourceType":"Group","id":"G1","type":"person","actual":true,"member":[{members}]}}"#)
}

fn member(id: &str) -> String {
    format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#)
}

/// A job of this world for P1 and P2.
fn job(world: &World) -> ExportJob {
    let body = group(&[member("P1"), member("P2")].join(","));
    let plan = plan(world, "Group/G1/$export").unwrap();
    plan.permit(Some(&answer(200, body.as_bytes()))).unwrap().begun()
}

fn judge(world: &World, job: &ExportJob, kind: ResourceType) -> LineJudge {
    decide_lines(&ask(world), job, kind, None).unwrap_or_else(|denial| panic!("{denial:?}"))
}

fn nothing(_: &Id) -> Option<Consents> {
    Some(Consents::none())
}

fn line(world: &World, kind: ResourceType, text: &str) -> Result<Line, BrokenLine> {
    judge(world, &job(world), kind).line(text.as_bytes(), &nothing)
}

fn held(world: &World, kind: ResourceType, text: &str) -> Option<Held> {
    match line(world, kind, text) {
        Ok(Line::Held(held)) => Some(held),
        Ok(Line::Released(_)) => None,
        other => panic!("{text}: {other:?}"),
    }
}

fn shown(world: &World, kind: ResourceType, text: &str) -> String {
    match line(world, kind, text) {
        Ok(Line::Released(line)) => String::from_utf8(line.into_body()).unwrap(),
        other => panic!("{text}: {other:?}"),
    }
}

type Change = fn(&mut World);

#[test]
fn s1_12_everything_must_say_that_it_may_be_exported() {
    let target = "Group/G1/$export";
    assert!(plan(&world(KSYS), target).is_ok());
    let cases: [(&str, Change, Reason); 12] = [
        ("clinical-ai", |w| w.integration.class = Class::ClinicalAi, Reason::ExportRefused),
        ("clinician-app", |w| w.integration.class = Class::ClinicianApp, Reason::ExportRefused),
        ("patient-app", |w| w.integration.class = Class::PatientApp, Reason::ExportRefused),
        ("launcher", |w| w.integration.class = Class::Launcher, Reason::ExportRefused),
        ("a patient", |w| w.session.subject = Subject::Patient("P1".parse().unwrap()), Reason::ExportRefused),
        ("one approver", |w| w.approval.first = None, Reason::ExportRefused),
        (
            "one person twice",
            |w| {
                if let Some(first) = &mut w.approval.first {
                    first.by = "p@mercy.example".parse().unwrap();
                }
            },
            Reason::ExportRefused,
        ),
        ("no export", |w| w.approval.terms.launch.clear(), Reason::ExportRefused),
        ("another way too", |w| w.approval.terms.launch.push(LaunchMode::Ticket {}), Reason::ExportRefused),
        ("another Group", |w| approve(w, "Group/G2"), Reason::ExportRefused),
        ("requested", |w| w.approval.status = ApprovalStatus::Requested, Reason::ApprovalMissing),
        ("over", |w| w.session.expires_at = NOW, Reason::SessionEnded),
    ];
    for (name, change, expected) in cases {
        let mut changed = world(KSYS);
        change(&mut changed);
        assert_eq!(why(&changed, target), expected, "{name}");
        // A job that was begun before is of no use either.
        let job = job(&world(KSYS));
        let denial = decide_lines(&ask(&changed), &job, ResourceType::PATIENT, None).err().unwrap();
        assert_eq!(denial.reason, expected, "{name}");
    }
    // A Group's approval is not everybody's, and everybody's is no Group's.
    let mut all = world(KSYS);
    assert_eq!(why(&all, "Patient/$export"), Reason::ExportRefused);
    approve(&mut all, "all-patients");
    assert!(plan(&all, "Patient/$export").is_ok());
    assert_eq!(why(&all, target), Reason::ExportRefused);
    // In a session for one patient none of it is decided at all.
    let one = World::new("patient/*.rs");
    let interaction = Interaction::Bulk(Bulk::KickOff(kick_off("Patient/$export")));
    let decision = one.decide(interaction, None);
    assert!(matches!(decision, policy::Decision::Deny(denial) if denial.reason == Reason::ExportRefused));
}

#[test]
fn types_are_within_the_scopes_or_the_kick_off_is_refused() {
    let kinds = |world: &World, target: &str| {
        let plan = plan(world, target).unwrap_or_else(|denial| panic!("{target}: {denial:?}"));
        plan.kinds().iter().map(|kind| kind.name()).collect::<Vec<_>>()
    };
    let full = world(KSYS);
    assert_eq!(kinds(&full, "Group/G1/$export"), ["Observation", "Patient", "Practitioner"], "what is granted");
    assert_eq!(kinds(&full, "Group/G1/$export?_type=Patient"), ["Patient"]);
    assert_eq!(why(&full, "Group/G1/$export?_type=Patient,Condition"), Reason::ScopeInsufficient);
    let denial = plan(&full, "Group/G1/$export?_type=Condition").unwrap_err();
    assert_eq!(denial.scope.as_deref(), Some("system/Condition.rs"));
    // Finding and reading, both in one clause.
    for scopes in ["system/Patient.r", "system/Patient.s", "system/Patient.r system/Patient.s", "system/Patient.cud"] {
        assert_eq!(why(&world(scopes), "Group/G1/$export"), Reason::ScopeInsufficient, "{scopes}");
    }
    // Other levels never widen (SC-07).
    for scopes in ["patient/Patient.rs", "user/Patient.rs", "user/Patient.rs patient/Observation.rs"] {
        assert_eq!(why(&world(scopes), "Group/G1/$export"), Reason::ScopeInsufficient, "{scopes}");
    }
    let mut narrow = world(KSYS);
    narrow.profile.scopes = "system/Patient.rs".parse().unwrap();
    assert_eq!(kinds(&narrow, "Group/G1/$export"), ["Patient"], "the profile is a ceiling");
    let mut unexpected = world(KSYS);
    unexpected.integration.expected = [ResourceType::PATIENT].into();
    assert_eq!(why(&unexpected, "Group/G1/$export?_type=Observation"), Reason::TypeUnexpected);
    assert_eq!(kinds(&unexpected, "Group/G1/$export"), ["Patient"]);
    let odd = world("system/Binary.rs system/Subscription.rs");
    assert_eq!(why(&odd, "Group/G1/$export?_type=Binary"), Reason::TypeNotShared);
    assert_eq!(why(&odd, "Group/G1/$export"), Reason::ScopeInsufficient);
}

#[test]
fn filters_are_held_to_here_or_refused() {
    let full = world(KSYS);
    let target = |filter: &str| format!("Group/G1/$export?_typeFilter={filter}");
    let plan = plan(&full, &target("Observation%3Fcategory%3Dlaboratory")).unwrap();
    let body = group(&member("P1"));
    let permit = plan.permit(Some(&answer(200, body.as_bytes()))).unwrap();
    assert_eq!(permit.call().path, "Group/G1/$export");
    assert_eq!(
        permit.call().query,
        "_outputFormat=application%2Ffhir%2Bndjson&_type=Observation,Patient,Practitioner\
         &_typeFilter=Observation%3Fcategory%3Dlaboratory"
    );
    let job = permit.begun();
    let mut judge = judge(&full, &job, ResourceType::OBSERVATION);
    let mut what = |name: &str| match judge.line(resource(name).as_bytes(), &nothing).unwrap() {
        Line::Released(_) => None,
        Line::Held(held) => Some(held),
        other => panic!("{other:?}"),
    };
    assert_eq!(what("O1L"), None);
    assert_eq!(what("O1"), Some(Held::Unasked), "the upstream ignored the filter");
    for filter in [
        "Observation%3Fcode:in%3Dx",
        "Observation%3Fsubject%3DPatient/P1",
        "Observation%3Fsubject.name%3Dx",
        "Observation%3F_has:Condition:subject:code%3Dx",
        "Observation%3Fdate%3Dgt2020",
        "Observation%3F_include%3DObservation:subject",
        "Observation%3Fnonsense%3Dx",
    ] {
        assert_eq!(why(&full, &target(filter)), Reason::NotSupported, "{filter}");
    }
    assert_eq!(why(&full, &target("Condition%3Fcode%3Dx")), Reason::ScopeInsufficient);
}

#[test]
fn members_are_those_that_the_group_plainly_names() {
    let full = world(KSYS);
    let permit = |status: u16, body: &str| {
        let answer = answer(status, body.as_bytes());
        plan(&full, "Group/G1/$export").unwrap().permit(Some(&answer)).map(policy::ExportPermit::begun)
    };
    let absolute = r#"{"entity":{"reference":"https://ehr/r4/Patient/P2"}}"#;
    let left_out = [
        r#"{"entity":{"reference":"Patient/P3"},"inactive":true}"#,
        r#"{"entity":{"reference":"Patient/P4"},"inactive":"false"}"#,
        r#"{"entity":{"reference":"Patient/P5"},"period":{"end":"2020-01-01"}}"#,
        r#"{"entity":{"reference":"Patient/P6"},"period":{"start":"2999"}}"#,
        r#"{"entity":{"reference":"Patient/P7"},"period":{"start":"nonsense"}}"#,
        r#"{"entity":{"reference":"https://elsewhere/Patient/P8"}}"#,
        r#"{"entity":{"reference":"Patient/P9/_history/1"}}"#,
        r#"{"entity":{"reference":"Group/G2"}}"#,
        r#"{"entity":{"reference":"Practitioner/PRA"}}"#,
        r#"{"entity":{"identifier":{"value":"mrn"}}}"#,
        r##"{"entity":{"reference":"#p"}}"##,
        r#"{"entity":{"reference":"Patient/P10"},"modifierExtension":[{"url":"x","valueBoolean":true}]}"#,
        r#"{}"#,
    ];
    let now = r#"{"entity":{"reference":"Patient/P1"},"inactive":false,"period":{"start":"2020-01-01"}}"#;
    let body = group(&[&[now, absolute][..], &left_out].concat().join(","));
    let job = permit(200, &body).unwrap();
    assert_eq!(job.members().count(), Some(2));
    for (id, is_member) in [("P1", true), ("P2", true), ("P3", false), ("P5", false), ("P8", false), ("P10", false)] {
        assert_eq!(job.members().holds(&id.parse().unwrap()), is_member, "{id}");
    }
    assert_eq!(ExportJob::decode(&job.encode()), Ok(job), "it stays so");
    let p1 = member("P1");
    for (body, expected) in [
        (group(""), Reason::UpstreamRefused),
        (group(left_out[0]), Reason::UpstreamRefused),
        (group(&p1).replace(r#","member""#, r#","characteristic":[{}],"m""#), Reason::UpstreamRefused),
        (group(&p1).replace("true", "false"), Reason::UpstreamRefused),
        (group(&p1).replace(r#""actual":true,"#, ""), Reason::UpstreamRefused),
        (group(&p1).replace("person", "device"), Reason::UpstreamRefused),
        (group(&p1).replace(r#""actual""#, r#""active":false,"actual""#), Reason::UpstreamRefused),
        (group(&p1).replace(r#""actual""#, r#""implicitRules":"x","actual""#), Reason::UpstreamRefused),
        (
            group(&p1).replace(r#""actual""#, r#""meta":{"tag":[{"code":"SUBSETTED"}]},"actual""#),
            Reason::UpstreamRefused,
        ),
        (group(&p1).replace("G1", "G2"), Reason::UpstreamBroken),
        (group(&p1).replace("Group", "List"), Reason::UpstreamBroken),
        (group(&p1).replace('}', ""), Reason::UpstreamBroken),
        (String::new(), Reason::UpstreamBroken),
        (group(&vec![p1.clone(); 3].join(",")).replace("Patient/", "Practitioner/"), Reason::UpstreamRefused),
    ] {
        assert_eq!(permit(200, &body).unwrap_err().reason, expected, "{body}");
    }
    for (status, expected) in [
        (404, Reason::NotFound),
        (410, Reason::NotFound),
        (403, Reason::NotFound),
        (503, Reason::UpstreamUnavailable),
        (504, Reason::UpstreamUnavailable),
        (202, Reason::UpstreamBroken),
        (401, Reason::UpstreamBroken),
        (500, Reason::UpstreamBroken),
    ] {
        assert_eq!(permit(status, &group(&p1)).unwrap_err().reason, expected, "{status}");
    }
    let many: Vec<String> = (0..20_001).map(|n| member(&format!("M{n}"))).collect();
    assert_eq!(permit(200, &group(&many.join(","))).unwrap_err().reason, Reason::TooCostly);
    // Not asked, or asked where nobody had to be.
    assert!(plan(&full, "Group/G1/$export").unwrap().permit(None).is_err());
    let mut all = world(KSYS);
    approve(&mut all, "all-patients");
    assert!(plan(&all, "Patient/$export").unwrap().members_call().is_none());
    let answered: UpstreamAnswer = answer(200, group(&p1).as_bytes());
    assert!(plan(&all, "Patient/$export").unwrap().permit(Some(&answered)).is_err());
    let everyone = plan(&all, "Patient/$export").unwrap().permit(None).unwrap().begun();
    assert_eq!((everyone.of(), everyone.members().count()), (&ExportOf::AllPatients, None));
}

#[test]
fn s1_15_a_line_is_of_a_member_and_of_the_type_or_it_stays() {
    let full = world(KSYS);
    let (patient, observation) = (ResourceType::PATIENT, ResourceType::OBSERVATION);
    for name in ["P1", "P2"] {
        assert_eq!(held(&full, patient, &resource(name)), None, "{name}");
    }
    for name in ["O1", "O2", "O1L", "OAB", "OVR"] {
        assert_eq!(held(&full, observation, &resource(name)), None, "{name}");
    }
    for (kind, name) in [
        (patient, "P12"),
        (observation, "O12"),
        (observation, "OEX"),
        (observation, "OID"),
        (observation, "ONO"),
        (observation, "OCT"),
    ] {
        assert_eq!(held(&full, kind, &resource(name)), Some(Held::Foreign), "{name}");
    }
    for (kind, name) in [(patient, "O1"), (observation, "P1"), (observation, "C1"), (observation, "MED1")] {
        assert_eq!(held(&full, kind, &resource(name)), Some(Held::Kind), "{name}");
    }
    // Two subjects are nobody's in particular.
    let two = resource("O1").replace(
        r#""subject":{"reference":"Patient/P1"}"#,
        r#""subject":[{"reference":"Patient/P1"},{"reference":"Patient/P2"}]"#,
    );
    assert_eq!(held(&full, observation, &two), Some(Held::Foreign));
    // An appointment of two members is not one member's (p3).
    let appointments = world("system/Appointment.rs");
    let one_line = |name: &str| resource(name).replace('\n', "");
    assert_eq!(held(&appointments, ResourceType::APPOINTMENT, &one_line("A1")), None);
    assert_eq!(held(&appointments, ResourceType::APPOINTMENT, &one_line("A12")), Some(Held::Foreign));
    // What is shared goes out, unless a patient stands in it.
    let practitioner = ResourceType::PRACTITIONER;
    assert_eq!(held(&full, practitioner, &resource("PRA")), None);
    let about =
        resource("PRA").replace("}]}", r#"}],"extension":[{"url":"x","valueReference":{"reference":"Patient/P1"}}]}"#);
    assert_eq!(held(&full, practitioner, &about), Some(Held::Withheld));
}

#[test]
fn a_line_is_masked_as_a_read_is() {
    let full = world(KSYS);
    let foreign = observation(
        "O1",
        &(subject("https://ehr/r4/Patient/P1") + r#","performer":[{"reference":"Patient/P2","display":"Two"}]"#),
    );
    let shown = shown(&full, ResourceType::OBSERVATION, &foreign);
    assert!(!shown.contains("P2") && !shown.contains("Two"), "another member is another patient: {shown}");
    assert!(shown.contains("masked") && shown.contains("https://pep/fhir/Patient/P1"), "{shown}");
    assert!(shown.ends_with("}\n") && shown.matches('\n').count() == 1);
    // Slices and labels.
    let slice = world("system/Observation.rs?category=vital-signs");
    assert_eq!(held(&slice, ResourceType::OBSERVATION, &resource("O1")), None);
    assert_eq!(held(&slice, ResourceType::OBSERVATION, &resource("O1L")), Some(Held::Withheld));
    let psy = r#","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PSY"}]}"#;
    let labelled = observation("O9", &(subject("Patient/P1") + psy));
    assert_eq!(held(&full, ResourceType::OBSERVATION, &labelled), Some(Held::Withheld));
    let mut permitted = world(KSYS);
    permitted.profile.labels = ["PSY".to_owned()].into();
    assert_eq!(held(&permitted, ResourceType::OBSERVATION, &labelled), None);
}

/// A rule of the organisation that lets nothing out.
struct Nothing;

impl Guard for Nothing {
    fn releases(&self, _: ResourceType, _: &std::collections::BTreeSet<String>) -> bool {
        false
    }
}

#[test]
fn policies_and_consents_are_asked_of_every_line() {
    let full = world(KSYS);
    let job = job(&full);
    let kind = ResourceType::OBSERVATION;
    let mut guarded = decide_lines(&ask(&full), &job, kind, Some(Arc::new(Nothing))).unwrap();
    let line = guarded.line(resource("O1").as_bytes(), &nothing);
    assert!(matches!(line, Ok(Line::Held(Held::Withheld))), "{line:?}");
    // Each member's own, and asked for when they are not known.
    let p1: Id = "P1".parse().unwrap();
    let of = |id: &Id| if *id == p1 { Some(Consents::unknown()) } else { None };
    let mut asking = judge(&full, &job, kind);
    assert!(matches!(asking.line(resource("O1").as_bytes(), &of), Ok(Line::Held(Held::Withheld))));
    let asked = asking.line(resource("O2").as_bytes(), &of);
    assert!(matches!(&asked, Ok(Line::Asks(id)) if id.as_str() == "P2"), "{asked:?}");
    assert!(matches!(asking.line(resource("O12").as_bytes(), &of), Ok(Line::Held(Held::Foreign))), "nobody is asked");
    assert!(matches!(asking.line(resource("O2").as_bytes(), &nothing), Ok(Line::Released(_))));
    // Nobody's consent is asked for what is nobody's.
    let mut shared = judge(&full, &job, ResourceType::PRACTITIONER);
    assert!(matches!(shared.line(resource("PRA").as_bytes(), &|_| None), Ok(Line::Released(_))));
}

#[test]
fn what_is_no_line_ends_the_file() {
    let full = world(KSYS);
    let good = resource("O1");
    let mut judge = judge(&full, &job(&full), ResourceType::OBSERVATION);
    for empty in ["", "\r", "  ", "\t\r"] {
        assert!(matches!(judge.line(empty.as_bytes(), &nothing), Ok(Line::Empty)), "{empty:?}");
    }
    assert!(matches!(judge.line(format!("{good}\r").as_bytes(), &nothing), Ok(Line::Released(_))));
    for bad in [
        good.get(..good.len() - 1).unwrap().to_owned(),
        format!("{good}{good}"),
        format!("[{good}]"),
        "null".into(),
        "{}".into(),
        r#"{"resourceType":"Observation"}"#.into(),
        r#"{"resourceType":"Nonsense","id":"x"}"#.into(),
        r#"{"resourceType":"Observation","id":"a/b"}"#.into(),
        good.replace(r#""id":"O1""#, r#""id":"O1","id":"O2""#),
        good.replace(',', ",\r"),
        good.replace(',', ",\n"),
        format!("\u{feff}{good}"),
    ] {
        assert!(judge.line(bad.as_bytes(), &nothing).is_err(), "{bad}");
    }
    assert!(judge.line(b"\xff\xfe", &nothing).is_err());
    assert!(matches!(judge.line(good.as_bytes(), &nothing), Ok(Line::Released(_))), "the next is judged by itself");
}

#[test]
fn a_file_of_another_job_is_another_decision() {
    let full = world(KSYS);
    let job = job(&full);
    let refused = |world: &World, kind| decide_lines(&ask(world), &job, kind, None).err().map(|denial| denial.reason);
    assert_eq!(refused(&full, ResourceType::PATIENT), None);
    assert_eq!(refused(&full, ResourceType::CONDITION), Some(Reason::ExportRefused), "no type of the job");
    // A later token with fewer scopes, or a registration that expects less, gets less.
    assert_eq!(refused(&world("system/Observation.rs"), ResourceType::PATIENT), Some(Reason::ScopeInsufficient));
    let mut unexpected = world(KSYS);
    unexpected.integration.expected.clear();
    assert_eq!(refused(&unexpected, ResourceType::PATIENT), Some(Reason::TypeUnexpected));
    let mut elsewhere = world(KSYS);
    approve(&mut elsewhere, "Group/G2");
    assert_eq!(refused(&elsewhere, ResourceType::PATIENT), Some(Reason::ExportRefused));
}

fn manifest(output: &str, more: &str) -> String {
    format!(
        r#"{{"transactionTime":"2026-11-24T10:00:00Z","request":"https://ehr/r4/Group/G1/$export","requiresAccessToken":false,"output":[{output}],"error":[{{"type":"OperationOutcome","url":"https://ehr/e"}}]{more}}}"#
    )
}

#[test]
fn a_manifest_is_written_anew() {
    let job = job(&world(KSYS));
    let output = r#"{"type":"Patient","url":"https://files.elsewhere/1?sig=a%2Fb","count":7},
        {"type":"Condition","url":"https://ehr/2"},{"type":"Unknown","url":"x"},
        {"type":"Observation","url":"http://ehr/r4/3","extension":{"x":1}}"#;
    let answered = |body: &str| Manifest::read(&answer(200, body.as_bytes()), &job);
    let read = answered(&manifest(output, r#","extension":{"note":"P2"}"#)).unwrap();
    assert_eq!((read.files().len(), read.left_out(), read.errors()), (2, 2, 1));
    let public = read.public("https://pep/fhir/Group/G1/$export", &|n| format!("https://pep/fhir/$bulk/j/{n}"));
    let text = String::from_utf8(public).unwrap();
    assert_eq!(
        text,
        r#"{"transactionTime":"2026-11-24T10:00:00Z","request":"https://pep/fhir/Group/G1/$export","requiresAccessToken":true,"output":[{"type":"Patient","url":"https://pep/fhir/$bulk/j/0"},{"type":"Observation","url":"https://pep/fhir/$bulk/j/1"}],"error":[]}"#
    );
    let stored = Manifest::decode(&read.encode()).unwrap();
    assert_eq!(stored.files(), read.files());
    assert!(!format!("{read:?}").contains("sig"), "an address can be a credential");
    let whole = String::from_utf8(read.encode()).unwrap();
    for end in 0..whole.len() {
        assert!(Manifest::decode(whole.get(..end).unwrap().as_bytes()).is_err(), "cut at {end}");
    }
    let one = r#"{"type":"Patient","url":"https://ehr/1"}"#;
    assert!(answered(&manifest(one, "")).is_ok());
    assert!(answered(&manifest("", "")).is_ok(), "nothing is something");
    for body in [
        manifest(one, r#","link":[{"relation":"next","url":"https://ehr/more"}]"#),
        manifest(one, r#","outputOrganizedBy":"Patient""#),
        manifest(r#"{"type":"Patient"}"#, ""),
        manifest(r#"{"url":"https://ehr/1"}"#, ""),
        manifest(r#"{"type":"Patient","url":"/relative"}"#, ""),
        manifest(r#"{"type":"Patient","url":"file:///etc/passwd"}"#, ""),
        manifest(r#"{"type":"Patient","url":"https://ehr/a b"}"#, ""),
        manifest(r#"{"type":"Patient","url":"https://"}"#, ""),
        manifest(one, "").replace("2026-11-24T10:00:00Z", "yesterday, says Patient P2"),
        manifest(one, "").replace(r#""transactionTime":"2026-11-24T10:00:00Z","#, ""),
        manifest(one, "").replace(r#""output":"#, r#""outputs":"#),
        manifest(one, "").replace("[{\"type\":\"Patient\"", "{\"type\":\"Patient\""),
        format!("[{}]", manifest(one, "")),
        String::new(),
    ] {
        assert!(answered(&body).is_err(), "{body}");
    }
    assert!(Manifest::read(&answer(202, manifest(one, "").as_bytes()), &job).is_err());
    let html = UpstreamAnswer { content_type: Some("text/html".into()), ..answer(200, manifest(one, "").as_bytes()) };
    assert!(Manifest::read(&html, &job).is_err());
}

/// What the scopes of the comparison are for a population.
fn system() -> String {
    SCOPES.replace("patient/", "system/")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A line leaves only as one member's session would have had it, byte for byte; and what one member's session would
    /// have, leaves, shared types apart, which may name no member at all.
    #[test]
    fn a_line_is_what_its_members_session_would_read(resource in any_resource()) {
        let cohort = world(&system());
        let job = job(&cohort);
        let kind: ResourceType = resource["resourceType"].as_str().unwrap().parse().unwrap();
        let text = resource.to_string();
        let target = format!("{kind}/{}", resource["id"].as_str().unwrap());
        let reads: Vec<Vec<u8>> = ["P1", "P2"]
            .into_iter()
            .filter_map(|patient| {
                let mut one = World::new(SCOPES);
                one.session.subject = Subject::Patient(patient.parse().unwrap());
                let Ok(policy::Decision::Permit(permit)) = one.get(&target) else { return None };
                let released = release(permit, text.as_bytes());
                (released.status() == 200).then(|| released.into_body())
            })
            .collect();
        let Ok(mut judge) = decide_lines(&ask(&cohort), &job, kind, None) else {
            prop_assert!(reads.is_empty(), "{text}");
            return Ok(());
        };
        match judge.line(text.as_bytes(), &nothing) {
            Ok(Line::Released(line)) => {
                let mut body = line.into_body();
                prop_assert_eq!(body.pop(), Some(b'\n'));
                prop_assert!(!body.contains(&b'\n'));
                prop_assert!(reads.contains(&body), "{text}");
                let opinions = ["P1", "P2"].map(|patient| naive::Session { patient, ..session() });
                prop_assert!(opinions.iter().any(|one| naive::may_release(one, &resource)), "{text}");
                let shown = naive::read(&body).unwrap();
                prop_assert!(opinions.iter().any(|one| naive::leak(one, &shown).is_none()), "{text}");
            }
            Ok(Line::Held(_)) => prop_assert!(reads.is_empty() || kind == ResourceType::PRACTITIONER, "{text}"),
            other => prop_assert!(false, "{other:?} {text}"),
        }
    }

    #[test]
    fn no_bytes_of_a_line_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let full = world(KSYS);
        let mut judge = judge(&full, &job(&full), ResourceType::OBSERVATION);
        let line = judge.line(&bytes, &nothing);
        prop_assert!(!matches!(line, Ok(Line::Released(_))));
        let _job = ExportJob::decode(&bytes);
        let _stored = Manifest::decode(&bytes);
        let _manifest = Manifest::read(&answer(200, &bytes), &job(&full));
    }
}
