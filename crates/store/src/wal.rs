//! The write-ahead log of the ledger as files: append, sync, recover. One log serves every tenant of a node with one sync per commit.
//!
//! A directory holds `NNNNNNNN.wal` segments, preallocated and zero-filled so that a sync touches no metadata; `checkpoints.a` and
//! `checkpoints.b`, the signed heads that recovery must reach; and `lock`, held while a process writes. Only this module mints a
//! [`Receipt`]. After a failed write or sync nothing is retried: the page cache may lie, so the log is poisoned and the process stops.

mod checkpoints;
mod device;
mod open;
mod read;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use ledger::frame::{self, Body, Entry, Part};
use ledger::recover::State;
use ledger::{Checkpoint, Frontier, Hash, Signer};

pub use checkpoints::{CheckpointError, Checkpoints};
pub use device::{Device, Disk, FileDisk};
pub use open::{OpenWalError, Recovered};
pub use read::{Position, ReadWalError, Segments, StoredEntry, Verified, VerifyWalError, verify};

/// Size of the first segment: small, so that a new installation starts at once.
pub const FIRST_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Size of every later segment, made ahead of need by a helper thread.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Memory kept for frames: a full batch of the writer's, rounded up. A fresh piece for every commit, each of another size, costs the
/// writer as much as its signature.
const FRAME_BYTES_KEPT: usize = 2 * 1024 * 1024;

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The directory; made when absent.
    pub dir: PathBuf,
    /// Size of the first segment.
    pub first_segment_bytes: u64,
    /// Size of later segments. A commit larger than a segment gets one of its own size.
    pub segment_bytes: u64,
}

impl WalOptions {
    /// The usual sizes in a directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), first_segment_bytes: FIRST_SEGMENT_BYTES, segment_bytes: SEGMENT_BYTES }
    }
}

/// Proof that an entry is durable. Minted by [`Wal::commit`] alone, after the sync.
///
/// ```compile_fail
/// let forged = store::wal::Receipt { origin: "h/t/n/2026".into(), index: 0, size: 1, root: [0; 32] };
/// ```
/// ```compile_fail
/// fn twice(receipt: store::wal::Receipt) -> (store::wal::Receipt, store::wal::Receipt) {
///     (receipt.clone(), receipt)
/// }
/// ```
// INVARIANT: made only for entries that were synced; no public constructor, no `Clone`, `Default` or `Deserialize`.
#[derive(Debug, Eq, PartialEq)]
pub struct Receipt {
    origin: Arc<str>,
    index: u64,
    size: u64,
    root: Hash,
}

impl Receipt {
    /// Which log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Index of the entry in it.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Size of the log after the commit that holds the entry.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the log at that size.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.root
    }
}

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// Which log; unknown ones are begun.
    pub origin: Arc<str>,
    /// The leaf's bytes.
    pub bytes: &'a [u8],
}

/// A commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room for a new segment. Nothing was written; the next commit tries again.
    #[error("no room for the ledger: {0}")]
    Full(std::io::Error),
    /// A write or sync failed, now or earlier. What is on disk is unknown until recovery; the log takes nothing more.
    #[error("the ledger's device failed")]
    Poisoned,
    /// The batch exceeds a limit of the frame format, or the signer failed. Nothing was written.
    #[error(transparent)]
    Frame(#[from] frame::WriteFrameError),
}

/// The log, open for writing by this process alone.
pub struct Wal {
    options: WalOptions,
    disk: Arc<dyn Disk>,
    signer: Arc<dyn Signer>,
    state: State,
    segment: Box<dyn Device>,
    number: u64,
    offset: u64,
    capacity: u64,
    poisoned: bool,
    /// Memory of the last frame, for the next one.
    frame: Vec<u8>,
    next: Option<JoinHandle<std::io::Result<()>>>,
    /// Held so that no other process writes here; released by the system when this process ends, however it ends.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wal(segment {}, offset {}, next commit {})", self.number, self.offset, self.state.next)
    }
}

