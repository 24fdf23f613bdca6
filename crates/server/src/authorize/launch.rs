//! `POST /{tenant}/oauth/launch`: a registered launcher asks for a one-time ticket for one patient, integration and task.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{Kind, Outcome};
use domain::{Class, Integration, LaunchMode, Millis, Reason};
use http::{Request, StatusCode};
use oauth::ErrorCode;
use oauth::request::{LAUNCH_BYTES_MAX, LaunchRequest};
use serde_json::{Value, json};
use store::{Mint, NewTicket, UsedAssertion};

use super::client::Caller;
use super::http::{Refused, body, json as answer, no_tenant, origin};
use super::probe::NotProved;
use super::token::{Denied, refusal_of, store_failed};
use super::trace::{self, Trace};
use super::{Service, TICKET_ENCOUNTER, TICKET_PATIENT, Tenant, handles};
use crate::audit::Lane;
use crate::registry::Standing;

/// How long a ticket may be redeemed (LN-03).
const TICKET_SECONDS: i64 = 300;
/// One text for everything a launcher may not do, so that it cannot map other people's registrations.
const NOT_ALLOWED: &str = "this launcher may not start this task for this client";

/// Handles the endpoint.
pub(super) async fn launch(
    State(service): State<Arc<Service>>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(tenant) = service.tenant(&tenant) else { return no_tenant() };
    match service.mint_ticket(tenant, request).await {
        Ok(body) => answer(StatusCode::CREATED, body.to_string()),
        Err(refused) => refused.response(),
    }
}

