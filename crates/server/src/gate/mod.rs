//! The FHIR gate: one request, one path (DESIGN).
//!
//! `read → limit → authenticate → classify → decide → narrow → send → verify → record → release`.
//! Every step takes what the step before it made, by value; only `answer` turns the last one into HTTP.

mod absent;
mod answer;
mod capability;
mod head;
mod record;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use domain::audit::{AuditRecord, Kind};
use domain::{Reason, Session, TenantId};
use fhir::request::{Interaction, Raw};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use policy::{Ask, Decision, Finding, PageCursor, TenantRules};

use self::absent::AbsentBudget;
pub use self::answer::Answer;
use self::head::Head;
use crate::audit::{Audit, Lane};
use crate::authorize::VerifiedTokens;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::error::Refusal;
use crate::keys::KeyRing;
use crate::registry::{Registry, Snapshot, Standing};
use crate::settings::TenantSettings;

/// Everything the gate works with; one per process.
pub struct Gate {
    /// Time.
    pub clock: Clock,
    /// Registry snapshot and liveness.
    pub registry: Registry,
    /// Token verification.
    pub tokens: Arc<VerifiedTokens>,
    /// Page link sealing.
    pub keys: KeyRing,
    /// The ledger's writer.
    pub audit: Audit,
    /// The way upstream.
    pub broker: Broker,
    tenants: HashMap<TenantId, Tenant>,
    absent: AbsentBudget,
}

struct Tenant {
    settings: TenantSettings,
    capability: Bytes,
}

/// What is known of a request once its bearer is verified.
struct Caller {
    session: Arc<Session>,
    standing: Standing,
}

impl Gate {
    /// A gate for `tenants`.
    #[must_use]
    pub fn new(
        clock: Clock,
        registry: Registry,
        tokens: Arc<VerifiedTokens>,
        keys: KeyRing,
        audit: Audit,
        broker: Broker,
        tenants: &[TenantSettings],
    ) -> Self {
        let tenants = tenants
            .iter()
            .map(|settings| {
                let capability = Bytes::from(capability::statement(settings));
                (settings.id.clone(), Tenant { settings: settings.clone(), capability })
            })
            .collect();
        Self { clock, registry, tokens, keys, audit, broker, tenants, absent: AbsentBudget::default() }
    }

    /// Answers one request below `/{tenant}/fhir`; `below` is the raw path after it.
    pub async fn answer<B>(
        &self,
        tenant: &TenantId,
        below: &str,
        request: &Request<B>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        self.path(tenant, below, request, peer).await.into_response()
    }

    async fn path<B>(&self, tenant: &TenantId, below: &str, request: &Request<B>, peer: SocketAddr) -> Answer {
        let Some(known) = self.tenants.get(tenant) else {
            return Answer::unauthenticated(Refusal::new(Reason::NotFound, "no such tenant"));
        };
        let head = match head::read(request, below) {
            Ok(head) => head,
            Err(refusal) => {
                self.audit.count_unauthenticated(tenant, refusal.reason, peer);
                return Answer::unauthenticated(refusal);
            }
        };
        let raw = Raw {
            method: head.method,
            path: below,
            query: head.query,
            accept: head.accept.as_deref(),
            body: head.body,
        };
        let read = fhir::request::read(&raw);
        if matches!(read, Ok(Interaction::Capabilities)) {
            return Answer::public(known.capability.clone());
        }
        let Ok(trace) = record::Trace::new(tenant, below, &head, peer) else {
            return Answer::unauthenticated(Refusal::new(Reason::Overloaded, "the random source failed"));
        };
        let caller = match self.authenticate(known, head.bearer).await {
            Ok(caller) => caller,
            Err((refusal, None)) => {
                self.audit.count_unauthenticated(tenant, refusal.reason, peer);
                return Answer::unauthenticated(refusal);
            }
            Err((refusal, Some(session))) => return self.refuse(trace.denied(&session, None, &refusal), refusal).await,
        };
        let interaction = match read {
            Ok(interaction) => interaction,
            Err(invalid) => return self.deny(&trace, &caller, invalid.into()).await,
        };
        let snapshot = self.registry.snapshot();
        let Some(rules) = snapshot.rules(tenant) else {
            return self
                .deny(&trace, &caller, Refusal::new(Reason::UpstreamUnavailable, "the tenant has no upstream"))
                .await;
        };
        self.decided(known, rules, &trace, &head, caller, interaction).await
    }

