//! The queue and the two threads: one writes and syncs, the other signs checkpoints and turns counts into records each second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::Checkpoint;
use parking_lot::{Condvar, Mutex, MutexGuard};
use store::wal::{Checkpoints, CommitError, NewEntry, Receipt, Wal};
use tokio::sync::{Notify, oneshot};

use super::leaf::SealedLeaf;
use super::{Core, RecordError, alert_record};
use crate::keys::SYSTEM;

/// Places for records of releases, grants and changes (`spec/audit.md` §9.1).
const RELEASE_PLACES: usize = 8_192;
/// Places for records of denials, apart, so that a storm of refusals cannot keep a permitted read from its record.
const DENIAL_PLACES: usize = 2_048;
/// Most records of one commit.
const BATCH_RECORDS_MAX: usize = 1_024;
/// Most of them denials while releases wait.
const BATCH_DENIALS_MAX: usize = 128;
/// Bytes after which a commit takes no further record.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// A commit of more records than this means that they come faster than single commits would write them; then the next one waits
/// for those that are on their way.
const GATHER_ABOVE: usize = 4;
/// Longest such wait: some six commits' worth on a quick disk, and far less than what is waited for a busy one.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// How often checkpoints are signed and counts written.
const TICK: Duration = Duration::from_secs(1);

/// Which queue a record waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// Releases, tokens, changes, alerts.
    Release,
    /// Refusals.
    Denial,
}

/// No place in the queue, or the ledger takes nothing any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ledger's queue takes no more records at the moment")]
pub struct Overloaded;

/// A place in the queue; given back when the record is durable or the slot is dropped.
#[derive(Debug)]
pub struct Slot {
    core: Arc<Core>,
    lane: Lane,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.core.queue.taken(self.lane).fetch_sub(1, Ordering::AcqRel);
    }
}

/// A record that waits.
struct Job {
    leaves: Vec<SealedLeaf>,
    answer: Option<oneshot::Sender<Result<Receipt, RecordError>>>,
    _slot: Slot,
}

#[derive(Default)]
struct Waiting {
    releases: VecDeque<Job>,
    denials: VecDeque<Job>,
    closing: bool,
    /// Jobs that the writer sleeps for; none of fewer wakes it.
    wanted: usize,
}

impl Waiting {
    fn len(&self) -> usize {
        self.releases.len() + self.denials.len()
    }
}

/// What is between the tasks and the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    releases: AtomicUsize,
    denials: AtomicUsize,
    full: AtomicBool,
    failed: AtomicBool,
    /// Durable records of all logs.
    entries: AtomicU64,
    failure: Notify,
    heads: Mutex<Heads>,
    tick: Condvar,
}

#[derive(Default)]
struct Heads {
    new: Option<Vec<Checkpoint>>,
    ended: bool,
}

pub(super) fn reserve(core: &Arc<Core>, lane: Lane) -> Result<Slot, Overloaded> {
    let places = if lane == Lane::Release { RELEASE_PLACES } else { DENIAL_PLACES };
    let taken = core.queue.taken(lane);
    let free = |taken: usize| (taken < places).then_some(taken + 1);
    if core.queue.failed.load(Ordering::Acquire)
        || taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_err()
    {
        return Err(Overloaded);
    }
    Ok(Slot { core: core.clone(), lane })
}

impl Queue {
    fn taken(&self, lane: Lane) -> &AtomicUsize {
        if lane == Lane::Release { &self.releases } else { &self.denials }
    }

