//! One registered integration with an approval and a session for Patient/P1, as `policy` sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{
    Approval, ApprovalId, ApprovalStatus, Budgets, Class, ClientAuth, Environment, Integration, IntegrationStatus,
    Keys, Owners, Reason, ScopeSet, Session, SessionId, Subject, TaskProfile, TaskRef, Terms,
};
use fhir::ResourceType;
use fhir::request::{Interaction, InvalidRequest, Method, Raw};
use policy::{
    Ask, BinaryProof, Consents, Decision, Denial, Guard, PageCursor, Permit, Released, TenantRules, UpstreamAnswer,
    UpstreamBody, UpstreamCall, Verb, Verdict,
};

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
    /// Opened proofs of link that come with a request.
    pub proofs: BTreeMap<String, BinaryProof>,
    /// What the patient consented to.
    pub consents: Consents,
    /// A rule about single resources made elsewhere, if there is one.
    pub guard: Option<Arc<dyn Guard>>,
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
                method: Default::default(),
                keys: Keys::Jwks("{}".into()),
                algorithms: BTreeSet::new(),
                audience: Default::default(),
            },
            redirect_uris: Vec::new(),
            launch_urls: Vec::new(),
            origins: Vec::new(),
            frame_ancestors: Vec::new(),
            demands: Default::default(),
            introspects: Default::default(),
            launches: BTreeSet::new(),
            role: None,
            status: IntegrationStatus::Active,
            epoch: 1,
        };
        let approval = Approval {
            id: ApprovalId([7; 16]),
            tenant: integration.tenant.clone(),
            integration: integration.id.clone(),
            task: task.clone(),
            terms: Terms { launch: Vec::new(), token_seconds: 900, budgets: Budgets::hourly(10) },
            justification: "tests".into(),
            requested_by: "b@mercy.example".parse().ok()?,
            requested_at: NOW - 10,
            digest: String::new(),
            status: ApprovalStatus::Approved {
                by: "p@mercy.example".parse().ok()?,
                at: NOW - 5,
                until: NOW + 1_000_000,
            },
            first: None,
            approved_at: None,
        };
        let profile = TaskProfile {
            name: task.name.clone(),
            version: 1,
            purpose: "tests".into(),
            purpose_of_use: "TREAT".into(),
            scopes: scopes.clone(),
            operations: Default::default(),
            labels: Default::default(),
            sender_constraint: Default::default(),
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
            launch: domain::LaunchKind::Ticket,
            act: domain::Actor::default(),
            confirmation: None,
        };
        let rules = TenantRules {
            upstream_base: UPSTREAM.into(),
            public_base: PUBLIC.into(),
            shared: fhir::owner::SHARED_DEFAULT.iter().copied().collect(),
            filters: policy::Filters::default(),
            count_max: 100,
        };
        Some(Self {
            rules,
            integration,
            approval,
            profile,
            session,
            proofs: BTreeMap::new(),
            consents: Consents::none(),
            guard: None,
        })
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
        let interaction = fhir::request::read(&Raw::plain(Method::Get, &path, query))?;
        Ok(self.decide(interaction, page))
    }

    /// Decides an interaction as read.
    pub fn decide(&self, interaction: Interaction, page: Option<PageCursor>) -> Decision {
        policy::decide(Ask {
            now: NOW,
            rules: &self.rules,
            integration: &self.integration,
            approval: &self.approval,
            profile: &self.profile,
            session: &self.session,
            interaction,
            page,
            proofs: self.proofs.clone(),
            consents: self.consents.clone(),
            guard: self.guard.clone(),
        })
    }

    /// Reads and decides any request.
    ///
    /// # Errors
    /// The request is refused before it is decided.
    pub fn ask(&self, raw: &Raw<'_>) -> Result<Decision, InvalidRequest> {
        Ok(self.decide(fhir::request::read(raw)?, None))
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
    released(policy::verify(permit.answered(answer(200, body)), &mut |_| Some("sealed".into())))
}

/// What became of an interaction, with every call it made.
pub struct Ran {
    /// Calls to the upstream, in order.
    pub calls: Vec<UpstreamCall>,
    /// How it ended.
    pub end: Result<Released, Denial>,
}

impl Ran {
    /// What was released.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    pub fn released(self) -> Released {
        self.end.unwrap_or_else(|denial| unreachable(&format!("refused: {denial:?}")))
    }

    /// Why it was refused, or the status of the refusal that was released.
    #[must_use]
    pub fn refused(&self) -> Option<Reason> {
        match &self.end {
            Err(denial) => Some(denial.reason),
            Ok(released) if released.status() >= 400 => released.reason(),
            Ok(_) => None,
        }
    }

    /// The calls that change something.
    pub fn writes(&self) -> impl Iterator<Item = &UpstreamCall> {
        let writes = |call: &&UpstreamCall| call.verb != Verb::Get && !matches!(call.body, Some(UpstreamBody::Form(_)));
        self.calls.iter().filter(writes)
    }
}

/// Plays a decision to its end against an upstream; proofs and page links are sealed as `sealed`.
pub fn run(decision: Decision, upstream: &mut dyn FnMut(&UpstreamCall) -> UpstreamAnswer) -> Ran {
    run_sealed(decision, upstream, &mut |_| Some("sealed".into()))
}

/// The same with a seal of one's own.
///
/// # Panics
/// When a Consent is read.
pub fn run_sealed(
    decision: Decision,
    upstream: &mut dyn FnMut(&UpstreamCall) -> UpstreamAnswer,
    seal: &mut policy::Sealer<'_>,
) -> Ran {
    let mut calls = Vec::new();
    let mut verdict = match decision {
        Decision::Deny(denial) => return Ran { calls, end: Err(denial) },
        Decision::Permit(permit) => Verdict::Next(permit),
        Decision::Write(permit) => Verdict::Write(permit),
    };
    loop {
        let answered = match verdict {
            Verdict::Next(permit) => {
                calls.push(permit.call().clone());
                let answer = upstream(permit.call());
                permit.answered(answer)
            }
            Verdict::Write(permit) => {
                calls.push(permit.call().clone());
                let answer = upstream(permit.call());
                permit.answered(answer)
            }
            Verdict::Released(released) => return Ran { calls, end: Ok(released) },
            Verdict::Denied(denial) => return Ran { calls, end: Err(denial) },
            Verdict::Consents(_) => unreachable("Consents"),
        };
        verdict = policy::verify(answered, seal);
    }
}

/// What a verdict releases.
///
/// # Panics
/// When it asks for something else first, or refuses.
#[must_use]
pub fn released(verdict: Verdict) -> Released {
    match verdict {
        Verdict::Released(released) => released,
        Verdict::Next(permit) => unreachable(&format!("asks for {permit:?}")),
        Verdict::Write(permit) => unreachable(&format!("writes {permit:?}")),
        Verdict::Denied(denial) => unreachable(&format!("refused: {denial:?}")),
        Verdict::Consents(_) => unreachable("Consents"),
    }
}

/// A FHIR JSON answer.
#[must_use]
pub fn answer(status: u16, body: &[u8]) -> UpstreamAnswer {
    UpstreamAnswer {
        status,
        content_type: Some("application/fhir+json;charset=UTF-8".into()),
        body: body.to_vec(),
        ..UpstreamAnswer::default()
    }
}

#[expect(clippy::panic, reason = "a fixture that cannot be built fails its test")]
fn unreachable(what: &str) -> ! {
    panic!("the fixture does not hold: {what}")
}
