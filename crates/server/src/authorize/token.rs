//! `POST /{tenant}/oauth/token`: authenticate → decide → reserve → issue → record → answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{Kind, Outcome};
use domain::{
    Approval, AuthMethod, Budget, Class, Integration, LaunchKind, LaunchMode, Millis, Presence, Reason,
    RelationshipRule, RequestedScope, ResourceMatch, Scope,
};
use fhir::Id;
use fhir::params::ParamKind;
use http::{Request, StatusCode};
use oauth::authorization::starts_with_person;
use oauth::b2b::B2b;
use oauth::details::FhirTask;
use oauth::grant::{Grant, TokenRequest};
use oauth::request::ClientProof;
use oauth::scope::{Granted, ScopeRefusal};
use oauth::{ErrorCode, form};
use serde_json::Value;
use store::{IssueRefusal, UsedAssertion};

use super::client::{Caller, NotAuthenticated, refused, refused_by};
use super::code::{CODE_REFUSED, FromPerson};
use super::handles;
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::trace::{self, Trace};
use super::{Service, Tenant};
use super::{alarm, b2b};
use crate::proofs::{self, Unspent};
use crate::registry::Standing;

/// The form's media type.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// One text for every ticket that cannot be redeemed: unknown, used, expired, another's.
pub(super) const TICKET_REFUSED: &str = "the launch ticket is unknown, used, expired or not for this client";
/// One text for every patient a relationship cannot be proved for: absent, unrelated, or the upstream failed.
pub(super) const RELATIONSHIP_REFUSED: &str = "no care relationship with this patient could be proved";

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

    pub(super) fn unavailable(says: &str) -> Self {
        let refused = Refused::unavailable(says);
        Self { refused, reason: Reason::Overloaded, standing: None, patient: None, alarm: None }
    }

    pub(super) fn at(self, standing: &Standing, patient: &Id) -> Self {
        self.about(standing, Some(patient))
    }

    pub(super) fn about(mut self, standing: &Standing, patient: Option<&Id>) -> Self {
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
    /// The person who allowed it, where one took part.
    pub(super) person: Option<Box<FromPerson>>,
    /// What the client's assertion says of for whom and why, if it does.
    pub(super) b2b: Option<Box<B2b>>,
}

/// Handles the endpoint.
pub(super) async fn token(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    let mut nonce = None;
    let mut response = match service.issue_token(tenant, request, &mut nonce).await {
        Ok(body) => answer(StatusCode::OK, body.to_string()),
        Err(refused) => refused.response(),
    };
    proofs::hand_out(nonce.as_deref(), response.headers_mut());
    response
}

