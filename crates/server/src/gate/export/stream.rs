//! The lines of a file on their way: each judged, gathered into blocks, and no block leaves before it is on record whose it is.
//!
//! The body ends properly only after the record of its end is durable; whatever goes wrong before cuts it, so that a client
//! never takes a part for the whole.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use domain::audit::{AuditRecord, Outcome, Phase};
use domain::{Millis, Reason, Session, Subject, TenantId};
use fhir::Id;
use http_body::{Body, Frame};
use hyper::body::Bytes;
use policy::{Consents, Held, Line, LineJudge, TenantRules, Verdict};
use tokio::sync::mpsc;

use crate::audit::{Audit, Lane};
use crate::broker::{Broker, ExportFileBody};
use crate::clock::Clock;
use crate::error::Refusal;
use crate::gate::budget::Purse;
use crate::gate::watched::{Alive, BrokenOff};
use crate::gate::work::Job;
use crate::gate::{Caller, Gate, Tenant};
use crate::hex::hex;
use crate::outbound::Lease;
use crate::registry::Registry;
use crate::settings::ConsentSource;

/// Largest line: as large as any resource that is held whole.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A block is full with so many bytes, or with the records of so many patients that were in none before.
const BLOCK_BYTES: usize = 256 * 1024;
const BLOCK_PATIENTS: usize = 500;
/// Blocks that wait for a slow client.
const BLOCKS_WAITING: usize = 1;
/// How often the session is looked at while a client takes a block.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file that takes longer than this is broken off.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long a client may take for a block.
const STALLED: Duration = Duration::from_secs(300);
/// Patients remembered as on record; past it they are put on record once more.
const NAMED_MAX: usize = 50_000;
/// How long a member's Consents count, and how many are remembered.
const CONSENTS_FRESH: Millis = 60_000;
const CONSENTS_MAX: usize = 10_000;

/// The body of a file; ends with its session.
pub struct Lines {
    blocks: mpsc::Receiver<Result<Bytes, BrokenOff>>,
    alive: Alive,
    looked_at: Instant,
}

/// The other end of [`Lines`].
pub(super) type Out = mpsc::Sender<Result<Bytes, BrokenOff>>;

impl Lines {
    pub(super) fn new(alive: Alive) -> (Self, Out) {
        let (out, blocks) = mpsc::channel(BLOCKS_WAITING);
        (Self { blocks, alive, looked_at: Instant::now() }, out)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.looked_at.elapsed() >= LOOK_EVERY {
            if !(self.alive)() {
                return Poll::Ready(Some(Err(BrokenOff::Ended)));
            }
            self.looked_at = Instant::now();
        }
        self.blocks.poll_recv(cx).map(|block| block.map(|block| block.map(Frame::data)))
    }
}

/// Why a file ends before its end.
#[derive(Debug)]
enum Cut {
    /// Refused, or failed, for this reason.
    Because(Reason),
    /// Its client went away.
    Gone,
}

/// What became of the lines.
#[derive(Default)]
struct Count {
    released: u32,
    bytes: u64,
    other_kind: u32,
    foreign: u32,
    unasked: u32,
    withheld: u32,
    /// Patients put on record.
    named: u32,
}

impl Count {
    fn held(&mut self, why: Held) {
        let count = match why {
            Held::Kind => &mut self.other_kind,
            Held::Foreign => &mut self.foreign,
            Held::Unasked => &mut self.unasked,
            Held::Withheld => &mut self.withheld,
        };
        *count = count.saturating_add(1);
    }
}

/// One file on its way.
pub(super) struct Stream {
    audit: Audit,
    broker: Broker,
    clock: Clock,
    tenant: TenantId,
    consent: ConsentSource,
    rules: TenantRules,
    caller: Caller,
    ruled: Alive,
    template: AuditRecord,
    judge: LineJudge,
    purse: Arc<Purse>,
    _lease: Lease,
    /// More of it, for a line that does not fit into the first.
    more: Option<Lease>,
    body: ExportFileBody,
    out: Out,
    consents: HashMap<Id, (Millis, Consents)>,
    /// Patients whose names are on record.
    named: BTreeSet<Id>,
    /// Those of the block at hand that are not.
    new: Vec<String>,
    block: Vec<u8>,
    /// How many lines it holds.
    lines: u32,
    clauses: BTreeSet<u32>,
    count: Count,
    digest: Digest,
    began: Instant,
}

impl Gate {
    /// Whether what a file was opened by still holds: the approval, the integration, and that nobody ended the session. Its token
    /// may be over: it is good for starting, and a file takes longer.
    pub(super) fn still_exports(&self, job: &Job<'_>) -> Alive {
        let (registry, clock, session) = (self.registry.clone(), self.clock.clone(), Arc::clone(&job.caller.session));
        Box::new(move || still_exports(&registry, &clock, &session))
    }
}

