//! The FHIR gate: one request, one path (DESIGN).
//!
//! `read → limit → authenticate → classify → decide → narrow → send → verify → record → release`.
//! Every step takes what the step before it made, by value; only `answer` turns the last one into HTTP.

mod absent;
mod answer;
mod batch;
mod body;
mod budget;
mod capability;
mod change;
mod consents;
mod export;
mod head;
mod holder;
mod large;
mod organisation;
mod record;
mod veil;
mod watched;
mod work;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use domain::audit::{AuditRecord, Kind};
use domain::{Reason, Session, Subject, TenantId};
use fhir::request::{Interaction, Method};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Bytes;

pub use self::answer::{Answer, GateBody};
use self::budget::{Over, Purse, Purses};
use self::holder::{Presented, Told};
use self::veil::Veil;
use crate::audit::{Audit, Lane};
use crate::authorize::{Authorize, VerifiedTokens};
use crate::broker::{Broker, Room};
use crate::clock::Clock;
use crate::error::Refusal;
use crate::keys::KeyRing;
use crate::proofs::Proofs;
use crate::registry::{Registry, Snapshot, Standing};
use crate::settings::TenantSettings;
use crate::surrogates::SurrogateTable;

/// Everything the gate works with; one per process.
pub struct Gate {
    /// Time.
    pub clock: Clock,
    /// Registry snapshot and liveness.
    pub registry: Registry,
    /// Token verification.
    pub tokens: Arc<VerifiedTokens>,
    /// DPoP nonces and memory, one for this process.
    pub proofs: Arc<Proofs>,
    /// Page link sealing.
    pub keys: KeyRing,
    /// The ledger's writer.
    pub audit: Audit,
    /// The way upstream.
    pub broker: Broker,
    tenants: HashMap<TenantId, Tenant>,
    purses: Purses,
    room: body::Room,
    consented: consents::Known,
    changes: change::Changes,
    organisation: organisation::Organisation,
    surrogates: SurrogateTable,
    lifted: veil::Lifted,
}

struct Tenant {
    settings: TenantSettings,
    capability: Bytes,
    /// Where a 401 sends those who have no token.
    metadata: String,
}

/// What is known of a request once its bearer is verified.
#[derive(Clone)]
struct Caller {
    /// With its patient, in a de-identified session too.
    session: Arc<Session>,
    standing: Standing,
    purse: Arc<Purse>,
    /// What stands between it and its patient, in a de-identified session.
    veil: Option<Arc<Veil>>,
}

impl Caller {
    /// A refusal as this caller may be told it.
    fn told(&self, refusal: Refusal) -> Refusal {
        if self.veil.is_some() { veil::told(refusal) } else { refusal }
    }

    /// Whether answers that do not fit into memory may be had: not where they are de-identified, nor where they are exports.
    fn may_have_large(&self) -> bool {
        self.veil.is_none() && self.may_export()
    }

    /// Whether its role lets it have files and whole records (S4-09).
    fn may_export(&self) -> bool {
        self.standing.role.as_ref().is_none_or(|role| role.exports().is_ok())
    }
}

impl Gate {
    /// A gate for `tenants`.
    #[must_use]
    pub fn new(
        clock: Clock,
        registry: Registry,
        authorize: &Authorize,
        keys: KeyRing,
        audit: Audit,
        broker: Broker,
        tenants: &[TenantSettings],
    ) -> Self {
        let surrogates = SurrogateTable::new(keys.store().clone(), keys.clone());
        let tenants = tenants
            .iter()
            .map(|settings| {
                let capability = Bytes::from(capability::statement(settings));
                let metadata = settings.resource_metadata();
                (settings.id.clone(), Tenant { settings: settings.clone(), capability, metadata })
            })
            .collect();
        Self {
            clock,
            registry,
            tokens: authorize.tokens(),
            proofs: authorize.proofs(),
            keys,
            audit,
            broker,
            tenants,
            purses: Purses::default(),
            room: body::Room::default(),
            consented: consents::Known::default(),
            changes: change::Changes::default(),
            organisation: organisation::Organisation::default(),
            surrogates,
            lifted: veil::Lifted::default(),
        }
    }

