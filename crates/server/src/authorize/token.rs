//! `POST /{tenant}/oauth/token`: authenticate → decide → reserve → issue → record → answer.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::audit::{Kind, Outcome};
use domain::{
    Approval, ApprovalStatus, Budget, Class, LaunchKind, LaunchMode, Level, Millis, Reason, RelationshipRule,
    RequestedScope, ResourceMatch, Scope, Session, SessionId, Subject,
};
use fhir::Id;
use fhir::params::ParamKind;
use http::{Request, StatusCode};
use oauth::details::FhirTask;
use oauth::request::{Grant, TICKET_CHARS, TokenRequest};
use oauth::scope::{Granted, ScopeRefusal};
use oauth::token::AccessClaims;
use oauth::{ErrorCode, form};
use serde_json::{Value, json};
use store::{Issue, IssueRefusal, NewSession, UsedAssertion};

use super::alarm;
use super::bind::bind;
use super::client::{Caller, NotAuthenticated, refused, refused_by};
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::probe::NotProved;
use super::shown::{self, Shown};
use super::trace::{self, Trace};
use super::{SESSION_PATIENT, Service, TICKET_ENCOUNTER, TICKET_PATIENT, Tenant};
use crate::audit::Lane;
use crate::clock::random;
use crate::registry::Standing;

/// The form's media type.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// One text for every ticket that cannot be redeemed: unknown, used, expired, another's.
const TICKET_REFUSED: &str = "the launch ticket is unknown, used, expired or not for this client";
/// One text for every patient a relationship cannot be proved for: absent, unrelated, or the upstream failed.
const RELATIONSHIP_REFUSED: &str = "no care relationship with this patient could be proved";

/// A refusal of an authenticated request, with what its record says.
pub(super) struct Denied {
    pub(super) refused: Refused,
    pub(super) reason: Reason,
    pub(super) standing: Option<Standing>,
    pub(super) patient: Option<Id>,
    /// The alert it raises, when its reason alone does not say.
    pub(super) alarm: Option<&'static str>,
}

impl Denied {
    pub(super) fn new(reason: Reason, code: ErrorCode, says: impl AsRef<str>) -> Self {
        Self { refused: Refused::new(code, says), reason, standing: None, patient: None, alarm: None }
    }

    fn unavailable(says: &str) -> Self {
        let refused = Refused::unavailable(says);
        Self { refused, reason: Reason::Overloaded, standing: None, patient: None, alarm: None }
    }

    pub(super) fn at(self, standing: &Standing, patient: &Id) -> Self {
        self.about(standing, Some(patient))
    }

    fn about(mut self, standing: &Standing, patient: Option<&Id>) -> Self {
        (self.standing, self.patient) = (Some(standing.clone()), patient.cloned());
        self
    }
}

impl From<ScopeRefusal> for Denied {
    fn from(why: ScopeRefusal) -> Self {
        Self::new(Reason::ScopeInvalid, ErrorCode::InvalidScope, why.to_string())
    }
}

/// What established the subject.
pub(super) struct Launch {
    pub(super) kind: LaunchKind,
    pub(super) standing: Standing,
    /// None: the subject is the population of the approval.
    pub(super) patient: Option<Id>,
    pub(super) encounter: Option<Id>,
    pub(super) ticket: Option<[u8; 32]>,
    pub(super) details: Option<FhirTask>,
    pub(super) evidence: Option<String>,
}

/// Stands for the patient in the row of a session that has none; no id is written so.
const COHORT: &str = "*";

/// Handles the endpoint.
pub(super) async fn token(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.issue_token(tenant, request).await {
        Ok(body) => answer(StatusCode::OK, body.to_string()),
        Err(refused) => refused.response(),
    }
}