    pub(super) fn push(
        &self,
        slot: Slot,
        leaves: Vec<SealedLeaf>,
        answer: Option<oneshot::Sender<Result<Receipt, RecordError>>>,
    ) -> Result<(), RecordError> {
        let mut waiting = self.waiting.lock();
        if self.failed.load(Ordering::Acquire) {
            return Err(RecordError::Failed);
        }
        if waiting.closing {
            return Err(RecordError::Closed);
        }
        let lane = if slot.lane == Lane::Release { &mut waiting.releases } else { &mut waiting.denials };
        lane.push_back(Job { leaves, answer, _slot: slot });
        if waiting.len() >= waiting.wanted {
            drop(waiting);
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    pub(super) fn healthy(&self) -> bool {
        !self.failed.load(Ordering::Acquire) && !self.full.load(Ordering::Acquire)
    }

    pub(super) async fn failed(&self) {
        loop {
            let notified = self.failure.notified();
            if self.failed.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Waits for work and takes all that fits one commit. `None`: the queue is closed and empty. An empty batch: time is up.
    fn take(&self, until: Option<Instant>, last: usize) -> Option<Vec<Job>> {
        let mut waiting = self.waiting.lock();
        waiting.wanted = 0;
        while waiting.len() == 0 {
            if waiting.closing {
                return None;
            }
            match until {
                Some(until) if self.wake.wait_until(&mut waiting, until).timed_out() => return Some(Vec::new()),
                Some(_) => {}
                None => self.wake.wait(&mut waiting),
            }
        }
        if last > GATHER_ABOVE {
            self.gather(&mut waiting);
        }
        let mut batch = Batch::default();
        let denials = if waiting.releases.is_empty() { BATCH_RECORDS_MAX } else { BATCH_DENIALS_MAX };
        batch.fill(&mut waiting.denials, denials);
        batch.fill(&mut waiting.releases, BATCH_RECORDS_MAX);
        Some(batch.jobs)
    }

    /// Under load, waits a moment until half of those who hold a place have brought their record. Each commit costs a signature, two
    /// waits for the disk and as many changes of thread, however many it holds; on a busy core a writer that is woken by the first
    /// record would commit a few at a time, and the more often, the busier the core.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        let until = Instant::now() + GATHER_MAX;
        let places = self.releases.load(Ordering::Acquire) + self.denials.load(Ordering::Acquire);
        waiting.wanted = (places / 2).min(BATCH_RECORDS_MAX);
        while waiting.len() < waiting.wanted && !waiting.closing && !self.wake.wait_until(waiting, until).timed_out() {}
        waiting.wanted = 0;
    }

    /// After the device failed: nobody waits for what will never come.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        let mut waiting = self.waiting.lock();
        let lost: Vec<Job> = waiting.releases.drain(..).collect();
        let refused: Vec<Job> = waiting.denials.drain(..).collect();
        drop(waiting);
        for job in lost.into_iter().chain(refused) {
            reply(job, Err(RecordError::Failed));
        }
        self.failure.notify_waiters();
    }
}

#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    leaves: usize,
    bytes: usize,
}

impl Batch {
    /// Takes jobs from a lane until `most` leaves or the bytes are reached; always at least one into an empty batch.
    fn fill(&mut self, lane: &mut VecDeque<Job>, most: usize) {
        while let Some(job) = lane.front() {
            let bytes: usize = job.leaves.iter().map(|leaf| leaf.bytes.len()).sum();
            let fits = self.leaves + job.leaves.len() <= most && self.bytes + bytes <= BATCH_BYTES_MAX;
            if !fits && !self.jobs.is_empty() {
                return;
            }
            self.leaves += job.leaves.len();
            self.bytes += bytes;
            self.jobs.extend(lane.pop_front());
        }
    }
}

fn reply(job: Job, result: Result<Receipt, RecordError>) {
    let Job { answer, _slot: slot, .. } = job;
    // The place is free before the waiter goes on.
    drop(slot);
    if let Some(answer) = answer {
        // The waiter may have given up at its deadline; the record is then durable and nothing was released.
        let _ = answer.send(result);
    }
}

/// The threads of one ledger.
#[derive(Debug)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Lets the threads finish what waits, and waits for them.
    pub(super) fn end(&self, queue: &Queue) {
        queue.waiting.lock().closing = true;
        queue.wake.notify_all();
        for thread in self.0.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger ended abnormally");
            }
        }
    }
}

