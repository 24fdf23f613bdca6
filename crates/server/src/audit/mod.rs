//! The ledger in the server: records are sealed by the task that has them, made durable by one writer thread, and read back here.
//!
//! A record is durable when [`Audit::append`] answers: one commit, one sync for everything that waited (`spec/audit.md` §9.1). A full
//! queue refuses work before the upstream is touched; a device that fails once ends the ledger for this process.

mod fit;
mod flood;
mod leaf;
mod read;
mod recorded;
mod stamp;
mod view;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::audit::cbor::{self, EncodeError};
use domain::audit::{AuditRecord, Kind, Outcome, Phi};
use domain::{Reason, TenantId};
use store::wal::{FileDisk, OpenWalError, Receipt, Segments, Wal, WalOptions};
use tokio::sync::oneshot;

use crate::clock::{Clock, random};
use crate::keys::{KeyError, KeyRing, SYSTEM};
pub(crate) use fit::FEED;
pub use read::{Cursor, Filter, InvalidRecordId, PhiAccess, ReadAuditError, Reader, RecordId, SEARCH_MAX};
pub use recorded::{Intended, Recorded};
pub use view::{Explained, Found, LogView, PhiView, RecordView, VerifyError, VerifyReport, verify};
pub use writer::{Lane, Overloaded, Slot};

/// Longest wait for a record to become durable; past it the request is refused (`spec/audit.md` §9.2).
const APPEND_DEADLINE: Duration = Duration::from_millis(500);

/// How often keys are looked after; next month's exist weeks before they are needed.
const KEYS_EVERY: Duration = Duration::from_secs(60);

/// Why the ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// The files.
    #[error(transparent)]
    Wal(#[from] OpenWalError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Reading the last record.
    #[error(transparent)]
    Read(#[from] store::wal::ReadWalError),
    /// A host or node name that cannot stand in an origin.
    #[error("`{0}` cannot be part of a ledger's name: letters, digits, `.`, `-`, `:` and `_` only")]
    Name(String),
    /// The folder lost records.
    #[error(
        "the ledger was rolled back: its folder holds {found} records and the database knows of {known}; put the newer folder back"
    )]
    RolledBack {
        /// Records found.
        found: u64,
        /// Records the database knows of.
        known: u64,
    },
    /// The database is of an earlier time.
    #[error(
        "the database is older than the ledger: it stands at change {database} and the ledger records change {ledger}, so what was switched off since would work again; put the newer database back (`hilum restore --reconcile`, of a later release, will take over a backup)"
    )]
    OlderDatabase {
        /// The database's feed number.
        database: u64,
        /// The newest one recorded.
        ledger: u64,
    },
    /// The database lacks keys it had.
    #[error(
        "the database is older than the ledger: it lacks a key that the last records are sealed with; put the newer database back (`hilum restore --reconcile`, of a later release, will take over a backup)"
    )]
    LostKeys,
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A thread could not be started or the random source failed.
    #[error("the ledger's threads could not be started")]
    Start,
    /// The record of this start could not be written.
    #[error("the first record could not be written: {0}")]
    Boot(#[from] RecordError),
}

/// A record is not known to be durable; what it was for must not happen.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not durable within the deadline. It may become so later, which is harmless: nothing was released.
    #[error("the record was not durable in time")]
    Deadline,
    /// The ledger's device failed, now or earlier.
    #[error("the ledger has failed")]
    Failed,
    /// No room for the record.
    #[error("the ledger's disk is full")]
    Full,
    /// The ledger is being closed.
    #[error("the ledger is closed")]
    Closed,
    /// The record cannot be written down.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No key to seal it with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The random source failed.
    #[error(transparent)]
    Random(#[from] crate::clock::RandomError),
    /// No room in the queue.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// The ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    dir: PathBuf,
    threads: writer::Threads,
}

/// What the threads and the handle share.
struct Core {
    keys: KeyRing,
    clock: Clock,
    node: String,
    host: String,
    stamps: stamp::Stamps,
    floods: flood::Floods,
    queue: writer::Queue,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({}/{})", self.host, self.node)
    }
}