impl Service {
    /// `nonce` becomes what the answer says in `DPoP-Nonce`, whichever answer that is.
    async fn issue_token(
        &self,
        tenant: &Tenant,
        request: Request<Body>,
        nonce: &mut Option<String>,
    ) -> Result<Value, Refused> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/token", origin(&request))?;
        let headers = request.headers().clone();
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
        let request = self.named(tenant, request, now).await?;
        let caller = self.caller(tenant, &trace, &request.proof, now).await?;
        let mut used = caller.used();
        let done = match self.proved(&headers, &tenant.token_endpoint, nonce, now) {
            Err(denied) => Err((denied, used)),
            Ok(proof) => {
                let dpop = proof.as_ref().map(Unspent::thumbprint);
                match &request.grant {
                    Grant::Refresh(token) => match self.going(tenant, &caller, token, dpop, now).await {
                        Err(denied) => Err((denied, used)),
                        Ok(going) => match self.spend_proof(proof, nonce, now) {
                            Err(denied) => Err((denied.at(&going.standing, &going.patient), used)),
                            Ok(()) => {
                                let refresh =
                                    self.refresh(tenant, &trace, &caller, &request, token, dpop, going, used, now);
                                Box::pin(refresh).await
                            }
                        },
                    },
                    _ => match Box::pin(self.launched(tenant, &trace, &caller, &request, dpop, &mut used, now)).await {
                        Err(denied) => Err((denied, used)),
                        Ok((launch, granted)) => match self.spend_proof(proof, nonce, now) {
                            Err(denied) => Err((denied.about(&launch.standing, launch.patient.as_ref()), used)),
                            Ok(()) => {
                                let start =
                                    self.start(tenant, &trace, &caller, &request, dpop, launch, granted, used, now);
                                Box::pin(start).await
                            }
                        },
                    },
                }
            }
        };
        match done {
            Ok(body) => Ok(body),
            Err((denied, used)) => {
                Err(self.deny(&trace, Kind::TokenDenied, &caller, Some(used), request.scope.as_deref(), denied).await)
            }
        }
    }

    /// A refresh that names no client is its token's own client's. That client then proves itself as it is registered to, so that this
    /// helps public ones alone.
    async fn named(&self, tenant: &Tenant, mut request: TokenRequest, now: Millis) -> Result<TokenRequest, Refused> {
        let ClientProof::Named { client_id } = &mut request.proof else { return Ok(request) };
        let Grant::Refresh(token) = &request.grant else { return Ok(request) };
        if let (true, Some(hash)) = (client_id.is_empty(), handles::hash(token)) {
            let failed = |why: store::StoreError| store_failed(&why).refused;
            if let Some(session) = self.store.session_of_refresh(&hash, now).await.map_err(failed)?
                && let Some(row) = self.store.find_session(&session).await.map_err(failed)?
                && row.session.tenant == tenant.id
            {
                *client_id = row.session.integration.to_string();
            }
        }
        Ok(request)
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
    #[expect(clippy::too_many_arguments, reason = "everything that one request is decided by")]
    async fn launched(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &TokenRequest,
        dpop: Option<[u8; 32]>,
        used: &mut UsedAssertion,
        now: Millis,
    ) -> Result<(Launch, Granted), Denied> {
        let class = caller.integration.class;
        let said = b2b::said(caller, request)?;
        check_grant(&caller.integration, &request.grant)?;
        if request.resource.as_deref().is_some_and(|resource| resource != tenant.endpoints.fhir_base) {
            let says = format!("the only resource is {}", tenant.endpoints.fhir_base);
            return Err(Denied::new(Reason::RequestInvalid, ErrorCode::InvalidTarget, says));
        }
        if let Grant::Code(grant) = &request.grant {
            let (launch, granted) = self.by_code(tenant, caller, grant, dpop, used, now).await?;
            return Ok((Launch { b2b: said, ..launch }, granted));
        }
        let asked = oauth::scope::check_class(class, request.scope.as_deref(), Presence::Unattended)?;
        if class == Class::Launcher {
            let says = "a launcher mints launch tickets and gets no access token";
            return Err(Denied::new(Reason::ScopeInvalid, ErrorCode::UnauthorizedClient, says));
        }
        let launch = match &request.grant {
            _ if class == Class::Analytics => self.by_export(tenant, caller, request, now)?,
            Grant::Ticket(ticket) => self.by_ticket(tenant, caller, ticket, now).await?,
            Grant::Relationship(details) => self.by_relationship(tenant, trace, caller, details, used, now).await?,
            Grant::Code(_) | Grant::Refresh(_) => return Err(unusual()),
            Grant::Absent if request.scope.is_none() => return Err(ScopeRefusal::Missing.into()),
            Grant::Absent => {
                let says = "name the patient: send launch (a ticket from a launcher) or authorization_details (type fhir_task)";
                return Err(Denied::new(Reason::GrantInvalid, ErrorCode::InvalidRequest, says));
            }
        };
        let granted = grant(class, &launch, &asked)?;
        Ok((Launch { b2b: said, ..launch }, granted))
    }
}

impl Refused {
    /// A request that could not even be read. A missing or mistyped assertion is 400: nobody's authentication failed yet.
    pub(super) fn from_request(error: oauth::OAuthError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, ..Self::from(error) }
    }
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
        IssueRefusal::CodeUnusable => Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, CODE_REFUSED),
        IssueRefusal::PatientBudgetSpent => over(Budget::PatientsPerHour),
        IssueRefusal::PatientDayBudgetSpent => over(Budget::PatientsPerDay),
    }
}

fn over(budget: Budget) -> Denied {
    let denied = Denied::new(Reason::BudgetSpent, ErrorCode::TemporarilyUnavailable, "");
    Denied { refused: Refused::budget(budget), ..denied }
}

pub(super) fn not_approved(task: &str, by: &str) -> Denied {
    let says = format!("no approval in force lets this client run {task} by {by}");
    Denied::new(Reason::ApprovalMissing, ErrorCode::UnauthorizedClient, says)
}

/// Which grants a client may use at all (NEG-074): whoever starts with a person brings codes, whoever does not brings tickets.
fn check_grant(client: &Integration, grant: &Grant) -> Result<(), Denied> {
    let fits = match grant {
        Grant::Code(_) | Grant::Refresh(_) => starts_with_person(client.class) && !client.redirect_uris.is_empty(),
        Grant::Ticket(_) | Grant::Relationship(_) | Grant::Absent => {
            !matches!(client.class, Class::PatientApp | Class::ClinicianApp) && client.auth.method != AuthMethod::None
        }
    };
    if fits { Ok(()) } else { Err(unusual()) }
}

fn unusual() -> Denied {
    let says = "this client is not registered for this grant type";
    Denied::new(Reason::GrantInvalid, ErrorCode::UnauthorizedClient, says)
}

pub(super) fn relationship_rule(approval: &Approval) -> Option<&RelationshipRule> {
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
pub(super) fn enforceable(scope: &Scope) -> bool {
    let Some(filter) = &scope.filter else { return true };
    let ResourceMatch::One(kind) = scope.resource else { return false };
    filter.pairs.iter().all(|(name, _)| {
        fhir::params::find(kind, name).is_some_and(|param| param.kind == ParamKind::Token && param.evaluable())
    })
}