    /// From the decision to the release.
    async fn decided(
        &self,
        tenant: &Tenant,
        rules: &TenantRules,
        trace: &record::Trace,
        head: &Head<'_>,
        caller: Caller,
        interaction: Interaction,
    ) -> Answer {
        let now = self.clock.now();
        if self.absent.spent(&caller.session.id, caller.standing.approval.terms.budgets.absent_per_session) {
            let refusal =
                Refusal::new(Reason::BudgetSpent, "too many look-ups of instances that are not this session's");
            return self.deny(trace, &caller, refusal).await;
        }
        let page = match &interaction {
            Interaction::Page { token, .. } => match self.open_page(tenant, token) {
                Some(page) => Some(page),
                None => {
                    let refusal =
                        Refusal::new(Reason::PageInvalid, "the page link is not valid; start the search again");
                    return self.deny(trace, &caller, refusal).await;
                }
            },
            _ => None,
        };
        let ask = Ask {
            now,
            rules,
            integration: &caller.standing.integration,
            approval: &caller.standing.approval,
            profile: &caller.standing.profile,
            session: &caller.session,
            interaction,
            page,
        };
        let permit = match policy::decide(ask) {
            Decision::Permit(permit) => permit,
            Decision::Deny(denial) => {
                if denial.reason == Reason::TypeUnexpected {
                    self.audit
                        .alert(&tenant.settings.id, denial.reason.code(), &denial.says, trace.phi(&caller.session))
                        .await;
                }
                return self.deny(trace, &caller, denial.into()).await;
            }
        };
        // The queue is bounded: no room means the request is refused before the upstream is touched (audit.md §9.1).
        let Ok(slot) = self.audit.reserve(Lane::Release) else {
            return Answer::unrecorded(Refusal::new(
                Reason::Overloaded,
                "too many requests are being worked on; try again",
            ));
        };
        // The lease bounds what all answers together may hold; it is given back once the body is on its way.
        let (answered, _lease) = self.broker.send_held(&tenant.settings.id, permit).await;
        let mut seal = |cursor: &PageCursor| self.keys.seal_page(&tenant.settings.id, &cursor.encode()).ok();
        let released = policy::verify(answered, &mut seal);
        // An end that came while the upstream was answering counts (DESIGN, step 2).
        if let Err(refusal) = self.alive(&self.registry.snapshot(), &caller.session) {
            return self.deny(trace, &caller, refusal).await;
        }
        self.raise(tenant, trace, &caller, released.findings()).await;
        let absent = released.reason() == Some(Reason::NotFound);
        let record = trace.released(&caller.session, &caller.standing, &released);
        let recorded = match self.audit.record(slot, record, released).await {
            Ok(recorded) => recorded,
            Err(_) => {
                return Answer::unrecorded(Refusal::new(
                    Reason::RecordFailed,
                    "the audit record could not be made durable",
                ));
            }
        };
        if absent {
            let count = self.absent.count(&caller.session.id, caller.session.expires_at, now);
            if count == caller.standing.approval.terms.budgets.absent_per_session {
                // Once for the session; the answer does not wait for it.
                let says = "a session has spent its budget of instances that are absent or not its own";
                self.audit.alert_soon(
                    tenant.settings.id.as_str(),
                    "absent-budget-spent",
                    says,
                    trace.phi(&caller.session),
                );
            }
            absent::next_tick(self.clock.now()).await;
        }
        Answer::released(recorded, head.if_none_match)
    }

