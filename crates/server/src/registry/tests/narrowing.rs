//! Over any history of approvals: one less never lets an integration do more, however it goes (S0-05, S2-25).

use domain::approval::{ApprovalStatus, ExportRule, FirstApproval, LaunchMode, Terms};
use domain::{Approval, ApprovalId, Budgets, Class, Integration, Millis, TaskProfile};
use proptest::prelude::*;
use store::{ApprovalRow, IntegrationRow, RegistryRows};
use testkit::world::World;

use super::super::digest;
use super::super::snapshot::{Snapshot, Standing};
use super::NOW;

/// What became of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Requested,
    Approved,
    Expired,
    Suspended,
    Ended,
    Withdrawn,
    Rejected,
}

const FATES: [Fate; 7] =
    [Fate::Requested, Fate::Approved, Fate::Expired, Fate::Suspended, Fate::Ended, Fate::Withdrawn, Fate::Rejected];

/// One request: task version, when it was asked for, what became of it, and whether for an export.
type Case = (u32, Millis, usize, bool);

struct Hospital {
    integration: Integration,
    profiles: Vec<TaskProfile>,
}

impl Hospital {
    fn new() -> Self {
        let world = World::new("patient/Patient.rs");
        let mut integration = world.integration;
        (integration.class, integration.expires_at) = (Class::Analytics, NOW + 1_000_000);
        // An older version says more.
        let scopes = [
            "system/Patient.rs system/Observation.rs system/Condition.rs",
            "system/Patient.rs",
            "system/Observation.rs",
        ];
        let profile = |(version, scopes): (u32, &&str)| TaskProfile {
            version,
            scopes: scopes.parse().unwrap(),
            ..world.profile.clone()
        };
        Self { integration, profiles: (1..).zip(&scopes).map(profile).collect() }
    }

    fn approval(&self, at: usize, (version, asked, fate, export): Case) -> Approval {
        let profile = &self.profiles[version as usize - 1];
        let launch = if export {
            LaunchMode::Export(ExportRule { of: format!("Group/G{at}").parse().unwrap() })
        } else {
            LaunchMode::Ticket {}
        };
        let terms = Terms { launch: vec![launch], token_seconds: 300, budgets: Budgets::hourly(10) };
        let person = |name: &str| format!("{name}@mercy.example").parse().unwrap();
        let until = |until| ApprovalStatus::Approved { by: person("p"), at: NOW - 50, until };
        let ended = ApprovalStatus::Ended { by: person("p"), at: NOW - 1 };
        let (status, approved_at) = match FATES[fate] {
            Fate::Requested => (ApprovalStatus::Requested, None),
            Fate::Approved => (until(NOW + 50), Some(NOW - 50)),
            Fate::Expired => (until(NOW), Some(NOW - 50)),
            Fate::Suspended => (ApprovalStatus::Suspended { reason: "x".into(), at: NOW - 1 }, Some(NOW - 50)),
            Fate::Ended => (ended, Some(NOW - 50)),
            Fate::Withdrawn => (ended, None),
            Fate::Rejected => (ApprovalStatus::Rejected { by: person("p"), at: NOW - 1 }, None),
        };
        Approval {
            id: ApprovalId([u8::try_from(at).unwrap(); 16]),
            tenant: self.integration.tenant.clone(),
            integration: self.integration.id.clone(),
            task: profile.reference(),
            digest: digest::subject(&self.integration, None, profile, &terms),
            terms,
            justification: "tests".into(),
            requested_by: person("b"),
            requested_at: NOW - 1_000 + asked,
            status,
            first: Some(FirstApproval { by: person("q"), at: NOW - 60, until: NOW + 50 }),
            approved_at,
        }
    }

    fn snapshot(&self, approvals: &[Approval]) -> Snapshot {
        let row = |approval: &Approval| ApprovalRow { approval: approval.clone(), revision: 1 };
        let tenant = self.integration.tenant.clone();
        let rows = RegistryRows {
            feed: 1,
            integrations: vec![IntegrationRow { integration: self.integration.clone(), revision: 1 }],
            profiles: self.profiles.iter().map(|profile| (tenant.clone(), profile.clone())).collect(),
            approvals: approvals.iter().map(row).collect(),
            filters: Vec::new(),
            policies: Vec::new(),
            roles: Vec::new(),
        };
        Snapshot::build(&[], rows)
    }

    /// The approvals that new sessions would be under: of the task, and of the export.
    fn lets(&self, approvals: &[Approval]) -> [Option<ApprovalId>; 2] {
        let (snapshot, Integration { tenant, id, .. }) = (self.snapshot(approvals), &self.integration);
        let task = snapshot.approved_task(tenant, id, &self.profiles[0].name, NOW);
        let export = snapshot.approved_export(tenant, id, NOW);
        let name = |standing: Option<Standing>| standing.map(|standing| standing.approval.id);
        [name(task), name(export)]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_approval_less_never_permits_more(
        cases in prop::collection::vec((1u32..=3, 0i64..5, 0usize..FATES.len(), any::<bool>()), 1..8),
        which in any::<prop::sample::Index>(),
        way in 0usize..3,
    ) {
        let hospital = Hospital::new();
        let mut approvals: Vec<Approval> = cases.iter().enumerate().map(|(at, case)| hospital.approval(at, *case)).collect();
        let at = which.index(approvals.len());
        let (version, asked, _, export) = cases[at];
        approvals[at] = hospital.approval(at, (version, asked, Fate::Approved as usize, export));
        let before = hospital.lets(&approvals);
        let less = [Fate::Suspended, Fate::Ended, Fate::Expired][way] as usize;
        approvals[at] = hospital.approval(at, (version, asked, less, export));
        for (before, after) in before.into_iter().zip(hospital.lets(&approvals)) {
            prop_assert!(after.is_none() || after == before, "{before:?} became {after:?}");
            prop_assert!(after.is_none_or(|id| id != approvals[at].id), "what is over lets nobody in");
        }
    }
}

#[test]
fn an_older_approval_does_not_come_back_and_a_withdrawn_request_takes_nothing() {
    let hospital = Hospital::new();
    let lets = |cases: &[Case]| {
        let approvals: Vec<Approval> =
            cases.iter().enumerate().map(|(at, case)| hospital.approval(at, *case)).collect();
        hospital.lets(&approvals)[0]
    };
    let (approved, ended, withdrawn) = (Fate::Approved as usize, Fate::Ended as usize, Fate::Withdrawn as usize);
    let id = |at: u8| Some(ApprovalId([at; 16]));
    assert_eq!(lets(&[(1, 0, approved, false), (2, 1, approved, false)]), id(1), "the newest version");
    assert_eq!(lets(&[(1, 0, approved, false), (2, 1, ended, false)]), None, "S2-25");
    assert_eq!(lets(&[(1, 0, approved, false), (1, 1, ended, false)]), None, "a renewal that ended");
    assert_eq!(lets(&[(1, 0, approved, false), (2, 1, withdrawn, false)]), id(0));
    assert_eq!(lets(&[(1, 0, ended, false), (1, 1, approved, false)]), id(1));
}
