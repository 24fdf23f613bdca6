//! What the registry writes into the ledger: an intent before each change, what became of it, and every refusal.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use domain::Reason;
use domain::audit::{AuditRecord, Kind, Outcome, Phase};

use super::people::Caller;
use crate::audit::{Audit, FEED, Lane};
use crate::clock::random;
use crate::keys::SYSTEM;

/// Longest text of an object kept in a record; its digest is always whole.
const NOTE_MAX: usize = 4 * 1024;

/// The record could not be made durable; what it was about must not happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the audit record could not be made durable")]
pub struct RecordFailed;

/// What comes back when a record is durable, or is not.
pub type Recording<'a> = Pin<Box<dyn Future<Output = Result<(), RecordFailed>> + Send + 'a>>;

/// A place for records; the ledger is one.
pub trait Recorder: Send + Sync {
    /// Makes one record durable.
    fn append(&self, record: AuditRecord) -> Recording<'_>;

    /// Counts a refusal of someone who is not signed in; the counts become records in time.
    fn count(&self, tenant: &str, reason: Reason, peer: IpAddr);
}

impl Recorder for Audit {
    fn append(&self, record: AuditRecord) -> Recording<'_> {
        Box::pin(async move {
            let failed = |why: &dyn std::fmt::Display| {
                tracing::error!("an audit record could not be made durable: {why}");
                RecordFailed
            };
            let lane = if record.outcome == Outcome::Denied { Lane::Denial } else { Lane::Release };
            let slot = self.reserve(lane).map_err(|why| failed(&why))?;
            // Spelled out: this trait's own `append` has the same name.
            Audit::append(self, slot, record).await.map(drop).map_err(|why| failed(&why))
        })
    }

    fn count(&self, tenant: &str, reason: Reason, peer: IpAddr) {
        self.count_anonymous(tenant, reason, peer);
    }
}

/// One thing a person does, as its records name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    /// Tenant id; empty is `_system`.
    pub tenant: String,
    /// `integration`, `approval`, `person`, …
    pub noun: &'static str,
    /// `put`, `approve`, `end`, …
    pub verb: &'static str,
    /// Which object.
    pub id: String,
    /// Its content or the reason given, as text.
    pub note: String,
    /// Where it came from, if that is worth keeping.
    pub peer: Option<IpAddr>,
}

/// The registry's way to the ledger.
#[derive(Clone)]
pub(crate) struct Trail(pub Arc<dyn Recorder>);

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trail")
    }
}

/// An intent that is durable and waits for its outcome.
pub(crate) struct Intent {
    record: AuditRecord,
}

impl Trail {
    fn record(kind: Kind, outcome: Outcome, caller: Option<&Caller>, deed: &Deed) -> Result<AuditRecord, RecordFailed> {
        let tenant = if deed.tenant.is_empty() { SYSTEM } else { &deed.tenant };
        let request = random().map_err(|_| RecordFailed)?;
        let mut record = AuditRecord::new(tenant, kind, outcome, request);
        if let Some(caller) = caller {
            record.actor.person = caller.person.to_string();
            record.actor.roles = caller.roles_in(tenant);
        }
        record.object.kind = deed.noun.to_owned();
        record.object.interaction = deed.verb.to_owned();
        record.object.digest =
            if deed.note.is_empty() { String::new() } else { super::digest::sha256(deed.note.as_bytes()) };
        record.phi.attributes = vec![("id".into(), deed.id.clone())];
        record.phi.note = cut(&deed.note);
        record.phi.peer = deed.peer.map(|peer| peer.to_string()).unwrap_or_default();
        Ok(record)
    }

    /// Makes the intent durable; without it nothing may be done.
    pub(crate) async fn intend(&self, caller: Option<&Caller>, deed: &Deed) -> Result<Intent, RecordFailed> {
        let mut record = Self::record(Kind::RegistryChange, Outcome::Success, caller, deed)?;
        record.phase = Phase::Intent;
        self.0.append(record.clone()).await?;
        Ok(Intent { record })
    }

    /// Says what became of an intent. Should this fail, the intent still stands in the ledger.
    /// `feed` is a number that the store had reached when it was done: a database that has not reached it later is an older one.
    pub(crate) async fn conclude(
        &self,
        intent: Intent,
        outcome: Outcome,
        status: u16,
        feed: u64,
    ) -> Result<(), RecordFailed> {
        let mut record = intent.record;
        record.phi.attributes.push((FEED.into(), feed.to_string()));
        record.phase = Phase::Outcome;
        record.outcome = outcome;
        record.object.status = status;
        self.0.append(record).await
    }

    /// Records something refused before it began.
    pub(crate) async fn refused(
        &self,
        caller: Option<&Caller>,
        deed: &Deed,
        reason: Reason,
        status: u16,
    ) -> Result<(), RecordFailed> {
        let mut record = Self::record(Kind::RegistryDenied, Outcome::Denied, caller, deed)?;
        record.decision.reason = reason.code().to_owned();
        record.object.status = status;
        self.0.append(record).await
    }

    /// Counts something refused to someone who is not signed in.
    pub(crate) fn counted(&self, tenant: &str, reason: Reason, peer: IpAddr) {
        let tenant = if tenant.is_empty() { SYSTEM } else { tenant };
        self.0.count(tenant, reason, peer);
    }

    /// Records that a person read the audit log, before they are shown it.
    pub(crate) async fn read(&self, caller: &Caller, deed: &Deed, patients: Vec<String>) -> Result<(), RecordFailed> {
        let mut record = Self::record(Kind::AuditRead, Outcome::Success, Some(caller), deed)?;
        record.phi.patients = patients;
        self.0.append(record).await
    }

    /// Records a whole deed at once: one that cannot be undone by a crash in between (a session's end).
    /// `feed` as in [`Trail::conclude`].
    pub(crate) async fn done(
        &self,
        kind: Kind,
        caller: Option<&Caller>,
        deed: &Deed,
        feed: u64,
    ) -> Result<(), RecordFailed> {
        let mut record = Self::record(kind, Outcome::Success, caller, deed)?;
        record.phi.attributes.push((FEED.into(), feed.to_string()));
        self.0.append(record).await
    }
}

fn cut(text: &str) -> String {
    let mut end = NOTE_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