impl Service {
    async fn issue_token(&self, tenant: &Tenant, request: Request<Body>) -> Result<Value, Refused> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/token", origin(&request))?;
        let read = match body(request, FORM, form::FORM_BYTES_MAX).await {
            Ok(sent) => TokenRequest::read(&sent.bytes, sent.authorization.as_deref()).map_err(Refused::from_request),
            Err(refused) => Err(refused),
        };
        let request = match read {
            Ok(request) => request,
            Err(refused) => {
                self.audit.count_unauthenticated(&tenant.id, Reason::RequestInvalid, trace.from().peer);
                return Err(refused);
            }
        };
        let now = self.clock.now();
        let caller = self.caller(tenant, &trace, &request.proof, now).await?;
        let mut used = caller.used();
        let done = match self.launched(tenant, &trace, &caller, &request, &mut used, now).await {
            Ok((launch, granted)) => self.start(tenant, &trace, &caller, &request, launch, granted, used, now).await,
            Err(denied) => Err((denied, used)),
        };
        match done {
            Ok(body) => Ok(body),
            Err((denied, used)) => {
                Err(self.deny(&trace, Kind::TokenDenied, &caller, Some(used), request.scope.as_deref(), denied).await)
            }
        }
    }

    /// Authenticates, counting who fails.
    pub(super) async fn caller(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        proof: &oauth::request::ClientProof,
        now: Millis,
    ) -> Result<Caller, Refused> {
        if !self.registry.fresh() {
            return Err(Refused::unavailable("this node has lost touch with its store"));
        }
        let snapshot = self.registry.snapshot();
        let why = match self.authenticate(tenant, &snapshot, proof, trace.from().certificate.as_ref(), now).await {
            Ok(caller) => return Ok(caller),
            Err(NotAuthenticated::ForeignKey(caller)) => {
                let mut denied = Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "");
                (denied.refused, denied.alarm) = (refused(), Some(alarm::FOREIGN_KEY));
                let used = Some(caller.used());
                return Err(self.deny(trace, trace.refused_kind(), &caller, used, None, denied).await);
            }
            Err(NotAuthenticated::Store(why)) => return Err(store_failed(&why).refused),
            Err(NotAuthenticated::OtherTenant(client)) => {
                self.alarm(trace, &client, alarm::FOREIGN_CLIENT);
                "a client of another tenant"
            }
            Err(NotAuthenticated::SecretExpired(client)) => {
                self.alarm(trace, &client, alarm::SECRET_EXPIRED);
                "a secret after its end"
            }
            Err(NotAuthenticated::Failed(why)) => return Err(Refused::unavailable(why)),
            Err(NotAuthenticated::Because(why)) => why,
        };
        tracing::info!(tenant = %tenant.id, why, "client authentication failed");
        self.audit.count_unauthenticated(&tenant.id, Reason::ClientInvalid, trace.from().peer);
        Err(refused_by(proof))
    }

    /// Records a refusal and uses its assertion up; a replayed one is told from the rest by nothing but `invalid_client`.
    pub(super) async fn deny(
        &self,
        trace: &Trace,
        kind: Kind,
        caller: &Caller,
        used: Option<UsedAssertion>,
        scope: Option<&str>,
        mut denied: Denied,
    ) -> Refused {
        if let Some(used) = used {
            match self.store.use_assertion(used).await {
                Ok(true) => {}
                Ok(false) => {
                    denied = Denied { refused: refused(), reason: Reason::ClientInvalid, ..denied };
                }
                Err(why) => {
                    tracing::error!(%why, "the store failed");
                    denied.refused = Refused::unavailable("the store failed");
                }
            }
        }
        if let Some(code) = denied.alarm.or_else(|| alarm::of(kind, denied.reason)) {
            self.alarm(trace, &caller.integration.id, code);
        }
        let mut record = trace.record(kind, Outcome::Denied, &caller.integration, caller.jti());
        if let Some(standing) = &denied.standing {
            trace::stands_on(&mut record, standing);
        }
        record.phi.patients = denied.patient.iter().map(ToString::to_string).collect();
        trace::asked(&mut record, scope);
        trace::refusal(&mut record, denied.reason, &denied.refused);
        match self.write(record).await {
            Ok(()) => denied.refused,
            Err(unrecorded) => unrecorded,
        }
    }

    /// Decides everything that can be decided before the session is written.
    async fn launched(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        used: &mut UsedAssertion,
        now: Millis,
    ) -> Result<(Launch, Granted), Denied> {
        let class = caller.integration.class;
        if request.resource.as_deref().is_some_and(|resource| resource != tenant.endpoints.fhir_base) {
            let says = format!("the only resource is {}", tenant.endpoints.fhir_base);
            return Err(Denied::new(Reason::RequestInvalid, ErrorCode::InvalidTarget, says));
        }
        let asked = oauth::scope::check_class(class, request.scope.as_deref())?;
        if class == Class::Launcher {
            let says = "a launcher mints launch tickets and gets no access token";
            return Err(Denied::new(Reason::ScopeInvalid, ErrorCode::UnauthorizedClient, says));
        }
        let launch = match &request.grant {
            _ if class == Class::Analytics => self.by_export(tenant, caller, request, now)?,
            Grant::Ticket(ticket) => self.by_ticket(tenant, caller, ticket, now).await?,
            Grant::Relationship(details) => self.by_relationship(tenant, trace, caller, details, used, now).await?,
            Grant::Absent if request.scope.is_none() => return Err(ScopeRefusal::Missing.into()),
            Grant::Absent => {
                let says = "name the patient: send launch (a ticket from a launcher) or authorization_details (type fhir_task)";
                return Err(Denied::new(Reason::GrantInvalid, ErrorCode::InvalidRequest, says));
            }
        };
        let granted = grant(class, &launch, &asked)?;
        Ok((launch, granted))
    }

    async fn by_ticket(&self, tenant: &Tenant, caller: &Caller, ticket: &str, now: Millis) -> Result<Launch, Denied> {
        let invalid = || Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, TICKET_REFUSED);
        let hash = ticket_hash(ticket).ok_or_else(invalid)?;
        let found = self.store.find_ticket(&hash).await.map_err(|why| store_failed(&why))?;
        let ticket = found.filter(|found| found.used_at.is_none()).ok_or_else(invalid)?.ticket;
        let fits = ticket.tenant == tenant.id && ticket.integration == caller.integration.id && now < ticket.expires_at;
        if !fits {
            return Err(invalid());
        }
        let patient = self.opened(tenant, TICKET_PATIENT, &ticket.patient_sealed)?;
        let encounter = match &ticket.encounter_sealed {
            Some(sealed) => Some(self.opened(tenant, TICKET_ENCOUNTER, sealed)?),
            None => None,
        };
        let standing = self
            .registry
            .snapshot()
            .approved_task(&tenant.id, &caller.integration.id, &ticket.task, now)
            .filter(|standing| standing.approval.terms.launch.contains(&LaunchMode::Ticket {}))
            .ok_or_else(|| not_approved(ticket.task.as_str(), "launch tickets"))?;
        shown::admitted(&standing).map_err(|denied| denied.at(&standing, &patient))?;
        let kind = LaunchKind::Ticket;
        let patient = Some(patient);
        Ok(Launch { kind, standing, patient, encounter, ticket: Some(hash), details: None, evidence: None })
    }

    async fn by_relationship(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        details: &FhirTask,
        used: &mut UsedAssertion,
        now: Millis,
    ) -> Result<Launch, Denied> {
        let standing = self
            .registry
            .snapshot()
            .approved_task(&tenant.id, &caller.integration.id, &details.task, now)
            .ok_or_else(|| not_approved(details.task.as_str(), "a care relationship"))?;
        let rule = relationship_rule(&standing.approval)
            .cloned()
            .ok_or_else(|| not_approved(details.task.as_str(), "a care relationship"))?;
        let patient = &details.patient;
        let by_role = shown::admitted(&standing).and_then(|()| shown::may_name_patient(&standing));
        by_role.map_err(|denied| denied.at(&standing, patient))?;
        // The upstream is asked on the caller's word, so the word must be spent first: a replayed assertion asks nothing.
        self.spend(used).await.map_err(|denied| denied.at(&standing, patient))?;
        let tag = self
            .keys
            .row_tag(tenant.id.as_str(), patient.as_str())
            .map_err(|_| Denied::unavailable("the keys failed"))?;
        let limits = standing.limits();
        if let Err(budget) = self.look_ups.count(&caller.integration.id, tag, &limits, now) {
            let denied = Denied { refused: Refused::budget(budget), ..Denied::unavailable("") };
            return Err(Denied { reason: Reason::BudgetSpent, ..denied }.at(&standing, patient));
        }
        let slot = self
            .audit
            .reserve(Lane::Release)
            .map_err(|_| Denied::unavailable("too many requests are being worked on"))?;
        let proof = self.relationship(tenant, &standing, &rule, patient, now).await;
        let outcome = match &proof {
            Ok(_) => Outcome::Success,
            Err(NotProved::Nothing) => Outcome::Denied,
            Err(NotProved::Failed) => Outcome::Failed,
        };
        let mut record = trace.record(Kind::RelationshipCheck, outcome, &caller.integration, caller.jti());
        trace::stands_on(&mut record, &standing);
        record.object.kind = rule.evidence.name().to_owned();
        record.phi.patients = vec![patient.to_string()];
        record.phi.resources = proof.iter().map(|evidence| evidence.resource.clone()).collect();
        record.phi.attributes.push(("relationship.search".into(), rule.search.clone()));
        if proof.is_err() {
            record.decision.reason = Reason::GrantInvalid.code().to_owned();
        }
        let recorded = self.audit.append(slot, record).await;
        if recorded.is_err() {
            let refused = trace::unrecorded();
            return Err(
                Denied { reason: Reason::RecordFailed, refused, ..Denied::unavailable("") }.at(&standing, patient)
            );
        }
        let evidence = proof.map_err(|_| {
            Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, RELATIONSHIP_REFUSED).at(&standing, patient)
        })?;
        Ok(Launch {
            kind: LaunchKind::Relationship,
            patient: Some(patient.clone()),
            encounter: None,
            ticket: None,
            details: Some(details.clone()),
            evidence: Some(evidence.resource),
            standing,
        })
    }

    /// Uses the assertion up before the upstream is asked. What `issue` uses up later is a name derived from it.
    pub(super) async fn spend(&self, used: &mut UsedAssertion) -> Result<(), Denied> {
        let fresh = self.store.use_assertion(used.clone()).await.map_err(|why| store_failed(&why))?;
        let derived = digest::digest(&digest::SHA256, used.jti.as_bytes());
        used.jti = format!("spent {}", URL_SAFE_NO_PAD.encode(derived));
        if fresh {
            return Ok(());
        }
        Err(Denied { refused: refused(), ..Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "") })
    }

    fn opened(&self, tenant: &Tenant, label: &str, sealed: &[u8]) -> Result<Id, Denied> {
        let plain = self.keys.open_row(tenant.id.as_str(), label, sealed).ok();
        let id = plain.and_then(|plain| String::from_utf8(plain).ok()?.parse().ok());
        id.ok_or_else(|| Denied::unavailable("a stored value does not open"))
    }

    /// Writes the session, records it and makes the token.
    #[expect(clippy::too_many_arguments, reason = "the last step takes what every step before it found")]
    async fn start(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        launch: Launch,
        granted: Granted,
        used: UsedAssertion,
        now: Millis,
    ) -> Result<Value, (Denied, UsedAssertion)> {
        let failed =
            |denied: Denied, used: UsedAssertion| (denied.about(&launch.standing, launch.patient.as_ref()), used);
        let Some(seconds) = life(&launch.standing, &granted, now) else {
            return Err(failed(not_approved(launch.standing.approval.task.name.as_str(), "a session this late"), used));
        };
        let mut session = match new_session(&launch, &granted, seconds, now) {
            Ok(session) => session,
            Err(denied) => return Err(failed(denied, used)),
        };
        session.confirmation = match bind(caller, &launch.standing.profile, None) {
            Ok(confirmation) => confirmation,
            Err(denied) => return Err(failed(denied, used)),
        };
        let row = match self.row(tenant, &launch, &granted, &session, now) {
            Ok(row) => row,
            Err(denied) => return Err(failed(denied, used)),
        };
        let (standing, encounter) = (&launch.standing, launch.encounter.as_ref());
        let shown = match Box::pin(self.shown(tenant, standing, launch.patient.as_ref(), encounter, now)).await {
            Ok(shown) => shown,
            Err(denied) => return Err(failed(denied, used)),
        };
        session.subject = shown.subject.clone();
        let Ok(slot) = self.audit.reserve(Lane::Release) else {
            return Err(failed(Denied::unavailable("too many requests are being worked on"), used));
        };
        let Some(signer) = self.keys.token_signer(&tenant.id) else {
            return Err(failed(Denied::unavailable("the keys failed"), used));
        };
        let limits = launch.standing.limits();
        let issue = Issue {
            assertion: used.clone(),
            ticket: launch.ticket,
            session: row,
            patients_per_hour: limits.patients_per_hour,
            patients_per_day: limits.patients_per_day,
        };
        session.feed = match self.store.issue(issue).await {
            Ok(Ok(issued)) => issued.feed,
            // The store has used the assertion up in every one of these cases; a second use would call it replayed.
            Ok(Err(refusal)) => return Err(failed(refusal_of(refusal), unused(&used))),
            Err(why) => return Err(failed(store_failed(&why), used)),
        };
        let mut record = trace.record(Kind::TokenIssue, Outcome::Success, &caller.integration, caller.jti());
        trace::stands_on(&mut record, &launch.standing);
        trace::about(&mut record, &session);
        trace::asked(&mut record, request.scope.as_deref());
        record.object.status = 200;
        record.phi.patients = launch.patient.iter().map(ToString::to_string).collect();
        record.phi.resources = launch.evidence.iter().cloned().collect();
        record.phi.scope = granted.text.clone();
        record.phi.attributes.push(("token.jti".into(), session.jti.clone()));
        record.phi.attributes.push(("token.expires_at".into(), session.expires_at.to_string()));
        let input = oauth::token::signing_input(
            signer.kid(),
            &AccessClaims {
                issuer: &tenant.endpoints.issuer,
                audience: &tenant.endpoints.fhir_base,
                issued_at: now,
                session: &session,
                scope: &granted.text,
                encounter: shown.encounter.as_ref(),
            },
        );
        let signed = signer.sign(input.as_bytes());
        let recorded = self.audit.append(slot, record).await;
        let (Ok(signature), Ok(_)) = (signed, recorded) else {
            // No token left; the session must not stay behind as if one had.
            if let Err(why) = self.registry.end_session(&tenant.id, &session.id, "unrecorded").await {
                tracing::error!(session = %session.id, %why, "a session without a record could not be ended");
            }
            let refused = trace::unrecorded();
            let denied = Denied { refused, reason: Reason::RecordFailed, ..Denied::unavailable("") };
            return Err(failed(denied, unused(&used)));
        };
        Ok(response(&launch, &shown, &granted, &oauth::jose::finish(input, &signature), seconds))
    }

    fn row(
        &self,
        tenant: &Tenant,
        launch: &Launch,
        granted: &Granted,
        session: &Session,
        now: Millis,
    ) -> Result<NewSession, Denied> {
        let keys = |_| Denied::unavailable("the keys failed");
        let (id, patient) = (tenant.id.as_str(), launch.patient.as_ref().map_or(COHORT, Id::as_str));
        Ok(NewSession {
            id: session.id,
            tenant: tenant.id.clone(),
            integration: session.integration.clone(),
            approval: session.approval,
            task: session.task.clone(),
            epoch: session.epoch,
            launch: launch.kind,
            patient_sealed: self.keys.seal_row(id, SESSION_PATIENT, patient.as_bytes()).map_err(keys)?,
            patient_tag: self.keys.row_tag(id, patient).map_err(keys)?,
            scope: granted.text.clone(),
            jti: session.jti.clone(),
            created_at: now,
            expires_at: session.expires_at,
        })
    }
}