impl Audit {
    /// Recovers or begins the ledger in `dir`, starts its threads and records the start under `_system`.
    ///
    /// # Errors
    /// [`OpenLedgerError`]: damage, rollback, another process writing, an unusable folder.
    pub async fn open(
        dir: &Path,
        node: &str,
        host: &str,
        keys: KeyRing,
        clock: Clock,
    ) -> Result<Self, OpenLedgerError> {
        Self::open_with(WalOptions::new(dir), Arc::new(FileDisk), node, host, keys, clock).await
    }

    /// [`Audit::open`] with chosen sizes and disk; tests make the disk fail.
    ///
    /// # Errors
    /// [`OpenLedgerError`].
    pub async fn open_with(
        options: WalOptions,
        disk: Arc<dyn store::wal::Disk>,
        node: &str,
        host: &str,
        keys: KeyRing,
        clock: Clock,
    ) -> Result<Self, OpenLedgerError> {
        for name in [node, host] {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
            if name.is_empty() || name.len() > 200 || !name.bytes().all(fits) {
                return Err(OpenLedgerError::Name(name.to_owned()));
            }
        }
        let dir = options.dir.clone();
        let signer = Arc::new(keys.ledger_signer()?);
        let opened = tokio::task::spawn_blocking(move || Wal::open(options, signer, disk)).await;
        let (wal, checkpoints, recovered) = opened.map_err(|_| OpenLedgerError::Start)??;
        let entries = wal.heads().iter().map(|head| head.size).sum();
        fit::check(&dir, node, entries, &keys).await?;
        keys.ensure(clock.now()).await?;
        let last_us = last_time(&dir, recovered.last_entry.as_deref())?;
        let boot = random().map_err(|_| OpenLedgerError::Start)?;
        let core = Arc::new(Core {
            stamps: stamp::Stamps::new(boot, last_us),
            keys,
            clock,
            node: node.to_owned(),
            host: host.to_owned(),
            floods: flood::Floods::default(),
            queue: writer::Queue::default(),
        });
        let threads = writer::start(&core, wal, checkpoints).map_err(|_| OpenLedgerError::Start)?;
        let audit = Self(Arc::new(Inner { core, dir, threads }));
        audit.record_start(&recovered).await?;
        tokio::spawn(keep_keys(Arc::downgrade(&audit.0)));
        tokio::spawn(keep_marks(Arc::downgrade(&audit.0)));
        Ok(audit)
    }

    /// Says in the ledger that this process started, and what recovery found.
    async fn record_start(&self, recovered: &store::wal::Recovered) -> Result<(), RecordError> {
        let mut boot = AuditRecord::new(SYSTEM, Kind::Boot, Outcome::Success, random()?);
        boot.object.interaction = "start".to_owned();
        boot.phi.note = format!("hilum {}", env!("CARGO_PKG_VERSION"));
        self.append(self.reserve(Lane::Release)?, boot).await?;
        if recovered.torn_bytes > 0 {
            let says = format!("{} bytes of an unfinished commit were removed", recovered.torn_bytes);
            self.alert_system("ledger-torn-tail", &says).await?;
        }
        for place in &recovered.damaged_checkpoints {
            self.alert_system("ledger-checkpoint-damaged", &format!("`{place}` does not verify; the other place does"))
                .await?;
        }
        Ok(())
    }