impl Service {
    async fn mint_ticket(&self, tenant: &Tenant, request: Request<Body>) -> Result<Value, Refused> {
        let trace = Trace::new(tenant.id.as_str(), "POST oauth/launch", origin(&request))?;
        let read = match body(request, "application/json", LAUNCH_BYTES_MAX).await {
            Ok(sent) => LaunchRequest::read(&sent.bytes, sent.authorization.as_deref()).map_err(Refused::from_request),
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
        let standing = match self.may_launch(tenant, &caller.integration, &request, now) {
            Ok(standing) => standing,
            Err(denied) => {
                let used = Some(caller.used());
                return Err(self.deny(&trace, Kind::LaunchDenied, &caller, used, None, denied).await);
            }
        };
        let mut used = caller.used();
        let minted = match self.spend(&mut used).await {
            Ok(()) => self.minted(tenant, &trace, &caller, &request, &standing, used, now).await,
            Err(denied) => Err(denied),
        };
        match minted {
            Ok(body) => Ok(body),
            Err(denied) => {
                let denied = denied.at(&standing, &request.patient);
                Err(self.deny(&trace, Kind::LaunchDenied, &caller, None, None, denied).await)
            }
        }
    }

    /// Launcher and agent fit each other, and the agent's task is approved for tickets.
    fn may_launch(
        &self,
        tenant: &Tenant,
        launcher: &Integration,
        request: &LaunchRequest,
        now: Millis,
    ) -> Result<Standing, Denied> {
        let refused = |reason| Denied::new(reason, ErrorCode::UnauthorizedClient, NOT_ALLOWED);
        let named = launcher.class == Class::Launcher
            && launcher.id != request.agent
            && launcher.launches.contains(&request.agent);
        if !named {
            return Err(refused(Reason::GrantInvalid));
        }
        let snapshot = self.registry.snapshot();
        let standing = snapshot
            .approved_task(&tenant.id, &request.agent, &request.task, now)
            .filter(|standing| standing.approval.terms.launch.contains(&LaunchMode::Ticket {}))
            .ok_or_else(|| refused(Reason::ApprovalMissing))?;
        // A key of one environment never works in another (S2-09).
        if standing.integration.environment != launcher.environment {
            return Err(refused(Reason::GrantInvalid));
        }
        Ok(standing)
    }

    #[expect(clippy::too_many_arguments, reason = "the last step takes what every step before it found")]
    async fn minted(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        request: &LaunchRequest,
        standing: &Standing,
        used: UsedAssertion,
        now: Millis,
    ) -> Result<Value, Denied> {
        let failed = |says| Denied::new(Reason::Overloaded, ErrorCode::TemporarilyUnavailable, says);
        let keys = |_| failed("the keys failed");
        let (id, patient) = (tenant.id.as_str(), &request.patient);
        let patient_tag = self.keys.row_tag(id, patient.as_str()).map_err(keys)?;
        let limits = standing.limits();
        if let Err(budget) = self.look_ups.count(&caller.integration.id, patient_tag, &limits, now) {
            return Err(Denied {
                refused: Refused::budget(budget),
                ..Denied::new(Reason::BudgetSpent, ErrorCode::AccessDenied, "")
            });
        }
        let slot = self.audit.reserve(Lane::Release).map_err(|_| failed("too many requests are being worked on"))?;
        self.exists(tenant, standing, request, now).await?;
        let (ticket, hash) = handles::fresh().map_err(|fault| failed(fault.0))?;
        let seal = |label: &str, value: &str| self.keys.seal_row(id, label, value.as_bytes()).map_err(keys);
        let encounter = request.encounter.as_ref();
        let row = NewTicket {
            hash,
            tenant: tenant.id.clone(),
            launcher: caller.integration.id.clone(),
            integration: request.agent.clone(),
            task: request.task.clone(),
            patient_sealed: seal(TICKET_PATIENT, patient.as_str())?,
            patient_tag,
            encounter_sealed: encounter.map(|encounter| seal(TICKET_ENCOUNTER, encounter.as_str())).transpose()?,
            created_at: now,
            expires_at: now + TICKET_SECONDS * 1_000,
        };
        let (patients_per_hour, patients_per_day) = (limits.patients_per_hour, limits.patients_per_day);
        let mint = Mint { assertion: used, ticket: row, patients_per_hour, patients_per_day };
        self.store.mint(mint).await.map_err(|why| store_failed(&why))?.map_err(refusal_of)?;
        let mut record = trace.record(Kind::LaunchMint, Outcome::Success, &caller.integration, caller.jti());
        trace::stands_on(&mut record, standing);
        record.object.status = 201;
        record.phi.patients = vec![patient.to_string()];
        record.phi.resources = encounter.iter().map(|encounter| format!("Encounter/{encounter}")).collect();
        record.phi.attributes.push(("launch.for".into(), request.agent.to_string()));
        // Without its record the ticket is never told to anyone, and expires unused.
        self.audit.append(slot, record).await.map_err(|_| Denied {
            refused: trace::unrecorded(),
            ..Denied::new(Reason::RecordFailed, ErrorCode::TemporarilyUnavailable, "")
        })?;
        Ok(json!({ "launch": ticket, "expires_in": TICKET_SECONDS }))
    }

    /// The Patient exists and is not replaced; the Encounter, if named, is theirs.
    async fn exists(
        &self,
        tenant: &Tenant,
        standing: &Standing,
        request: &LaunchRequest,
        now: Millis,
    ) -> Result<(), Denied> {
        let looked = match self.patient_exists(tenant, standing, &request.patient, now).await {
            Ok(()) => match &request.encounter {
                Some(encounter) => self
                    .encounter_exists(tenant, standing, &request.patient, encounter, now)
                    .await
                    .map_err(|why| (why, "encounter")),
                None => Ok(()),
            },
            Err(why) => Err((why, "patient")),
        };
        looked.map_err(|(why, what)| match why {
            NotProved::Nothing => Denied::new(
                Reason::NotFound,
                ErrorCode::InvalidRequest,
                format!("`{what}`: there is no such record to start from, or it was replaced by another"),
            ),
            NotProved::Failed => Denied::new(
                Reason::UpstreamUnavailable,
                ErrorCode::TemporarilyUnavailable,
                "the record could not be looked up; try again",
            ),
        })
    }
}