impl Refused {
    /// A request that could not even be read. A missing or mistyped assertion is 400: nobody's authentication failed yet.
    pub(super) fn from_request(error: oauth::OAuthError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, ..Self::from(error) }
    }
}

/// A name that was never used, for a step that must not use the assertion up twice.
fn unused(used: &UsedAssertion) -> UsedAssertion {
    let derived = digest::digest(&digest::SHA256, format!("done {}", used.jti).as_bytes());
    UsedAssertion { jti: format!("done {}", URL_SAFE_NO_PAD.encode(derived)), ..used.clone() }
}

pub(super) fn store_failed(why: &store::StoreError) -> Denied {
    tracing::error!(%why, "the store failed");
    Denied::unavailable("the store failed")
}

pub(super) fn refusal_of(refusal: IssueRefusal) -> Denied {
    match refusal {
        IssueRefusal::AssertionReplayed => {
            Denied { refused: refused(), ..Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "") }
        }
        IssueRefusal::TicketUnusable => Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, TICKET_REFUSED),
        IssueRefusal::PatientBudgetSpent => over(Budget::PatientsPerHour),
        IssueRefusal::PatientDayBudgetSpent => over(Budget::PatientsPerDay),
    }
}

fn over(budget: Budget) -> Denied {
    let denied = Denied::new(Reason::BudgetSpent, ErrorCode::TemporarilyUnavailable, "");
    Denied { refused: Refused::budget(budget), ..denied }
}