    /// This node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.core.node
    }

    /// Takes a place in the queue, before the upstream is touched.
    ///
    /// # Errors
    /// [`Overloaded`] when the lane is full or the ledger takes nothing any more.
    pub fn reserve(&self, lane: Lane) -> Result<Slot, Overloaded> {
        writer::reserve(&self.0.core, lane)
    }

    /// Makes a record durable. When this answers with a receipt, the record survives any crash.
    ///
    /// # Errors
    /// [`RecordError`]; then what the record was for must not happen.
    pub fn append(
        &self,
        slot: Slot,
        record: AuditRecord,
    ) -> impl Future<Output = Result<Receipt, RecordError>> + Send + use<'_> {
        // On the heap, since a future is moved whole into every one that awaits it.
        let record = Box::new(record);
        async move {
            let core = &self.0.core;
            let now = core.stamps.at_least(core.clock.now());
            if !core.keys.has_audit_key(&record.tenant, now) && core.keys.knows(&record.tenant) {
                // Once a month at most.
                Box::pin(core.keys.ensure(now)).await?;
            }
            let (answer, answered) = oneshot::channel();
            core.queue.push(slot, core.seal(*record)?, Some(answer))?;
            match tokio::time::timeout(APPEND_DEADLINE, answered).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(RecordError::Closed),
                Err(_) => Err(RecordError::Deadline),
            }
        }
    }

    /// Raises an alert: a record of kind `alert` that also goes to the operator's log, there without its text. Losing one is
    /// itself an error in that log; what the alert is about is refused or recorded by its own record.
    pub async fn alert(&self, tenant: &TenantId, code: &str, text: &str, phi: Phi) {
        if let Err(why) = self.try_alert(tenant.as_str(), code, text, phi).await {
            tracing::error!(%tenant, code, %why, "an alert could not be recorded");
        }
    }

    /// [`Audit::alert`] that waits for nothing: the record is durable with the next commit. For alerts whose cause must not be told by
    /// how long an answer takes.
    pub fn alert_soon(&self, tenant: &str, code: &str, text: &str, phi: Phi) {
        let core = &self.0.core;
        let queued = alert_record(tenant, code, text, phi).and_then(|record| {
            let slot = writer::reserve(core, Lane::Release)?;
            core.queue.push(slot, core.seal(record)?, None)
        });
        if let Err(why) = queued {
            tracing::error!(%tenant, code, %why, "an alert could not be recorded");
        }
    }

    /// [`Audit::alert`] that tells whether it was recorded. `tenant` may be `_system`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn try_alert(&self, tenant: &str, code: &str, text: &str, phi: Phi) -> Result<Receipt, RecordError> {
        let slot = self.reserve(Lane::Release)?;
        self.append(slot, alert_record(tenant, code, text, phi)?).await
    }

    async fn alert_system(&self, code: &str, text: &str) -> Result<(), RecordError> {
        self.try_alert(SYSTEM, code, text, Phi::default()).await.map(drop)
    }

    /// Counts a refusal of someone who did not authenticate. Each second the counts become one record per tenant, reason and
    /// address prefix, so that a flood costs the ledger nothing and no refusal goes uncounted.
    pub fn count_unauthenticated(&self, tenant: &TenantId, reason: Reason, peer: SocketAddr) {
        self.count_anonymous(tenant.as_str(), reason, peer.ip());
    }

    /// [`Audit::count_unauthenticated`] where `tenant` may be `_system`.
    pub fn count_anonymous(&self, tenant: &str, reason: Reason, peer: IpAddr) {
        self.0.core.floods.count(tenant, reason, peer);
    }

    /// Whether records can be written. `false` also when the last commit found no room.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.0.core.queue.healthy()
    }

    /// Waits until the device has failed for good: the process must then stop serving (`spec/audit.md` §9.3).
    pub async fn failed(&self) {
        self.0.core.queue.failed().await;
    }

    /// Records the stop, writes what waits, signs the last checkpoints and ends the threads. Later records are refused.
    pub async fn close(&self) {
        self.0.core.flush_floods();
        if let (Ok(slot), Ok(id)) = (self.reserve(Lane::Release), random()) {
            let mut stop = AuditRecord::new(SYSTEM, Kind::Boot, Outcome::Success, id);
            stop.object.interaction = "stop".to_owned();
            if let Err(why) = self.append(slot, stop).await {
                tracing::error!(%why, "the stop could not be recorded");
            }
        }
        let inner = self.0.clone();
        // The threads end on their own if this task is cancelled; a join error has nothing to tell.
        let _ = tokio::task::spawn_blocking(move || inner.threads.end(&inner.core.queue)).await;
        self.0.core.mark().await;
    }

    /// Reads this ledger; safe while it is written. What is read through it is recorded by the caller (`Kind::AuditRead`).
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.0.dir, Some(self.0.core.keys.clone()))
    }

    /// [`verify`] of this ledger as it stands, with its own key, on a blocking thread. `torn_bytes` may be a commit under way.
    ///
    /// # Errors
    /// [`ReadAuditError::Stopped`]; what verification found wrong is the inner error.
    pub async fn verify(&self) -> Result<Result<VerifyReport, VerifyError>, ReadAuditError> {
        let key = self.0.core.keys.ledger_public().map_err(|_| ReadAuditError::Stopped)?;
        let dir = self.0.dir.clone();
        tokio::task::spawn_blocking(move || verify(&dir, &key, &[])).await.map_err(|_| ReadAuditError::Stopped)
    }

    /// [`Reader::search`] on a blocking thread.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub async fn search(&self, filter: Filter, phi: PhiAccess) -> Result<Found, ReadAuditError> {
        let reader = self.reader();
        tokio::task::spawn_blocking(move || reader.search(&filter, phi)).await.map_err(|_| ReadAuditError::Stopped)?
    }

    /// [`Reader::show`] on a blocking thread.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub async fn show(&self, id: RecordId, phi: PhiAccess) -> Result<Option<RecordView>, ReadAuditError> {
        let reader = self.reader();
        tokio::task::spawn_blocking(move || reader.show(&id, phi)).await.map_err(|_| ReadAuditError::Stopped)?
    }

    /// [`Reader::explain`] on a blocking thread.
    ///
    /// # Errors
    /// [`ReadAuditError`].
    pub async fn explain(&self, id: RecordId, phi: PhiAccess) -> Result<Option<Explained>, ReadAuditError> {
        let reader = self.reader();
        tokio::task::spawn_blocking(move || reader.explain(&id, phi)).await.map_err(|_| ReadAuditError::Stopped)?
    }
}