    /// Who is asking: a verified token of a live session, whose approval stands.
    async fn authenticate(
        &self,
        tenant: &Tenant,
        bearer: Option<&str>,
    ) -> Result<Caller, (Refusal, Option<Arc<Session>>)> {
        let Some(bearer) = bearer else {
            return Err((Refusal::new(Reason::TokenMissing, "send an access token as `Authorization: Bearer`"), None));
        };
        let session = self
            .tokens
            .verify(&tenant.settings.id, bearer, self.clock.now())
            .map_err(|why| (Refusal::new(Reason::TokenInvalid, why.to_string()), None))?;
        if !self.registry.fresh() {
            let refusal = Refusal::new(Reason::UpstreamUnavailable, "this node has lost touch with its store");
            return Err((refusal, Some(session)));
        }
        // A session committed by another node may be ahead of this one; so may its end.
        if session.feed > self.registry.feed() && !self.registry.reached(session.feed).await {
            return Err((
                Refusal::new(Reason::UpstreamUnavailable, "this node is catching up; try again"),
                Some(session),
            ));
        }
        // Read only now: the wait above may have brought the very approval this session runs under.
        match self.alive(&self.registry.snapshot(), &session) {
            Ok(standing) => Ok(Caller { session, standing }),
            Err(refusal) => Err((refusal, Some(session))),
        }
    }

    /// Liveness, looked up on every request and never cached with the token.
    fn alive(&self, snapshot: &Snapshot, session: &Session) -> Result<Standing, Refusal> {
        let now = self.clock.now();
        let ended = || Refusal::new(Reason::SessionEnded, "the session has ended; start a new one");
        if now >= session.expires_at || self.registry.session_ended(&session.id) {
            return Err(ended());
        }
        let integration = snapshot.integration(&session.integration).ok_or_else(ended)?;
        if !integration.usable(now) {
            return Err(Refusal::new(Reason::IntegrationInactive, "the integration is switched off"));
        }
        if integration.epoch != session.epoch || integration.tenant != session.tenant {
            return Err(ended());
        }
        let standing = snapshot
            .standing(&session.approval, now)
            .map_err(|_| Refusal::new(Reason::ApprovalMissing, "the approval of this task is no longer in force"))?;
        let fits = standing.integration.id == session.integration && standing.approval.task == session.task;
        if fits { Ok(standing) } else { Err(ended()) }
    }

    fn open_page(&self, tenant: &Tenant, token: &str) -> Option<PageCursor> {
        PageCursor::decode(&self.keys.open_page(&tenant.settings.id, token)?).ok()
    }

    /// Alerts for what the upstream did wrong; a filter it ignored is not trusted again until proved (DESIGN, step 6).
    async fn raise(&self, tenant: &Tenant, trace: &record::Trace, caller: &Caller, findings: &[Finding]) {
        for finding in findings {
            let (code, says) = match finding {
                Finding::ForeignMatch { kind, param } => {
                    self.registry.poison(&tenant.settings.id, *kind, param).await;
                    let says = format!(
                        "the upstream ignored `{param}` in a search of {kind}; such searches are refused until `hilum check` proves the filter"
                    );
                    ("upstream-ignored-filter", says)
                }
                Finding::ForeignLink => {
                    ("upstream-foreign-link", "a page link led away from the upstream and was dropped".to_owned())
                }
                _ => ("upstream-finding", "the upstream's answer broke a rule".to_owned()),
            };
            self.audit.alert(&tenant.settings.id, code, &says, trace.phi(&caller.session)).await;
        }
    }

    async fn deny(&self, trace: &record::Trace, caller: &Caller, refusal: Refusal) -> Answer {
        self.refuse(trace.denied(&caller.session, Some(&caller.standing), &refusal), refusal).await
    }

    /// A refusal is recorded like a release; if that fails the answer is 503, which tells nothing either.
    async fn refuse(&self, record: AuditRecord, refusal: Refusal) -> Answer {
        debug_assert!(matches!(record.kind, Kind::FhirDenied));
        let Ok(slot) = self.audit.reserve(Lane::Denial) else {
            return Answer::unrecorded(Refusal::new(
                Reason::Overloaded,
                "too many requests are being worked on; try again",
            ));
        };
        let absent = refusal.reason == Reason::NotFound;
        match self.audit.append(slot, record).await {
            Ok(receipt) => {
                if absent {
                    absent::next_tick(self.clock.now()).await;
                }
                Answer::refused(refusal, receipt)
            }
            Err(_) => {
                Answer::unrecorded(Refusal::new(Reason::RecordFailed, "the audit record could not be made durable"))
            }
        }
    }
}