fn not_approved(task: &str, by: &str) -> Denied {
    let says = format!("no approval in force lets this client run {task} by {by}");
    Denied::new(Reason::ApprovalMissing, ErrorCode::UnauthorizedClient, says)
}

/// SHA-256 of a ticket that has a ticket's form.
pub(super) fn ticket_hash(ticket: &str) -> Option<[u8; 32]> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if ticket.len() != TICKET_CHARS || !ticket.bytes().all(plain) {
        return None;
    }
    digest::digest(&digest::SHA256, ticket.as_bytes()).as_ref().try_into().ok()
}

fn relationship_rule(approval: &Approval) -> Option<&RelationshipRule> {
    approval.terms.launch.iter().find_map(|mode| match mode {
        LaunchMode::Relationship(rule) => Some(rule),
        LaunchMode::Ticket {} | LaunchMode::Export(_) | LaunchMode::Ehr {} | LaunchMode::Standalone {} => None,
    })
}

fn grant(class: Class, launch: &Launch, asked: &[RequestedScope]) -> Result<Granted, Denied> {
    oauth::scope::grant(class, &launch.standing.profile.scopes, asked, &enforceable)
        .map_err(|why| Denied::from(why).about(&launch.standing, launch.patient.as_ref()))
}

/// Whether the gate can judge a clause's query on a resource at hand: plain tokens only (SC-18).
fn enforceable(scope: &Scope) -> bool {
    let Some(filter) = &scope.filter else { return true };
    let ResourceMatch::One(kind) = scope.resource else { return false };
    filter.pairs.iter().all(|(name, _)| {
        fhir::params::find(kind, name).is_some_and(|param| param.kind == ParamKind::Token && param.evaluable())
    })
}