/// Makes next month's keys ahead of need and forgets token keys that can verify nothing any more, for as long as the ledger is open.
async fn keep_keys(ledger: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        let Some(core) = ledger.upgrade().map(|inner| inner.core.clone()) else { return };
        if let Err(why) = core.keys.ensure(core.clock.now()).await {
            tracing::error!(%why, "keys could not be made ahead of need");
        }
    }
}

/// How often the database is told how many records there are.
const MARK_EVERY: Duration = Duration::from_secs(1);

async fn keep_marks(ledger: std::sync::Weak<Inner>) {
    let mut marked = 0;
    loop {
        tokio::time::sleep(MARK_EVERY).await;
        let Some(core) = ledger.upgrade().map(|inner| inner.core.clone()) else { return };
        let entries = core.queue.entries();
        if entries > marked && core.mark().await {
            marked = entries;
        }
    }
}

impl Core {
    /// Tells the database how many records are durable. Without it the next start looks through more of them.
    async fn mark(&self) -> bool {
        let (entries, now) = (self.queue.entries(), self.clock.now());
        let done = self.keys.store().mark_ledger(&self.node, entries, now).await;
        if let Err(why) = &done {
            tracing::warn!(%why, "the database could not be told of the ledger's size");
        }
        done.is_ok()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.threads.end(&self.core.queue);
    }
}

fn alert_record(tenant: &str, code: &str, text: &str, phi: Phi) -> Result<AuditRecord, RecordError> {
    tracing::warn!(tenant, code, "alert");
    let mut record = AuditRecord::new(tenant, Kind::Alert, Outcome::Success, random()?);
    record.decision.reason = code.to_owned();
    record.phi = phi;
    record.phi.note = if record.phi.note.is_empty() { text.to_owned() } else { format!("{text}\n{}", record.phi.note) };
    Ok(record)
}

/// The time of the last record: in the last segment, or in the one before when the last has none yet.
fn last_time(dir: &Path, last_entry: Option<&[u8]>) -> Result<i64, store::wal::ReadWalError> {
    let time = |bytes: &[u8]| cbor::decode(bytes).map_or(0, |leaf| leaf.stamp.ts_us);
    if let Some(bytes) = last_entry {
        return Ok(time(bytes));
    }
    let segments = Segments::find(dir)?;
    let mut last = 0;
    if let Some(before) = segments.numbers().iter().rev().nth(1) {
        segments.read(*before, &mut |entry| {
            last = time(entry.bytes);
            true
        })?;
    }
    Ok(last)
}
