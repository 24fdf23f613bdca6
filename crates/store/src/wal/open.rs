//! Opening: lock, recover the last segment, compare with the checkpoints held, zero a torn tail.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use ledger::frame::{self, Body};
use ledger::recover::{Corruption, Damage, State, replay};
use ledger::{Checkpoint, Signer};

use super::checkpoints::{self, Checkpoints};
use super::device::Disk;
use super::{Wal, WalOptions, begin_segment, segment_path};

/// Why a log does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenWalError {
    /// The directory or a file cannot be used.
    #[error("the ledger folder cannot be used: {0}")]
    Io(#[from] io::Error),
    /// Another process writes here.
    #[error("another process has this ledger open")]
    Locked,
    /// A segment is damaged.
    #[error("segment {segment} of the ledger is damaged: {corruption}")]
    Corrupt {
        /// Which.
        segment: u64,
        /// How.
        corruption: Corruption,
    },
    /// A log is shorter than a checkpoint of it that was signed.
    #[error("the ledger was rolled back: `{origin}` has {found} entries, a checkpoint has {held}")]
    RolledBack {
        /// Which log.
        origin: String,
        /// Entries found.
        found: u64,
        /// Entries of the checkpoint.
        held: u64,
    },
    /// A log has another history than a checkpoint of it that was signed.
    #[error("the ledger was rewritten: `{origin}` does not have the root that its checkpoint of {held} entries signed")]
    Rewritten {
        /// Which log.
        origin: String,
        /// Entries of the checkpoint.
        held: u64,
    },
    /// Both checkpoint files are damaged.
    #[error("both checkpoint files of the ledger are damaged")]
    Checkpoints,
    /// The first frame could not be made.
    #[error(transparent)]
    Frame(#[from] frame::WriteFrameError),
}

/// What recovery found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Bytes of a torn tail that were zeroed.
    pub torn_bytes: usize,
    /// Checkpoint files that exist and do not verify; the other place was good.
    pub damaged_checkpoints: Vec<&'static str>,
    /// The last entry's bytes, if the last segment has one; by it the ledger's clock goes on.
    pub last_entry: Option<Vec<u8>>,
}

impl Wal {
    /// Opens or begins the log in a directory.
    ///
    /// # Errors
    /// [`OpenWalError`].
    pub fn open(
        options: WalOptions,
        signer: Arc<dyn Signer>,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Checkpoints, Recovered), OpenWalError> {
        make_private(&options.dir)?;
        let lock = lock(&options.dir)?;
        let key = signer.verifying_key();
        let held = checkpoints::read(&options.dir, &key)?;
        if held.damaged.len() == 2 {
            return Err(OpenWalError::Checkpoints);
        }
        let mut recovered = Recovered { damaged_checkpoints: held.damaged, ..Recovered::default() };
        let checkpoints = Checkpoints::new(options.dir.clone(), disk.clone(), signer.clone());
        let number = remove_spares_and_find_last(&options.dir)?;
        let wal = match number {
            Some(number) => recover(options, signer, disk, lock, number, &held.heads, &mut recovered)?,
            None => {
                refuse_rollback(&State::default(), &held.heads)?;
                begin(options, signer, disk, lock)?
            }
        };
        Ok((wal, checkpoints, recovered))
    }
}

/// Every log must have reached every checkpoint that was signed of it.
fn refuse_rollback(state: &State, held: &[Checkpoint]) -> Result<(), OpenWalError> {
    for head in held {
        let found = state.logs.get(&head.origin).map_or(0, ledger::Frontier::size);
        if found < head.size {
            return Err(OpenWalError::RolledBack { origin: head.origin.clone(), found, held: head.size });
        }
    }
    Ok(())
}

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn lock(dir: &Path) -> Result<File, OpenWalError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenWalError::Locked),
        Err(TryLockError::Error(why)) => Err(why.into()),
    }
}

/// Removes segments that never got their name and gives the number of the last one that did.
fn remove_spares_and_find_last(dir: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|end| end.to_str()) {
            Some("next") => std::fs::remove_file(&path)?,
            Some("wal") => last = last.max(super::read::number_of(&path)),
            _ => {}
        }
    }
    Ok(last)
}

fn begin(options: WalOptions, signer: Arc<dyn Signer>, disk: Arc<dyn Disk>, lock: File) -> Result<Wal, OpenWalError> {
    let start = frame::write(0, &[0; 32], &Body::Start { segment: 1, logs: Vec::new() }, signer.as_ref())?;
    let capacity = options.first_segment_bytes.max(start.bytes.len() as u64);
    let device = disk.create_zeroed(&super::spare(&options, 1), capacity)?;
    let segment = begin_segment(disk.as_ref(), &options, 1, device, &start.bytes)?;
    let state = State { next: 1, last: start.hash, ..State::default() };
    let offset = start.bytes.len() as u64;
    Ok(Wal {
        options,
        disk,
        signer,
        state,
        segment,
        number: 1,
        offset,
        capacity,
        poisoned: false,
        frame: Vec::new(),
        next: None,
        _lock: lock,
    })
}

fn recover(
    options: WalOptions,
    signer: Arc<dyn Signer>,
    disk: Arc<dyn Disk>,
    lock: File,
    number: u64,
    held: &[Checkpoint],
    recovered: &mut Recovered,
) -> Result<Wal, OpenWalError> {
    let key = signer.verifying_key();
    let bytes = std::fs::read(segment_path(&options, number))?;
    let corrupt = |corruption| OpenWalError::Corrupt { segment: number, corruption };
    // A segment gets its name only once its start frame is durable, so a bad one is damage, never a torn write.
    let first = |damage| corrupt(Corruption { at: 0, damage });
    let start = frame::read(&bytes).map_err(|_| first(Damage::Start))?;
    let mut state = State::at_start(&start, &key).map_err(first)?;
    (state.next, state.last) = (start.number, start.prev);
    let mut rewritten = None;
    let end = replay(&bytes, &mut state, &key, &mut |_, frame, state| {
        if let Body::Commit { entries, .. } = &frame.body {
            recovered.last_entry = entries.last().map(|entry| entry.bytes.to_vec());
        }
        // Checkpoints are of sizes that commits ended at, so the root at that very size is seen here.
        let other = |head: &&Checkpoint| {
            state.logs.get(&head.origin).is_some_and(|log| log.size() == head.size && log.root() != head.root)
        };
        rewritten = rewritten.take().or_else(|| held.iter().find(other).cloned());
    })
    .map_err(corrupt)?;
    if let Some(Checkpoint { origin, size, .. }) = rewritten {
        return Err(OpenWalError::Rewritten { origin, held: size });
    }
    refuse_rollback(&state, held)?;
    let (mut segment, capacity) = disk.open(&segment_path(&options, number))?;
    if end.torn > 0 {
        segment.write_at(end.at as u64, &vec![0; end.torn])?;
        segment.sync()?;
        recovered.torn_bytes = end.torn;
    }
    let offset = end.at as u64;
    Ok(Wal {
        options,
        disk,
        signer,
        state,
        segment,
        number,
        offset,
        capacity,
        poisoned: false,
        frame: Vec::new(),
        next: None,
        _lock: lock,
    })
}
