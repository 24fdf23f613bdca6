//! Reading the log while it is written, and verifying it whole. Needs no lock: an unfinished frame at the end is the end.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ledger::frame::{self, Body, FRAME_BYTES_MAX};
use ledger::recover::{Corruption, Damage, State, replay};
use ledger::{Checkpoint, VerifyingKey};

use super::checkpoints;

/// Where an entry stands in the log of all logs: commit number, then place in the commit.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Commit number.
    pub commit: u64,
    /// Place in it.
    pub place: u32,
}

/// An entry as stored.
#[derive(Clone, Debug)]
pub struct StoredEntry<'a> {
    /// Where.
    pub position: Position,
    /// Which log.
    pub origin: &'a str,
    /// Index in that log.
    pub index: u64,
    /// The leaf's bytes.
    pub bytes: &'a [u8],
}

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadWalError {
    /// The system's reason.
    #[error("the ledger cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The segments of a directory, to read.
#[derive(Clone, Debug)]
pub struct Segments(Vec<(u64, PathBuf)>);

impl Segments {
    /// Finds the segments there are.
    ///
    /// # Errors
    /// [`ReadWalError`].
    pub fn find(dir: &Path) -> Result<Self, ReadWalError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "wal") {
                found.extend(number_of(&path).map(|number| (number, path)));
            }
        }
        found.sort();
        Ok(Self(found))
    }

    /// Their numbers, oldest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.0.iter().map(|(number, _)| *number).collect()
    }

    /// Shows every entry of one segment in order until `each` answers `false`. Holds one frame in memory. Stops quietly at the
    /// first bytes that are no frame: on a log being written that is its end. [`verify`] tells an end from damage.
    ///
    /// # Errors
    /// [`ReadWalError`].
    pub fn read(&self, number: u64, each: &mut dyn FnMut(StoredEntry<'_>) -> bool) -> Result<(), ReadWalError> {
        let Some((_, path)) = self.0.iter().find(|(known, _)| *known == number) else { return Ok(()) };
        let mut file = io::BufReader::with_capacity(256 * 1024, File::open(path)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let head = io::Read::by_ref(&mut file).take(12).read_to_end(&mut bytes)?;
            let Ok(length) = frame::length(&bytes) else { return Ok(()) };
            if head < 12 || length > FRAME_BYTES_MAX {
                return Ok(());
            }
            io::Read::by_ref(&mut file).take((length - 12) as u64).read_to_end(&mut bytes)?;
            let Ok(frame) = frame::read(&bytes) else { return Ok(()) };
            let Body::Commit { parts, entries } = &frame.body else { continue };
            let mut next: Vec<u64> = parts.iter().map(|part| part.first).collect();
            for (place, entry) in entries.iter().enumerate() {
                let slot = usize::from(entry.part);
                let (Some(part), Some(index)) = (parts.get(slot), next.get_mut(slot)) else { continue };
                let position = Position { commit: frame.number, place: u32::try_from(place).unwrap_or(u32::MAX) };
                let stored = StoredEntry { position, origin: part.origin, index: *index, bytes: entry.bytes };
                *index += 1;
                if !each(stored) {
                    return Ok(());
                }
            }
        }
    }
}

pub(super) fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What a whole verification found to be true.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Segments read.
    pub segments: u64,
    /// Commits read.
    pub commits: u64,
    /// Entries read.
    pub entries: u64,
    /// Head of each log.
    pub heads: Vec<Checkpoint>,
    /// Bytes after the last valid frame that are not zero: a commit that was cut off, or a damaged last one.
    pub torn_bytes: usize,
    /// Checkpoint files that do not verify.
    pub damaged_checkpoints: Vec<&'static str>,
}

/// Why a log is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyWalError {
    /// The system's reason.
    #[error("the ledger cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A segment is missing.
    #[error("segment {0} of the ledger is missing")]
    Missing(u64),
    /// A segment is damaged.
    #[error("segment {segment} of the ledger is damaged: {corruption}")]
    Corrupt {
        /// Which.
        segment: u64,
        /// How.
        corruption: Corruption,
    },
    /// The log does not contain what a checkpoint signed.
    #[error("`{origin}` has no history that fits its checkpoint of {size} entries")]
    Checkpoint {
        /// Which log.
        origin: String,
        /// Entries of the checkpoint.
        size: u64,
    },
}

/// Verifies every frame, root, chain link and signature from the first entry on, and that every checkpoint (those in the directory
/// and those given) is a prefix of what is there. Reads only; holds one segment in memory.
///
/// # Errors
/// [`VerifyWalError`].
pub fn verify(dir: &Path, key: &VerifyingKey, given: &[Checkpoint]) -> Result<Verified, VerifyWalError> {
    let held = checkpoints::read(dir, key)?;
    let mut wanted: Vec<Checkpoint> = held.heads;
    wanted.extend_from_slice(given);
    let mut verified = Verified { damaged_checkpoints: held.damaged, ..Verified::default() };
    let segments = Segments::find(dir).map_err(|ReadWalError::Io(why)| why)?;
    let mut state = State::default();
    let mut met = vec![false; wanted.len()];
    for (at, (number, path)) in segments.0.iter().enumerate() {
        let expected = at as u64 + 1;
        if *number != expected {
            return Err(VerifyWalError::Missing(expected));
        }
        if verified.torn_bytes > 0 {
            let corruption = Corruption { at: 0, damage: Damage::Middle };
            return Err(VerifyWalError::Corrupt { segment: *number - 1, corruption });
        }
        let corrupt = |corruption| VerifyWalError::Corrupt { segment: *number, corruption };
        let bytes = std::fs::read(path)?;
        let end = replay(&bytes, &mut state, key, &mut |_, frame, state| {
            if let Body::Commit { entries, .. } = &frame.body {
                verified.commits += 1;
                verified.entries += entries.len() as u64;
            }
            for (head, met) in wanted.iter().zip(&mut met).filter(|(_, met)| !**met) {
                *met =
                    state.logs.get(&head.origin).is_some_and(|log| log.size() == head.size && log.root() == head.root);
            }
        })
        .map_err(corrupt)?;
        if end.at == 0 {
            return Err(corrupt(Corruption { at: 0, damage: Damage::Start }));
        }
        verified.torn_bytes = end.torn;
        verified.segments += 1;
    }
    if let Some((head, _)) = wanted.iter().zip(&met).find(|(head, met)| !**met && head.size > 0) {
        return Err(VerifyWalError::Checkpoint { origin: head.origin.clone(), size: head.size });
    }
    let heads = state.logs.iter();
    verified.heads =
        heads.map(|(origin, log)| Checkpoint { origin: origin.clone(), size: log.size(), root: log.root() }).collect();
    Ok(verified)
}