/// Seconds the token lives: approval, class, `system/` and both ends by the clock.
fn life(standing: &Standing, granted: &Granted, now: Millis) -> Option<i64> {
    let Standing { approval, integration, .. } = standing;
    let ApprovalStatus::Approved { until, .. } = approval.status else { return None };
    let mut most = approval.terms.token_seconds.min(integration.class.token_seconds_max());
    if granted.scopes.0.iter().any(|scope| scope.level == Level::System) {
        most = most.min(domain::class::SYSTEM_TOKEN_SECONDS_MAX);
    }
    // S4-07.
    if let Some(timeout) = standing.role.as_ref().and_then(|role| role.session_timeout) {
        most = most.min(timeout.seconds());
    }
    let left = until.min(integration.expires_at).saturating_sub(now).div_euclid(1_000);
    Some(i64::from(most).min(left)).filter(|seconds| *seconds >= 1)
}

fn new_session(launch: &Launch, granted: &Granted, seconds: i64, now: Millis) -> Result<Session, Denied> {
    let failed = |_| Denied::unavailable("the random source failed");
    let Standing { integration, approval, profile, .. } = &launch.standing;
    let jti: [u8; 16] = random().map_err(failed)?;
    Ok(Session {
        id: SessionId(random().map_err(failed)?),
        tenant: integration.tenant.clone(),
        integration: integration.id.clone(),
        epoch: integration.epoch,
        approval: approval.id,
        task: approval.task.clone(),
        purpose_of_use: profile.purpose_of_use.clone(),
        subject: launch.patient.clone().map_or(Subject::Cohort, Subject::Patient),
        scopes: granted.scopes.clone(),
        // Whole seconds, as `exp` says it: the session ends with its token and not a moment later.
        expires_at: (now.div_euclid(1_000) + seconds) * 1_000,
        feed: 0,
        jti: URL_SAFE_NO_PAD.encode(jti),
        launch: launch.kind,
        act: domain::Actor::default(),
        confirmation: None,
    })
}

fn response(launch: &Launch, shown: &Shown, granted: &Granted, token: &str, seconds: i64) -> Value {
    let mut body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": granted.text,
    });
    if let Value::Object(body) = &mut body {
        if let Some(patient) = &shown.patient {
            body.insert("patient".into(), patient.as_str().into());
        }
        if let Some(encounter) = &shown.encounter {
            body.insert("encounter".into(), encounter.as_str().into());
        }
        if let Some(details) = &launch.details {
            body.insert("authorization_details".into(), details.echo());
        }
    }
    body
}