fn still_exports(registry: &Registry, clock: &Clock, session: &Session) -> bool {
    registry.fresh()
        && !registry.session_ended(&session.id)
        && registry.snapshot().standing(&session.approval, clock.now()).is_ok_and(|standing| {
            standing.integration.id == session.integration && standing.integration.epoch == session.epoch
        })
}

impl Stream {
    #[expect(clippy::too_many_arguments, reason = "everything that one file is opened by")]
    pub(super) fn new(
        gate: &Gate,
        tenant: &Tenant,
        rules: &TenantRules,
        job: &Job<'_>,
        template: AuditRecord,
        judge: LineJudge,
        purse: Arc<Purse>,
        lease: Lease,
        body: ExportFileBody,
        out: Out,
    ) -> Self {
        let epoch = job.trace.judgement().epoch();
        let (registry, alive) = (gate.registry.clone(), gate.still_exports(job));
        let id = tenant.settings.id.clone();
        let ruled: Alive =
            Box::new(move || alive() && registry.snapshot().policies(&id).map(|policies| policies.epoch()) == epoch);
        Self {
            audit: gate.audit.clone(),
            broker: gate.broker.clone(),
            clock: gate.clock.clone(),
            tenant: tenant.settings.id.clone(),
            consent: tenant.settings.upstream.consent,
            rules: rules.clone(),
            caller: job.caller.clone(),
            ruled,
            template,
            judge,
            purse,
            _lease: lease,
            more: None,
            body,
            out,
            consents: HashMap::new(),
            named: BTreeSet::new(),
            new: Vec::new(),
            block: Vec::new(),
            lines: 0,
            clauses: BTreeSet::new(),
            count: Count::default(),
            digest: Digest::new(&SHA256),
            began: Instant::now(),
        }
    }

    /// Copies what may leave, and records how it ended.
    pub(super) async fn run(mut self) {
        let ended = self.copy().await;
        let record = self.closing(&ended);
        let closed = match self.audit.reserve(Lane::Release) {
            Ok(slot) => self.audit.append(slot, record).await.is_ok(),
            Err(_) => false,
        };
        if self.count.foreign > 0 {
            let says = format!("a file of an export held {} lines of nobody it is for", self.count.foreign);
            let phi = self.template.phi.clone();
            self.audit.alert(&self.tenant, "upstream-foreign-line", &says, phi).await;
        }
        match ended {
            Ok(()) if closed => self.body.put_back(),
            // No proper end: a client must not take this for the whole.
            // Whoever takes nothing any more is not waited for.
            Ok(()) => _ = tokio::time::timeout(STALLED, self.out.send(Err(BrokenOff::Unrecorded))).await,
            Err(_) => _ = tokio::time::timeout(STALLED, self.out.send(Err(BrokenOff::Cut))).await,
        }
    }

    async fn copy(&mut self) -> Result<(), Cut> {
        let mut rest = Vec::new();
        loop {
            let part = self.body.next().await.map_err(|why| {
                tracing::warn!(%why, "a file of an export was cut off");
                Cut::Because(Reason::UpstreamBroken)
            })?;
            if self.began.elapsed() > LONGEST {
                return Err(Cut::Because(Reason::TooCostly));
            }
            // A client that went away is not served to the end.
            if self.out.is_closed() {
                return Err(Cut::Gone);
            }
            let Some(part) = part else { break };
            let mut part = part.as_ref();
            while let Some(at) = part.iter().position(|byte| *byte == b'\n') {
                let (line, behind) = part.split_at(at);
                if rest.is_empty() {
                    self.line(line).await?;
                } else {
                    self.grow(&mut rest, line)?;
                    let whole = std::mem::take(&mut rest);
                    self.line(&whole).await?;
                    self.more = None;
                }
                part = behind.get(1..).unwrap_or_default();
            }
            self.grow(&mut rest, part)?;
        }
        // The last line may lack its break; whether it is whole, its JSON says.
        self.line(&rest).await?;
        self.flush().await
    }

    /// Appends to a line that is not whole yet.
    fn grow(&mut self, line: &mut Vec<u8>, part: &[u8]) -> Result<(), Cut> {
        let length = line.len().saturating_add(part.len());
        if length > LINE_BYTES_MAX {
            return Err(Cut::Because(Reason::UpstreamBroken));
        }
        if length > BLOCK_BYTES && self.more.is_none() {
            let more = self.broker.keep(&self.tenant, LINE_BYTES_MAX);
            self.more = Some(more.ok_or(Cut::Because(Reason::Overloaded))?);
        }
        line.extend_from_slice(part);
        Ok(())
    }

