//! What must hold before a request is even looked at, and clauses that grant nothing (b.17).

use domain::{ApprovalStatus, Class, IntegrationStatus, LaunchKind, Reason, Subject};
use fhir::ResourceType;
use policy::Authority;
use testkit::world::{NOW, World, answer, released};

use crate::fixture::*;

type Change = fn(&mut World);

#[test]
fn everything_must_be_in_force_and_belong_together() {
    let cases: [(&str, Change, Reason); 12] = [
        ("suspended", |w| w.integration.status = IntegrationStatus::Suspended, Reason::IntegrationInactive),
        ("expired", |w| w.integration.expires_at = NOW, Reason::IntegrationInactive),
        ("epoch", |w| w.integration.epoch = 2, Reason::SessionEnded),
        ("session over", |w| w.session.expires_at = NOW, Reason::SessionEnded),
        ("tenant", |w| w.session.tenant = "other".parse().unwrap(), Reason::SessionEnded),
        ("integration", |w| w.session.integration = "other".parse().unwrap(), Reason::SessionEnded),
        ("requested", |w| w.approval.status = ApprovalStatus::Requested, Reason::ApprovalMissing),
        (
            "suspended approval",
            |w| w.approval.status = ApprovalStatus::Suspended { reason: "x".into(), at: 0 },
            Reason::ApprovalMissing,
        ),
        ("other approval", |w| w.approval.id = domain::ApprovalId([1; 16]), Reason::ApprovalMissing),
        ("task", |w| w.session.task.version = 2, Reason::ApprovalMissing),
        ("profile", |w| w.profile.version = 2, Reason::ApprovalMissing),
        ("cohort", |w| w.session.subject = Subject::Cohort, Reason::ScopeInsufficient),
    ];
    for (name, change, expected) in cases {
        let mut world = World::new(KOBS);
        change(&mut world);
        assert_eq!(reason(&world, "Observation/O1"), expected, "{name}");
    }
}

#[test]
fn s2_04_unexpected_types_are_refused_whatever_the_scope() {
    let mut world = World::new(KPO);
    world.integration.expected = [ResourceType::PATIENT].into();
    assert_eq!(reason(&world, "Observation/O1"), Reason::TypeUnexpected);
    assert_eq!(reason(&world, "Observation?code=1"), Reason::TypeUnexpected);
    let released = world.released("Patient?_revinclude=Observation:subject", &bundle(&["P1", "O1:include"], ""));
    assert_eq!(ids(&released), ["P1"], "nor do they come along");
}

#[test]
fn s1_22_the_profile_is_a_ceiling() {
    let mut world = World::new("patient/Observation.rs patient/Condition.rs");
    world.profile.scopes = "patient/Observation.rs?category=vital-signs".parse().unwrap();
    assert_eq!(reason(&world, "Condition/C1"), Reason::ScopeInsufficient);
    assert_eq!(world.released("Observation/O1", &resource("O1")).status(), 200);
    assert_eq!(world.released("Observation/O1L", &resource("O1L")).status(), 404);
    world.profile.scopes = domain::ScopeSet::default();
    assert_eq!(reason(&world, "Observation/O1"), Reason::ScopeInsufficient, "empty grants nothing");
}

#[test]
fn s1_11_class_rules_are_policy_not_data() {
    let mut world = World::new(KALL);
    world.integration.class = Class::ClinicalAi;
    assert_eq!(reason(&world, "Observation/O1"), Reason::ScopeInsufficient, "S1-20: no wildcard");
    let mut world = World::new(KOBS);
    world.integration.class = Class::Launcher;
    assert_eq!(reason(&world, "Observation/O1"), Reason::ScopeInsufficient);
}

#[test]
fn sc_07_sc_08_other_levels_never_widen() {
    let mut world = World::new(
        "patient/Observation.rs?category=vital-signs user/Observation.rs system/Observation.rs system/Patient.rs",
    );
    assert_eq!(world.released("Observation/O1L", &resource("O1L")).status(), 404);
    assert_eq!(reason(&world, "Patient/P1"), Reason::ScopeInsufficient);
    // A clinician's app may hold `user/`, for the patient of its session and for no other (S1-10).
    world.integration.class = Class::ClinicianApp;
    assert_eq!(world.released("Observation/O1L", &resource("O1L")).status(), 200);
    assert_eq!(reason(&world, "Patient/P1"), Reason::ScopeInsufficient);
    let world = World::new("user/Observation.rs");
    assert_eq!(reason(&world, "Observation/O1"), Reason::ScopeInsufficient);
}

#[test]
fn sc_13_a_query_that_cannot_be_evaluated_grants_nothing() {
    for scope in [
        "patient/Observation.rs?date=2020",
        "patient/Observation.rs?subject=P1",
        "patient/Observation.rs?nonsense=1",
        "patient/Observation.rs?code-value-concept=1",
        "patient/Observation.rs?category=vital-signs&value-quantity=5",
    ] {
        assert_eq!(reason(&World::new(scope), "Observation/O1"), Reason::ScopeInsufficient, "{scope}");
        assert_eq!(reason(&World::new(scope), "Observation?code=1"), Reason::ScopeInsufficient, "{scope}");
    }
    let wild = World::new("patient/*.rs?category=vital-signs");
    assert_eq!(wild.released("Observation/O1", &resource("O1")).status(), 200);
    assert_eq!(reason(&wild, "Patient/P1"), Reason::ScopeInsufficient, "Patient has no category");
}

#[test]
fn metadata_is_not_asked_of_the_upstream() {
    assert_eq!(reason(&World::new(KOBS), "metadata"), Reason::NotSupported);
}

/// DESIGN, step 5: no fallback.
#[test]
fn a_session_that_the_ehr_launched_is_permitted_nothing_by_the_tenants_token() {
    for (launch, own) in [
        (LaunchKind::Ticket, false),
        (LaunchKind::Relationship, false),
        (LaunchKind::Standalone, false),
        (LaunchKind::Ehr, true),
    ] {
        let mut world = World::new(KOBS);
        world.session.launch = launch;
        let authority = if own { Authority::Session(world.session.id) } else { Authority::Tenant };
        let consents = policy::ask_consents(&world.rules, &world.session, NOW).unwrap();
        assert_eq!(consents.authority(), authority, "{launch:?}");
        for target in ["Observation/O1", "Observation?code=1"] {
            let permit = world.permit(target);
            assert_eq!(permit.authority(), authority, "{launch:?} {target}");
            let told = released(policy::verify(permit.answered(answer(401, b"{}")), &mut |_| None));
            let expected = if own { (401, Reason::UpstreamTokenGone) } else { (502, Reason::UpstreamBroken) };
            assert_eq!((told.status(), told.reason()), (expected.0, Some(expected.1)), "{launch:?} {target}");
        }
    }
}
