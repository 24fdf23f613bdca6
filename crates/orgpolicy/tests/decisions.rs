//! What is allowed: each attribute alone flips a decision (S2-10), and every doubt is a denial (S2-02).
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{agent, decide, parse, request, session};
use domain::{Class, Environment, TaskRef};
use orgpolicy::{
    Action, Agent, Binding, DEFAULT_TEXT, Human, Outcome, Principal, Relationship, RequestFacts, SessionFacts, Why,
};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// One permit that reads everything there is.
const NARROW: &str = r#"
@id("narrow")
permit (principal == Integration::"scheduler-1", action == Action::"read", resource == Type::"Observation")
when { principal in Tenant::"mercy" && principal.class == Class::"clinical-ai" }
when { principal.environment == Environment::"production" }
when { context.session.task == "scheduling" && context.session.task_version == 2 }
when { context.session.purpose_of_use == "HOPERAT" && context.session.binding == Binding::"ehr-enforced" }
when { context.session has relationship && context.session.relationship == Relationship::"ticket" }
when { context.session.bound && context.session.actor has sub && context.session.actor.sub == "lee" }
when { context.session.actor has role && context.session.actor.role == "nurse" }
when { context.session.actor has organization && context.session.actor.organization == "https://mercy.example" }
when { context.session has person.mfa && context.session.person.id == "dana@mercy.example" && context.session.person.mfa }
when { context.request.hour == 11 && context.request.weekday == 3 };
@id("not-from-there")
forbid (principal, action, resource) unless { context.request.address.isInRange(ip("10.0.0.0/8")) };
"#;

#[derive(Clone)]
struct Case {
    agent: Agent,
    session: SessionFacts,
    request: RequestFacts,
    action: Action,
    kind: &'static str,
}

fn known(sub: Option<&str>, role: Option<&str>, organization: Option<&str>) -> Principal {
    Principal {
        sub: sub.map(str::to_owned),
        role: role.map(str::to_owned),
        organization: organization.map(str::to_owned),
    }
}

fn fits() -> Case {
    let mut session = session();
    session.binding = Binding::EhrEnforced;
    session.relationship = Some(Relationship::Ticket);
    session.person = Some(Human { id: "dana@mercy.example".to_owned(), mfa: Some(true) });
    session.bound = true;
    session.actor = known(Some("lee"), Some("nurse"), Some("https://mercy.example"));
    Case { agent: agent(), session, request: request(), action: Action::Read, kind: "Observation" }
}

fn outcome(text: &str, case: &Case) -> Outcome {
    let slice = parse(text).slice(&case.agent).unwrap();
    slice.decide(&case.session, case.action, case.kind.parse().unwrap(), &case.request)
}

#[test]
fn each_attribute_alone_flips_the_decision() {
    assert_eq!(outcome(NARROW, &fits()), Outcome::Allow { policies: vec!["narrow".to_owned()] });
    type Flip = fn(&mut Case);
    let flips: [(&str, Flip); 23] = [
        ("tenant", |case| case.agent.tenant = "other".parse().unwrap()),
        ("integration", |case| case.agent.integration = "scheduler-2".parse().unwrap()),
        ("class", |case| case.agent.class = Class::PatientApp),
        ("environment", |case| case.agent.environment = Environment::Test),
        ("task", |case| case.session.task = TaskRef { name: "intake".parse().unwrap(), version: 2 }),
        ("version", |case| case.session.task.version = 3),
        ("purpose", |case| case.session.purpose_of_use = "TREAT".to_owned()),
        ("binding", |case| case.session.binding = Binding::GatewayEnforced),
        ("relationship", |case| case.session.relationship = Some(Relationship::Rule)),
        ("no relationship", |case| case.session.relationship = None),
        ("person", |case| case.session.person = None),
        ("mfa", |case| case.session.person.as_mut().unwrap().mfa = Some(false)),
        ("no mfa", |case| case.session.person.as_mut().unwrap().mfa = None),
        ("bound", |case| case.session.bound = false),
        ("sub", |case| case.session.actor.sub = Some("mallory".to_owned())),
        ("no sub", |case| case.session.actor.sub = None),
        ("role", |case| case.session.actor.role = Some("clerk".to_owned())),
        ("no role", |case| case.session.actor.role = None),
        ("organization", |case| case.session.actor.organization = Some("https://other.example".to_owned())),
        ("no organization", |case| case.session.actor.organization = None),
        ("action", |case| case.action = Action::Search),
        ("type", |case| case.kind = "Condition"),
        ("time", |case| case.request.at += 3_600_000),
    ];
    for (name, flip) in flips {
        let mut case = fits();
        flip(&mut case);
        assert!(!outcome(NARROW, &case).allows(), "{name}");
    }
    let mut outside = fits();
    outside.request.address = [192, 0, 2, 1].into();
    let denied = Outcome::Deny { policies: vec!["not-from-there".to_owned()], why: Why::Forbidden };
    assert_eq!(outcome(NARROW, &outside), denied);
}

#[test]
fn no_policy_permits_nothing() {
    let none = Outcome::Deny { policies: Vec::new(), why: Why::NotPermitted };
    assert_eq!(decide("", &agent(), &session(), "read", "Patient"), none);
}

