//! One registered integration with an approval and a session for Patient/P1, as `policy` sees it.

use std::collections::BTreeSet;

use domain::{
    Approval, ApprovalId, ApprovalStatus, Budgets, Class, ClientAuth, Environment, Integration, IntegrationStatus,
    Keys, Owners, ScopeSet, Session, SessionId, Subject, TaskProfile, TaskRef, Terms,
};
use fhir::ResourceType;
use fhir::request::{InvalidRequest, Method, Raw};
use policy::{Ask, Decision, PageCursor, Permit, Released, TenantRules, UpstreamAnswer};

/// The upstream's base in the fixture of `spec/enforcement.md` b.0.
pub const UPSTREAM: &str = "https://ehr/r4";
/// The public base.
pub const PUBLIC: &str = "https://pep/fhir";
/// The time of every decision.
pub const NOW: i64 = 1_800_000_000_000;

/// Everything an [`Ask`] borrows; change a field to change the case.
pub struct World {
    /// Rules of the tenant.
    pub rules: TenantRules,
    /// The integration; expects every type.
    pub integration: Integration,
    /// The approval, in force.
    pub approval: Approval,
    /// The profile, with the same scopes as the session.
    pub profile: TaskProfile,
    /// The session.
    pub session: Session,
}

impl World {
    /// A session with `scopes`; of class `patient-app` where only that class may hold them (wildcards).
    ///
    /// # Panics
    /// On scopes that do not parse.
    #[must_use]
    pub fn new(scopes: &str) -> Self {
        Self::build(scopes).unwrap_or_else(|| unreachable(scopes))
    }

    fn build(scopes: &str) -> Option<Self> {
        let scopes: ScopeSet = scopes.parse().ok()?;
        let class = if scopes.to_string().contains("/*.") { Class::PatientApp } else { Class::ClinicalAi };
        let task = TaskRef { name: "intake".parse().ok()?, version: 1 };
        let integration = Integration {
            id: "scheduler".parse().ok()?,
            tenant: "mercy".parse().ok()?,
            name: "Scheduler".into(),
            class,
            environment: Environment::Test,
            owners: Owners { business: "b@mercy.example".parse().ok()?, technical: "t@mercy.example".parse().ok()? },
            vendor: "Vendor".into(),
            purpose: "tests".into(),
            data_classes: BTreeSet::from(["demographics".to_owned()]),
            expected: ResourceType::all().collect(),
            expires_at: NOW + 1_000_000,
            revocation_contact: "t@mercy.example".into(),
            auth: ClientAuth {
                keys: Keys::Jwks("{}".into()),
                algorithms: BTreeSet::new(),
                audience: Default::default(),
            },
            redirect_uris: Vec::new(),
            launches: BTreeSet::new(),
            status: IntegrationStatus::Active,
            epoch: 1,
        };
        let approval = Approval {
            id: ApprovalId([7; 16]),
            tenant: integration.tenant.clone(),
            integration: integration.id.clone(),
            task: task.clone(),
            terms: Terms {
                launch: Vec::new(),
                token_seconds: 900,
                budgets: Budgets { patients_per_hour: 10, absent_per_session: 50 },
            },
            justification: "tests".into(),
            requested_by: "b@mercy.example".parse().ok()?,
            requested_at: NOW - 10,
            digest: String::new(),
            status: ApprovalStatus::Approved {
                by: "p@mercy.example".parse().ok()?,
                at: NOW - 5,
                until: NOW + 1_000_000,
            },
        };
        let profile = TaskProfile {
            name: task.name.clone(),
            version: 1,
            purpose: "tests".into(),
            purpose_of_use: "TREAT".into(),
            scopes: scopes.clone(),
        };
        let session = Session {
            id: SessionId([9; 16]),
            tenant: integration.tenant.clone(),
            integration: integration.id.clone(),
            epoch: 1,
            approval: approval.id,
            task,
            purpose_of_use: "TREAT".into(),
            subject: Subject::Patient("P1".parse().ok()?),
            scopes,
            expires_at: NOW + 900_000,
            feed: 1,
            jti: "j".into(),
        };
        let rules = TenantRules {
            upstream_base: UPSTREAM.into(),
            public_base: PUBLIC.into(),
            shared: fhir::owner::SHARED_DEFAULT.iter().copied().collect(),
            filters: policy::Filters::default(),
            count_max: 100,
        };
        Some(Self { rules, integration, approval, profile, session })
    }

    /// Reads and decides `GET {target}`, e.g. `Observation?patient=P1`.
    ///
    /// # Errors
    /// The request is refused before it is decided.
    pub fn get(&self, target: &str) -> Result<Decision, InvalidRequest> {
        self.get_page(target, None)
    }

    /// The same with an opened page cursor.
    ///
    /// # Errors
    /// The request is refused before it is decided.
    pub fn get_page(&self, target: &str, page: Option<PageCursor>) -> Result<Decision, InvalidRequest> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = format!("/{path}");
        let raw = Raw { method: Method::Get, path: &path, query, accept: None, body: false };
        let interaction = fhir::request::read(&raw)?;
        Ok(policy::decide(Ask {
            now: NOW,
            rules: &self.rules,
            integration: &self.integration,
            approval: &self.approval,
            profile: &self.profile,
            session: &self.session,
            interaction,
            page,
        }))
    }

    /// The permit for `GET {target}`.
    ///
    /// # Panics
    /// When there is none.
    pub fn permit(&self, target: &str) -> Permit {
        match self.get(target) {
            Ok(Decision::Permit(permit)) => permit,
            other => unreachable(&format!("{target}: {other:?}")),
        }
    }

    /// `GET {target}` answered 200 with `body`, verified.
    #[must_use]
    pub fn released(&self, target: &str, body: &str) -> Released {
        release(self.permit(target), body.as_bytes())
    }
}

/// `permit` answered 200 with `body`, verified; page links are sealed as `sealed`.
#[must_use]
pub fn release(permit: Permit, body: &[u8]) -> Released {
    policy::verify(permit.answered(answer(200, body)), &mut |_| Some("sealed".into()))
}

/// A FHIR JSON answer.
#[must_use]
pub fn answer(status: u16, body: &[u8]) -> UpstreamAnswer {
    UpstreamAnswer {
        status,
        content_type: Some("application/fhir+json;charset=UTF-8".into()),
        body: body.to_vec(),
        etag: None,
        last_modified: None,
    }
}

#[expect(clippy::panic, reason = "a fixture that cannot be built fails its test")]
fn unreachable(what: &str) -> ! {
    panic!("the fixture does not hold: {what}")
}