    async fn line(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let broken = |_| Cut::Because(Reason::UpstreamBroken);
        let now = self.clock.now();
        let mut said = self.judged(bytes, now).map_err(broken)?;
        if let Line::Asks(member) = said {
            self.ask_consents(member, now).await?;
            said = self.judged(bytes, now).map_err(broken)?;
        }
        match said {
            Line::Empty => {}
            Line::Held(why) => self.count.held(why),
            // Asked a moment ago, and forgotten already: nobody can be sure then.
            Line::Asks(_) => return Err(Cut::Because(Reason::Overloaded)),
            Line::Released(line) => {
                if let Some(patient) = line.patient().filter(|patient| !self.named.contains(*patient)) {
                    self.new.push(patient.to_string());
                    if self.named.len() >= NAMED_MAX {
                        self.named.clear();
                    }
                    self.named.insert(patient.clone());
                    self.count.named = self.count.named.saturating_add(1);
                }
                self.clauses.insert(line.clause());
                self.lines = self.lines.saturating_add(1);
                self.block.extend(line.into_body());
            }
        }
        if self.block.len() >= BLOCK_BYTES || self.new.len() >= BLOCK_PATIENTS {
            self.flush().await?;
        }
        Ok(())
    }

    fn judged(&mut self, bytes: &[u8], now: Millis) -> Result<Line, policy::BrokenLine> {
        let (consent, known) = (self.consent, &self.consents);
        self.judge.line(bytes, &|member| match consent {
            ConsentSource::None => Some(Consents::none()),
            _ => known
                .get(member)
                .filter(|(at, _)| (0..CONSENTS_FRESH).contains(&(now - at)))
                .map(|(_, found)| found.clone()),
        })
    }

    /// What a member has consented to. What cannot be known is no permission, and no file without it either.
    async fn ask_consents(&mut self, member: Id, now: Millis) -> Result<(), Cut> {
        let unknown = || Cut::Because(Reason::UpstreamUnavailable);
        let session = Session { subject: Subject::Patient(member.clone()), ..Session::clone(&self.caller.session) };
        let mut next = policy::ask_consents(&self.rules, &session, now);
        while let Some(permit) = next.take() {
            let answered = self.broker.send(&self.tenant, permit).await;
            match policy::verify(answered, &mut |_| None) {
                Verdict::Next(permit) => next = Some(permit),
                Verdict::Consents(Some(found)) => {
                    if self.consents.len() >= CONSENTS_MAX {
                        self.consents.clear();
                    }
                    self.consents.insert(member, (now, found));
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(unknown())
    }

    /// Lets a block go, once it is on record whose it is and everything still holds by which it was judged.
    async fn flush(&mut self) -> Result<(), Cut> {
        if self.block.is_empty() {
            return Ok(());
        }
        if !(self.ruled)() {
            return Err(Cut::Because(Reason::SessionEnded));
        }
        let block = std::mem::take(&mut self.block);
        if let Err(over) = self.purse.bytes(block.len() as u64) {
            let first = over.first;
            let refusal = Refusal::from(over);
            if first {
                let phi = self.template.phi.clone();
                self.audit.alert_soon(self.tenant.as_str(), refusal.reason.code(), &refusal.says, phi);
            }
            return Err(Cut::Because(refusal.reason));
        }
        if !self.new.is_empty() {
            let mut record = self.template.clone();
            record.phi.patients = std::mem::take(&mut self.new);
            let unrecorded = || Cut::Because(Reason::RecordFailed);
            let slot = self.audit.reserve(Lane::Release).map_err(|_| unrecorded())?;
            self.audit.append(slot, record).await.map_err(|_| unrecorded())?;
        }
        let block = Bytes::from(block);
        let sent = tokio::time::timeout(STALLED, self.out.send(Ok(block.clone()))).await;
        sent.map_err(|_| Cut::Gone)?.map_err(|_| Cut::Gone)?;
        self.digest.update(&block);
        self.count.bytes = self.count.bytes.saturating_add(block.len() as u64);
        self.count.released = self.count.released.saturating_add(std::mem::take(&mut self.lines));
        Ok(())
    }

    /// The record of the end. A part that left is in it: its bytes and its digest.
    fn closing(&self, ended: &Result<(), Cut>) -> AuditRecord {
        let mut record = self.template.clone();
        let Count { released, bytes, other_kind, foreign, unasked, withheld, named } = self.count;
        record.phase = Phase::Close;
        record.object.released = released;
        record.object.filtered = other_kind.saturating_add(foreign).saturating_add(unasked).saturating_add(withheld);
        record.object.bytes = bytes;
        record.object.digest = hex(self.digest.clone().finish().as_ref());
        record.decision.clauses = self.clauses.iter().copied().collect();
        let held = format!("other type {other_kind}, foreign {foreign}, not asked for {unasked}, withheld {withheld}");
        record.phi.attributes.push(("export.held".to_owned(), held));
        record.phi.attributes.push(("export.patients".to_owned(), named.to_string()));
        record.phi.attributes.sort();
        match ended {
            Ok(()) => {}
            Err(Cut::Gone) => {
                record.outcome = Outcome::Failed;
                record.phi.note = "the client went away".to_owned();
            }
            Err(Cut::Because(reason)) => {
                record.outcome = Outcome::Failed;
                record.decision.reason = reason.code().to_owned();
            }
        }
        record
    }
}