    /// Waits for the changes under way; the ledger must be open until then. Further ones are refused.
    pub async fn close(&self) {
        self.changes.close().await;
    }

    /// Answers one request below `/{tenant}/fhir`; `below` is the raw path after it.
    pub async fn answer<B>(
        &self,
        tenant: &TenantId,
        below: &str,
        request: Request<B>,
        peer: SocketAddr,
    ) -> Response<GateBody>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let mut told = Told::new(self.tenants.get(tenant).map(|known| known.metadata.as_str()));
        self.path(tenant, below, &head, body, peer, &mut told).await.into_response(&told)
    }

    async fn path<B>(
        &self,
        tenant: &TenantId,
        below: &str,
        request: &Request<()>,
        body: B,
        peer: SocketAddr,
        told: &mut Told<'_>,
    ) -> Answer
    where
        B: Body<Data = Bytes>,
    {
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
        // What has no body is understood before anybody is known, since the statement is for everybody.
        let takes_body = matches!(head.method, Method::Post | Method::Put | Method::Patch);
        let read = (!takes_body).then(|| fhir::request::read(&head.raw(below, head.body.then_some(&[][..]))));
        let asks_statement = matches!(read, Some(Ok(Interaction::Capabilities)));
        if asks_statement && head.credential.is_none() {
            return Answer::public(known.capability.clone());
        }
        let Ok(trace) = record::Trace::new(tenant, below, &head, peer) else {
            return Answer::unauthenticated(Refusal::new(Reason::Overloaded, "the random source failed"));
        };
        let caller = match self.authenticate(known, &Presented { head: &head, request, below }, told).await {
            Ok(caller) => caller,
            Err((refusal, None)) => {
                self.audit.count_unauthenticated(tenant, refusal.reason, peer);
                return Answer::unauthenticated(refusal);
            }
            Err((refusal, Some(session))) => {
                return Box::pin(self.refuse(trace.denied(&session, None, &refusal), refusal)).await;
            }
        };
        let snapshot = self.registry.snapshot();
        let Some(rules) = snapshot.rules(tenant) else {
            return self
                .deny(&trace, &caller, Refusal::new(Reason::UpstreamUnavailable, "the tenant has no upstream"))
                .await;
        };
        if asks_statement {
            let permits = self.permits(&caller, peer.ip());
            if caller.session.subject == Subject::Cohort {
                let (of, kinds) = self.exportable(&caller, rules, &permits);
                return Answer::own(capability::population(&known.settings, &of, &kinds));
            }
            let exports = caller.may_export();
            let permits = |action, kind| (exports || !work::is_export(action)) && permits(action, kind);
            let seen = if caller.veil.is_some() { capability::Seen::DeIdentified } else { capability::Seen::AsItIs };
            return Answer::own(capability::own(
                &known.settings,
                rules,
                &caller.session,
                &caller.standing,
                seen,
                &permits,
            ));
        }
        // Charged before it is understood: what cannot be is a request too.
        if let Err(over) = caller.purse.request(self.clock.now()) {
            return Box::pin(self.over(&trace, &caller, over)).await;
        }
        if export::is_refused(below, &caller) {
            return Box::pin(self.refuse_export(&trace, &caller, export::refused())).await;
        }
        let held = if takes_body {
            match Box::pin(self.room.take(request.headers(), body)).await {
                Ok(held) => Some(held),
                Err(refusal) => return self.not_read(&trace, &caller, refusal).await,
            }
        } else {
            None
        };
        let bytes = held.as_ref().map(|held| held.bytes.as_slice());
        // An empty body that nobody announced is none.
        let bytes = bytes.filter(|bytes| head.body || !bytes.is_empty());
        let read = read.unwrap_or_else(|| fhir::request::read(&head.raw(below, bytes)));
        let interaction = match read {
            Ok(interaction) => interaction,
            Err(invalid) if export::is_export(&invalid) => {
                return Box::pin(self.refuse_export(&trace, &caller, invalid.into())).await;
            }
            Err(invalid) => return self.not_read(&trace, &caller, invalid.into()).await,
        };
        let proofs = self.open_proofs(known, &interaction, bytes);
        let (tenant, trace, caller, proofs, room) = (known, &trace, &caller, &proofs, Room::Spool);
        let from = peer.ip();
        let job = work::Job { tenant, rules, trace, caller, proofs, room, from };
        // In its own memory: a future is moved whole into every one that awaits it, and this one is the bulk of all above.
        Box::pin(self.work(&job, interaction, head.if_none_match)).await
    }

    /// Who is asking: a verified token of a live session, whose approval stands.
    async fn authenticate(
        &self,
        tenant: &Tenant,
        presented: &Presented<'_>,
        told: &mut Told<'_>,
    ) -> Result<Caller, (Refusal, Option<Arc<Session>>)> {
        let Some(credential) = presented.head.credential else {
            return Err((Refusal::new(Reason::TokenMissing, "send an access token as `Authorization: Bearer`"), None));
        };
        told.scheme = credential.scheme;
        let session = self
            .tokens
            .verify(&tenant.settings.id, credential.token, self.clock.now())
            .map_err(|why| (Refusal::new(Reason::TokenInvalid, why.to_string()), None))?;
        // Before anything is said of its session: whoever only found the token learns nothing by it (RS-04).
        if let Err(refusal) = self.holds(tenant, presented, credential, &session, told) {
            return Err((refusal, Some(session)));
        }
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
        let standing = match self.alive(&self.registry.snapshot(), &session) {
            Ok(standing) => standing,
            Err(refusal) => return Err((refusal, Some(session))),
        };
        if let Err(refusal) = veil::suited(&standing, &session) {
            return Err((refusal, Some(session)));
        }
        let lifted = match &session.subject {
            Subject::Surrogate(surrogate) => Box::pin(self.lift(&session, surrogate)).await,
            Subject::Patient(_) | Subject::Cohort => Ok((Arc::clone(&session), None)),
        };
        let (session, veil) = match lifted {
            Ok(lifted) => lifted,
            Err(refusal) => return Err((refusal, Some(session))),
        };
        match self.purses.of(&session, || standing.limits(), self.clock.now()) {
            Some(purse) => Ok(Caller { session, standing, purse, veil }),
            None => Err((Refusal::new(Reason::Overloaded, "too many sessions are at work; try again"), Some(session))),
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
        if !fits {
            return Err(ended());
        }
        veil::admitted(&standing)?;
        Ok(standing)
    }

    async fn deny(&self, trace: &record::Trace, caller: &Caller, refusal: Refusal) -> Answer {
        let record = trace.denied(&caller.session, Some(&caller.standing), &refusal);
        Box::pin(self.refuse(record, caller.told(refusal))).await
    }

    /// What was never understood: its refusal knows no more than its sender, who is told it in full.
    async fn not_read(&self, trace: &record::Trace, caller: &Caller, refusal: Refusal) -> Answer {
        let record = trace.denied(&caller.session, Some(&caller.standing), &refusal);
        Box::pin(self.refuse(record, refusal)).await
    }

    /// A budget is spent: refused like anything else, with an alert the first time.
    async fn over(&self, trace: &record::Trace, caller: &Caller, over: Over) -> Answer {
        let first = over.first;
        let refusal = Refusal::from(over);
        if first {
            let phi = trace.phi(&caller.session);
            self.audit.alert_soon(caller.session.tenant.as_str(), refusal.reason.code(), &refusal.says, phi);
        }
        self.not_read(trace, caller, refusal).await
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