#[test]
fn a_policy_that_errs_denies_by_name() {
    // Cedar itself would skip the `forbid` and allow.
    let overflow = "@id(\"sum\") forbid (principal, action, resource)\
                    when { context.session.task_version + 9223372036854775807 < 0 };";
    let denied = Outcome::Deny { policies: vec!["sum".to_owned()], why: Why::Failed };
    assert_eq!(decide(&format!("{PERMIT}{overflow}"), &agent(), &session(), "read", "Patient"), denied);
}

#[test]
fn a_forbid_that_reads_what_nobody_knows_forbids() {
    let people = |condition: &str| format!("{PERMIT}@id(\"mfa\") forbid (principal, action, resource) {condition};");
    let strong = people("unless { context.session has person.mfa && context.session.person.mfa }");
    let weak = people("when { context.session has person.mfa && !context.session.person.mfa }");
    let scoped = people(
        "when { principal.class == Class::\"clinician-app\" } \
         when { context.session has person.mfa && !context.session.person.mfa }",
    );
    let asked = people("when { context.session has person }");
    let with = |mfa| SessionFacts { person: Some(Human { id: "d".to_owned(), mfa }), ..session() };
    let clinician = Agent { class: Class::ClinicianApp, ..agent() };
    for (text, agent, session, allows) in [
        (&strong, &agent(), with(Some(true)), true),
        (&strong, &agent(), with(Some(false)), false),
        (&strong, &agent(), with(None), false),
        (&strong, &agent(), session(), false),
        (&weak, &agent(), with(Some(true)), true),
        (&weak, &agent(), with(Some(false)), false),
        (&weak, &agent(), with(None), false),
        (&weak, &agent(), session(), false),
        (&scoped, &agent(), session(), true),
        (&scoped, &clinician, session(), false),
        (&scoped, &clinician, with(Some(true)), true),
        (&asked, &agent(), with(None), false),
        (&asked, &agent(), session(), false),
    ] {
        assert_eq!(decide(text, agent, &session, "read", "Patient").allows(), allows, "{text}\n{session:?}");
    }
}

#[test]
fn ud_12_a_forbid_that_reads_for_whom_forbids_while_nobody_knows() {
    let others = format!(
        "{PERMIT}@id(\"ours\") forbid (principal, action, resource) \
         unless {{ context.session.actor has organization && context.session.actor.organization == \"https://mercy.example\" }};"
    );
    for (organization, allows) in
        [(Some("https://mercy.example"), true), (Some("https://other.example"), false), (None, false)]
    {
        // The others are unknown throughout, which does not matter to who does not read them.
        let session = SessionFacts { actor: known(None, None, organization), ..session() };
        assert_eq!(decide(&others, &agent(), &session, "read", "Patient").allows(), allows, "{organization:?}");
    }
}

/// Absent is a denial, also where the condition would make something of its absence.
#[test]
fn a_permit_that_reads_what_nobody_knows_does_not_permit() {
    let permit = |condition: &str| format!("@id(\"a\") permit (principal, action, resource) {condition};");
    let not_mallory = permit("unless { context.session has person && context.session.person.id == \"mallory\" }");
    let any_launch = permit(
        "when { if context.session has relationship then context.session.relationship == Relationship::\"ticket\" else true }",
    );
    let known = SessionFacts {
        person: Some(Human { id: "dana".to_owned(), mfa: None }),
        relationship: Some(orgpolicy::Relationship::Ticket),
        ..session()
    };
    for text in [&not_mallory, &any_launch] {
        assert!(!decide(text, &agent(), &session(), "read", "Patient").allows(), "{text}");
        assert!(decide(text, &agent(), &known, "read", "Patient").allows(), "{text}");
    }
}

#[test]
fn labels_are_judged_before_release() {
    let text = format!(
        "{PERMIT}@id(\"psy\") forbid (principal, action, resource) when {{ context.answer.labels.contains(\"PSY\") }};"
    );
    let slice = parse(&text).slice(&agent()).unwrap();
    assert!(slice.reads_labels() && !slice.varies());
    let kind = "Observation".parse().unwrap();
    assert!(slice.decide(&session(), Action::Search, kind, &request()).allows());
    let labels = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<BTreeSet<_>>();
    let denies =
        |codes: &[&str]| slice.releasing(&session(), Action::Search, kind, &request(), &labels(codes)).denies();
    assert!(!denies(&[]) && !denies(&["R"]) && denies(&["R", "PSY"]));
}

#[test]
fn the_shipped_policies_permit_one_patients_work_and_no_bulk() {
    for (class, action, allows) in [
        (Class::ClinicalAi, "read", true),
        (Class::ClinicalAi, "everything", true),
        (Class::ClinicalAi, "update", true),
        (Class::ClinicalAi, "export", false),
        (Class::ClinicianApp, "export", false),
        (Class::PatientApp, "search", true),
        (Class::Analytics, "export", true),
        (Class::Analytics, "create", false),
        (Class::Launcher, "read", false),
    ] {
        let agent = Agent { class, ..agent() };
        let outcome = decide(DEFAULT_TEXT, &agent, &session(), action, "Patient");
        assert_eq!(outcome.allows(), allows, "{class:?} {action}");
    }
}
