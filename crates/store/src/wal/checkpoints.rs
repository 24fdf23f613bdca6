//! Signed heads of all logs, kept in two files: what recovery must reach. Written for durable sizes only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::note::NoteKey;
use ledger::{Checkpoint, Signer, VerifyingKey};

use super::device::Disk;

/// The two places.
const PLACES: [&str; 2] = ["checkpoints.a", "checkpoints.b"];
/// Longest file read: `LOGS_MAX` notes of about 1 KiB, rounded up.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Separates the notes of a file. A note has no such line: its lines start with an origin, a digit, base64 or a dash.
const SEPARATOR: &str = "\n=\n";

/// Checkpoints could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk failed.
    #[error("a checkpoint could not be written: {0}")]
    Disk(#[from] io::Error),
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] ledger::SignError),
}

/// Writes checkpoints of one ledger directory; usable from another thread than the log's.
pub struct Checkpoints {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    signer: Arc<dyn Signer>,
}

impl Checkpoints {
    pub(super) fn new(dir: PathBuf, disk: Arc<dyn Disk>, signer: Arc<dyn Signer>) -> Self {
        Self { dir, disk, signer }
    }

    /// Signs and writes these heads to both places, one after the other: a crash leaves at least one whole.
    ///
    /// # Errors
    /// [`CheckpointError`]. The log itself is not affected.
    pub fn write(&self, heads: &[Checkpoint]) -> Result<(), CheckpointError> {
        let notes = heads.iter().map(|head| head.sign(self.signer.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let text = notes.join(SEPARATOR);
        for place in PLACES {
            self.disk.replace(&self.dir.join(place), text.as_bytes())?;
        }
        Ok(())
    }
}

/// What the two places hold.
pub(super) struct Held {
    /// The larger of each log's two heads.
    pub(super) heads: Vec<Checkpoint>,
    /// Places that exist and do not verify.
    pub(super) damaged: Vec<&'static str>,
}

/// Reads both places. Nothing there is a new ledger. One damaged place is reported; two are for the caller to refuse.
pub(super) fn read(dir: &Path, key: &VerifyingKey) -> io::Result<Held> {
    let mut held = Held { heads: Vec::new(), damaged: Vec::new() };
    for place in PLACES {
        let path = dir.join(place);
        match std::fs::metadata(&path) {
            Ok(file) if file.len() > FILE_BYTES_MAX => held.damaged.push(place),
            Ok(_) => match std::fs::read_to_string(&path).ok().and_then(|text| parse(&text, key)) {
                Some(heads) => heads.into_iter().for_each(|head| keep_larger(&mut held.heads, head)),
                None => held.damaged.push(place),
            },
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
    }
    Ok(held)
}

fn parse(text: &str, key: &VerifyingKey) -> Option<Vec<Checkpoint>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(SEPARATOR).map(|note| open(note, key)).collect()
}

fn open(note: &str, key: &VerifyingKey) -> Option<Checkpoint> {
    // The note's lost newline went into the separator, but for the last one.
    let note = if note.ends_with('\n') { note.to_owned() } else { format!("{note}\n") };
    let name = note.lines().next()?.to_owned();
    Checkpoint::open(&note, &NoteKey { name, key: *key }).ok()
}

fn keep_larger(heads: &mut Vec<Checkpoint>, head: Checkpoint) {
    match heads.iter_mut().find(|held| held.origin == head.origin) {
        Some(held) if held.size >= head.size => {}
        Some(held) => *held = head,
        None => heads.push(head),
    }
}
