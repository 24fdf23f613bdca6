//! Recovery over bytes: which frames of a segment stand, what state they leave, and whether what follows is a torn tail or damage.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::{self, Body, Entry, Frame, InvalidFrame, MAGIC, Part};
use crate::hash::{self, Hash};
use crate::sign::VerifyingKey;
use crate::tree::Frontier;

/// Most bytes checksummed while looking for a valid frame behind a bad one; a tail that needs more is taken for damage.
/// A torn tail is one unsynced commit of at most 1 MiB, so 64 passes over 16 MiB are far more than an honest one takes.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// Where the write-ahead log stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Number of the next frame.
    pub next: u64,
    /// Hash of the last frame.
    pub last: Hash,
    /// Right edge of each log by origin.
    pub logs: BTreeMap<String, Frontier>,
}

/// What is wrong with a well-formed frame at its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    /// A frame is damaged and a valid one follows it.
    #[error("a damaged frame is followed by a valid one")]
    Middle,
    /// A frame of a version this program does not know: written by a newer one, and never to be taken for a torn tail.
    #[error("a frame has a version this program does not know")]
    Version,
    /// A segment does not begin with a start frame.
    #[error("the segment does not begin with a start frame")]
    Start,
    /// The frame's number does not follow.
    #[error("a frame is missing or repeated")]
    Number,
    /// The frame does not name the one before it.
    #[error("the chain of frames is broken")]
    Chain,
    /// A log's index does not follow.
    #[error("entries are missing or repeated")]
    Index,
    /// A root is not the root of the entries.
    #[error("a root does not fit the entries")]
    Root,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
}

/// Damage and where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{damage} (at byte {at})")]
pub struct Corruption {
    /// Byte offset in the segment.
    pub at: usize,
    /// What.
    pub damage: Damage,
}

/// Where the valid frames end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// First byte after the last valid frame.
    pub at: usize,
    /// Bytes after it that are not zero (up to the last such byte): the remains of a commit nobody was told of. To be zeroed.
    pub torn: usize,
}

impl State {
    /// Checks that a frame fits here and takes it over. The signature is checked for start frames; see [`replay`] for the rest.
    ///
    /// # Errors
    /// [`Damage`]; the state may then be half changed and is of no further use.
    pub fn apply(&mut self, frame: &Frame<'_>, key: &VerifyingKey) -> Result<(), Damage> {
        if frame.number != self.next {
            return Err(Damage::Number);
        }
        if frame.prev != self.last {
            return Err(Damage::Chain);
        }
        match &frame.body {
            Body::Start { logs, .. } => {
                let same = logs.len() == self.logs.len()
                    && logs.iter().all(|(origin, frontier)| self.logs.get(*origin) == Some(frontier));
                if !same {
                    return Err(Damage::Root);
                }
                if !frame.signed_by(key) {
                    return Err(Damage::Signature);
                }
            }
            Body::Commit { parts, entries } => self.grow(parts, entries)?,
        }
        self.next = frame.number.wrapping_add(1);
        self.last = frame.hash;
        Ok(())
    }

    fn grow(&mut self, parts: &[Part<'_>], entries: &[Entry<'_>]) -> Result<(), Damage> {
        // One part per log: two would give one index two meanings.
        let origins: BTreeSet<&str> = parts.iter().map(|part| part.origin).collect();
        if origins.len() != parts.len() {
            return Err(Damage::Index);
        }
        let mut logs = Vec::with_capacity(parts.len());
        for part in parts {
            let log = self.logs.remove(part.origin).unwrap_or_default();
            if log.size() != part.first {
                return Err(Damage::Index);
            }
            logs.push(log);
        }
        for entry in entries {
            if let Some(log) = logs.get_mut(usize::from(entry.part)) {
                log.push(hash::leaf(entry.bytes));
            }
        }
        for (part, log) in parts.iter().zip(logs) {
            if log.root() != part.root {
                return Err(Damage::Root);
            }
            self.logs.insert(part.origin.to_owned(), log);
        }
        Ok(())
    }

    /// The state a start frame writes down, if `key` signed it.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn at_start(frame: &Frame<'_>, key: &VerifyingKey) -> Result<Self, Damage> {
        let Body::Start { logs, .. } = &frame.body else { return Err(Damage::Start) };
        let logs = logs.iter().map(|(origin, frontier)| ((*origin).to_owned(), frontier.clone())).collect();
        let mut state = Self { next: frame.number, last: frame.prev, logs };
        state.apply(frame, key)?;
        Ok(state)
    }
}

/// Applies all frames of a segment's bytes. `each` sees every frame, its offset, and the state after it.
///
/// The chain of hashes is checked frame by frame and the last signature at the end; it vouches for all before it.
///
/// # Errors
/// [`Corruption`]: damage that is not the torn end of an unacknowledged commit.
pub fn replay(
    bytes: &[u8],
    state: &mut State,
    key: &VerifyingKey,
    each: &mut dyn FnMut(usize, &Frame<'_>, &State),
) -> Result<End, Corruption> {
    let (mut at, mut last) = (0, None);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let frame = match frame::read(rest) {
            Ok(frame) => frame,
            // A torn write leaves the version or zero, never another number.
            Err(InvalidFrame::Version) if rest.get(MAGIC.len()).is_some_and(|version| *version != 0) => {
                return Err(Corruption { at, damage: Damage::Version });
            }
            Err(_) => {
                let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                if torn > 0 && valid_frame_follows(rest, state.next, key) {
                    return Err(Corruption { at, damage: Damage::Middle });
                }
                if last.as_ref().is_some_and(|frame: &Frame<'_>| !frame.signed_by(key)) {
                    return Err(Corruption { at, damage: Damage::Signature });
                }
                return Ok(End { at, torn });
            }
        };
        if at == 0 && !matches!(frame.body, Body::Start { .. }) {
            return Err(Corruption { at, damage: Damage::Start });
        }
        state.apply(&frame, key).map_err(|damage| Corruption { at, damage })?;
        each(at, &frame, state);
        at += frame.length;
        last = Some(frame);
    }
}

/// Whether a frame that this log signed, and that comes later than what was read, stands somewhere behind a bad one.
fn valid_frame_follows(bytes: &[u8], next: u64, key: &VerifyingKey) -> bool {
    let mut budget = SEARCH_BYTES_MAX;
    for (at, window) in bytes.windows(MAGIC.len()).enumerate().skip(1) {
        if window != MAGIC {
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let Ok(length) = frame::length(rest) else { continue };
        let Some(left) = budget.checked_sub(length) else { return true };
        budget = left;
        if frame::read(rest).is_ok_and(|frame| frame.number >= next && frame.signed_by(key)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