impl Wal {
    /// Appends a batch as one commit and makes it durable. Receipts come in the order of the entries.
    ///
    /// # Errors
    /// [`CommitError`]; then no entry of the batch may be taken for recorded.
    pub fn commit(&mut self, batch: &[NewEntry<'_>]) -> Result<Vec<Receipt>, CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        let mut plan = plan(&self.state.logs, batch);
        let entries = std::mem::take(&mut plan.entries);
        let body = Body::Commit { parts: plan.parts(), entries };
        let (mut frame, signer) = (std::mem::take(&mut self.frame), Arc::clone(&self.signer));
        let mut hash = frame::write_into(&mut frame, self.state.next, &self.state.last, &body, signer.as_ref())?;
        if self.offset + frame.len() as u64 > self.capacity {
            self.roll(frame.len() as u64)?;
            hash = frame::write_into(&mut frame, self.state.next, &self.state.last, &body, signer.as_ref())?;
        }
        drop(body);
        let synced = self.segment.write_at(self.offset, &frame).and_then(|()| self.segment.sync());
        if synced.is_err() {
            self.poisoned = true;
            return Err(CommitError::Poisoned);
        }
        self.offset += frame.len() as u64;
        self.state.next += 1;
        self.state.last = hash;
        if frame.capacity() <= FRAME_BYTES_KEPT {
            self.frame = frame;
        }
        let receipts = plan.receipts();
        for log in plan.logs {
            self.state.logs.insert(log.origin.to_string(), log.after);
        }
        self.prepare_next();
        Ok(receipts)
    }

    /// Every log's head. All of it is durable: a log's head moves only after the sync.
    #[must_use]
    pub fn heads(&self) -> Vec<Checkpoint> {
        let heads = self.state.logs.iter();
        heads.map(|(origin, log)| Checkpoint { origin: origin.clone(), size: log.size(), root: log.root() }).collect()
    }

    /// Whether a write or sync has failed; nothing is taken any more.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// Begins the next segment. Until its rename the old one is the last and is whole, so a crash here loses nothing. Only a file
    /// that could not be laid out is tried again, from nothing: after a failed write, sync or rename nobody knows what is on disk.
    fn roll(&mut self, frame_bytes: u64) -> Result<(), CommitError> {
        let number = self.number + 1;
        let logs = self.state.logs.iter().map(|(origin, log)| (origin.as_str(), log.clone())).collect();
        let start = Body::Start { segment: number, logs };
        let start = frame::write(self.state.next, &self.state.last, &start, self.signer.as_ref())?;
        let needed = start.bytes.len() as u64 + frame_bytes;
        let path = spare(&self.options, number);
        let laid_out = self.next.take().is_some_and(|helper| matches!(helper.join(), Ok(Ok(()))));
        let ready = if laid_out { self.disk.open(&path).ok().filter(|(_, length)| *length >= needed) } else { None };
        let (device, capacity) = match ready {
            Some(ready) => ready,
            None => {
                let capacity = self.options.segment_bytes.max(needed);
                (self.disk.create_zeroed(&path, capacity).map_err(CommitError::Full)?, capacity)
            }
        };
        let Ok(segment) = begin_segment(self.disk.as_ref(), &self.options, number, device, &start.bytes) else {
            self.poisoned = true;
            return Err(CommitError::Poisoned);
        };
        (self.segment, self.number, self.capacity) = (segment, number, capacity);
        self.offset = start.bytes.len() as u64;
        self.state.next += 1;
        self.state.last = start.hash;
        Ok(())
    }

    /// Has a helper thread write the zeros of the next segment once this one is half full.
    fn prepare_next(&mut self) {
        if self.next.is_some() || self.offset < self.capacity / 2 {
            return;
        }
        let (disk, options, number) = (self.disk.clone(), self.options.clone(), self.number + 1);
        self.next = std::thread::Builder::new()
            .name("hilum-segment".to_owned())
            .spawn(move || disk.create_zeroed(&spare(&options, number), options.segment_bytes).map(drop))
            .ok();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Some(helper) = self.next.take() {
            let _ = helper.join();
        }
    }
}

/// Path of a segment.
fn segment_path(options: &WalOptions, number: u64) -> PathBuf {
    options.dir.join(format!("{number:08}.wal"))
}

/// Path of a segment that is being made; ignored and removed by recovery.
fn spare(options: &WalOptions, number: u64) -> PathBuf {
    options.dir.join(format!("{number:08}.next"))
}

/// Makes the start frame of a laid-out segment durable, then gives the segment its name.
fn begin_segment(
    disk: &dyn Disk,
    options: &WalOptions,
    number: u64,
    mut device: Box<dyn Device>,
    start: &[u8],
) -> std::io::Result<Box<dyn Device>> {
    device.write_at(0, start)?;
    device.sync()?;
    disk.rename(&spare(options, number), &segment_path(options, number))?;
    Ok(device)
}

/// A batch sorted into logs, with each log's edge after it. Changes nothing until the commit is durable.
struct Plan<'a> {
    logs: Vec<Growth>,
    entries: Vec<Entry<'a>>,
    places: Vec<(usize, u64)>,
}

struct Growth {
    origin: Arc<str>,
    first: u64,
    after: Frontier,
}

fn plan<'a>(logs: &BTreeMap<String, Frontier>, batch: &[NewEntry<'a>]) -> Plan<'a> {
    let mut plan = Plan { logs: Vec::new(), entries: Vec::with_capacity(batch.len()), places: Vec::new() };
    let mut slots: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for entry in batch {
        let slot = *slots.entry(entry.origin.clone()).or_insert_with(|| {
            let after = logs.get(entry.origin.as_ref()).cloned().unwrap_or_default();
            plan.logs.push(Growth { origin: entry.origin.clone(), first: after.size(), after });
            plan.logs.len() - 1
        });
        let Some(log) = plan.logs.get_mut(slot) else { continue };
        plan.places.push((slot, log.after.size()));
        log.after.push(ledger::hash::leaf(entry.bytes));
        // More than 65,535 logs in one batch do not fit a frame; `frame::write` refuses the count.
        plan.entries.push(Entry { part: u16::try_from(slot).unwrap_or(u16::MAX), bytes: entry.bytes });
    }
    plan
}

impl Plan<'_> {
    fn parts(&self) -> Vec<Part<'_>> {
        let part = |log: &Growth| (log.first, log.after.size() - log.first, log.after.root());
        self.logs
            .iter()
            .map(|log| {
                let (first, count, root) = part(log);
                Part { origin: &log.origin, first, count: u32::try_from(count).unwrap_or(u32::MAX), root }
            })
            .collect()
    }

    fn receipts(&self) -> Vec<Receipt> {
        let heads: Vec<_> = self.logs.iter().map(|log| (&log.origin, log.after.size(), log.after.root())).collect();
        let mint = |(slot, index): &(usize, u64)| {
            let (origin, size, root) = heads.get(*slot)?;
            Some(Receipt { origin: (*origin).clone(), index: *index, size: *size, root: *root })
        };
        self.places.iter().filter_map(mint).collect()
    }
}

#[cfg(test)]
mod tests;