/// Starts both threads.
pub(super) fn start(core: &Arc<Core>, wal: Wal, checkpoints: Checkpoints) -> std::io::Result<Threads> {
    core.queue.entries.store(wal.heads().iter().map(|head| head.size).sum(), Ordering::Release);
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let writing = core.clone();
    let writer = named("hilum-ledger").spawn(move || write(&writing.queue, wal))?;
    let ticking = core.clone();
    let ticker = named("hilum-checkpoint").spawn(move || tick(&ticking, &checkpoints))?;
    Ok(Threads(Mutex::new(vec![writer, ticker])))
}

/// Marks the ledger failed if the writer leaves by a panic, so that nothing is ever taken for recorded.
struct FailOnPanic<'a>(&'a Queue);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
        self.0.heads.lock().ended = true;
        self.0.tick.notify_all();
    }
}

fn write(queue: &Queue, mut wal: Wal) {
    let _guard = FailOnPanic(queue);
    let (mut published, mut dirty, mut last) = (Instant::now(), true, 0);
    while let Some(batch) = queue.take(dirty.then(|| published + TICK), last) {
        last = batch.len();
        if !batch.is_empty() {
            dirty = true;
            if !commit(queue, &mut wal, batch) {
                return;
            }
        }
        if dirty && published.elapsed() >= TICK {
            queue.heads.lock().new = Some(wal.heads());
            (published, dirty) = (Instant::now(), false);
        }
    }
    queue.heads.lock().new = Some(wal.heads());
}

/// Commits a batch and answers everyone in it. `false` once the device has failed.
fn commit(queue: &Queue, wal: &mut Wal, batch: Vec<Job>) -> bool {
    let leaves = batch.iter().flat_map(|job| &job.leaves);
    let entries: Vec<NewEntry<'_>> =
        leaves.map(|leaf| NewEntry { origin: leaf.origin.clone(), bytes: &leaf.bytes }).collect();
    match wal.commit(&entries) {
        Ok(receipts) => {
            queue.full.store(false, Ordering::Release);
            queue.entries.fetch_add(u64::try_from(receipts.len()).unwrap_or(u64::MAX), Ordering::AcqRel);
            let mut receipts = receipts.into_iter();
            for job in batch {
                // A record of several leaves is known by its first.
                let first = receipts.next();
                receipts.by_ref().take(job.leaves.len().saturating_sub(1)).for_each(drop);
                reply(job, first.ok_or(RecordError::Failed));
            }
            true
        }
        Err(CommitError::Poisoned) => {
            tracing::error!("the ledger's device failed; nothing more is recorded or released");
            queue.failed.store(true, Ordering::Release);
            batch.into_iter().for_each(|job| reply(job, Err(RecordError::Failed)));
            queue.fail();
            false
        }
        Err(why @ (CommitError::Full(_) | CommitError::Frame(_))) => {
            tracing::error!(%why, "a commit was refused");
            queue.full.store(true, Ordering::Release);
            batch.into_iter().for_each(|job| reply(job, Err(RecordError::Full)));
            true
        }
    }
}

fn tick(core: &Arc<Core>, checkpoints: &Checkpoints) {
    let mut regressed = false;
    loop {
        let (heads, ended) = {
            let mut heads = core.queue.heads.lock();
            if !heads.ended {
                core.queue.tick.wait_for(&mut heads, TICK);
            }
            (heads.new.take(), heads.ended)
        };
        if let Some(Err(why)) = heads.map(|heads| checkpoints.write(&heads)) {
            tracing::error!(%why, "checkpoints could not be written");
        }
        if ended {
            return;
        }
        core.flush_floods();
        let now_regressed = core.stamps.take_regressed();
        if now_regressed && !regressed {
            note_regression(core);
        }
        regressed = now_regressed;
    }
}

/// The machine's clock is behind the ledger's: care goes on, people are told.
fn note_regression(core: &Arc<Core>) {
    let says = "the clock is behind the time of the last record";
    let queued = alert_record(SYSTEM, "time-regressed", says, domain::audit::Phi::default()).and_then(|record| {
        let slot = reserve(core, Lane::Release)?;
        core.queue.push(slot, core.seal(record)?, None)
    });
    if let Err(why) = queued {
        tracing::error!(%why, "an alert could not be recorded");
    }
}
