//! Spools: bodies too large for memory, on disk, sealed under a key that lives only as long as they do.
//!
//! The file has no name from its first byte on, and holds chunks of 64 KiB under AES-256-GCM with a fresh key for each spool.
//! Place and end are part of each nonce, so what was reordered, cut off, swapped or changed does not open. The key is never
//! written anywhere: after a crash the blocks on the disk are noise. What a crash can leave in the folder is an empty file, if
//! it comes between making the file and taking its name away.

mod body;
mod chunk;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::random;
use chunk::{ChunkKey, Position, TAG_BYTES};

pub use body::SpoolBody;

/// Plain bytes of a chunk. A spool holds one in memory; sealing 64 KiB takes about as long as handing it to a thread.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Why a spool cannot go on. Says nothing of what it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpoolError {
    /// All spools together hold as much as they may, or the disk is full.
    #[error("there is no room for more spools")]
    Full,
    /// This spool holds more than it may.
    #[error("the spool is too large")]
    TooLarge,
    /// The file system, or the random source, failed.
    #[error("the spool failed: {0}")]
    Io(ErrorKind),
    /// The file does not hold what was written.
    #[error("the spool was changed")]
    Tampered,
}

impl From<std::io::Error> for SpoolError {
    fn from(why: std::io::Error) -> Self {
        match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Io(kind),
        }
    }
}

/// Where spools are made, and how much of the disk they take together. Cheap to clone; the room is shared.
#[derive(Clone, Debug)]
pub struct Spools {
    dir: Arc<Path>,
    /// One permit for each chunk.
    room: Arc<Semaphore>,
}

impl Spools {
    /// Spools in `dir`, which exists, of at most `bytes_max` together.
    #[must_use]
    pub fn new(dir: &Path, bytes_max: u64) -> Self {
        let chunks = usize::try_from(bytes_max / CHUNK_BYTES as u64).unwrap_or(usize::MAX);
        Self { dir: dir.into(), room: Arc::new(Semaphore::new(chunks.min(Semaphore::MAX_PERMITS))) }
    }

    /// An empty spool for at most `bytes_max`. Never waits: two that wait for each other's room would wait for ever. The disk
    /// is touched only when the first chunk is full.
    ///
    /// # Errors
    /// [`SpoolError::Full`], or [`SpoolError::Io`] when the random source fails.
    pub fn create(&self, bytes_max: u64) -> Result<SpoolWriter, SpoolError> {
        let held = self.hold()?;
        Ok(SpoolWriter {
            spools: self.clone(),
            held,
            key: ChunkKey::random()?,
            file: None,
            chunk: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES),
            chunks: 0,
            length: 0,
            bytes_max,
            failed: None,
        })
    }

    fn hold(&self) -> Result<OwnedSemaphorePermit, SpoolError> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| SpoolError::Full)
    }

    fn file(&self) -> Result<File, SpoolError> {
        let name = random::<16>().map_err(|_| SpoolError::Io(ErrorKind::Other))?;
        let path = self.dir.join(format!("spool-{:032x}", u128::from_be_bytes(name)));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }
}

/// A spool being written. Dropped, it leaves nothing.
pub struct SpoolWriter {
    spools: Spools,
    held: OwnedSemaphorePermit,
    key: ChunkKey,
    file: Option<File>,
    /// The plain bytes of the chunk at `chunks`; full ones wait for the next byte, since the last chunk is sealed as such.
    chunk: Vec<u8>,
    chunks: u64,
    length: u64,
    bytes_max: u64,
    // INVARIANT: once set, nothing succeeds any more; so no nonce is used twice, and no spool lacks a part.
    failed: Option<SpoolError>,
}

/// Holds PHI: debug output shows none of it.
impl std::fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpoolWriter([sealed])")
    }
}

impl SpoolWriter {
    /// Appends `bytes`, on a thread that may block.
    ///
    /// # Errors
    /// The first [`SpoolError`], now and at every later call.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let written = self.take(bytes);
        self.failed = written.err();
        written
    }

    /// Ends it, on a thread that may block.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn seal(mut self) -> Result<Spool, SpoolError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let file = self.flush(Position::Last)?;
        Ok(Spool {
            file,
            key: self.key,
            chunk: self.chunk,
            loaded: None,
            chunks: self.chunks,
            length: self.length,
            _held: self.held,
        })
    }

    /// Appends `bytes`; the disk is another thread's work. Dropped half-way, the spool is gone with it.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn append(mut self, bytes: Bytes) -> Result<Self, SpoolError> {
        if self.chunk.len() + bytes.len() <= CHUNK_BYTES {
            self.write(&bytes)?;
            return Ok(self);
        }
        blocking(move || {
            self.write(&bytes)?;
            Ok(self)
        })
        .await
    }

    /// Ends it; the disk is another thread's work.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn finish(self) -> Result<Spool, SpoolError> {
        blocking(move || self.seal()).await
    }

    /// How many bytes were appended.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        let length = self.length.saturating_add(bytes.len() as u64);
        if length > self.bytes_max {
            return Err(SpoolError::TooLarge);
        }
        while !bytes.is_empty() {
            if self.chunk.len() >= CHUNK_BYTES {
                self.held.merge(self.spools.hold()?);
                let file = self.flush(Position::Inner)?;
                self.file = Some(file);
            }
            let (now, later) =
                bytes.split_at_checked(CHUNK_BYTES.saturating_sub(self.chunk.len())).unwrap_or((bytes, &[]));
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        self.length = length;
        Ok(())
    }

    fn flush(&mut self, position: Position) -> Result<File, SpoolError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.spools.file()?,
        };
        self.key.seal(self.chunks, position, &mut self.chunk)?;
        file.write_all(&self.chunk)?;
        self.chunk.clear();
        self.chunks += 1;
        Ok(file)
    }
}

/// A sealed spool: whole, and to be read as often as one likes, on a thread that may block. Its file goes when it is dropped.
pub struct Spool {
    file: File,
    key: ChunkKey,
    /// The chunk read last: entries are read in order, and many lie in one.
    chunk: Vec<u8>,
    loaded: Option<u64>,
    chunks: u64,
    length: u64,
    _held: OwnedSemaphorePermit,
}

/// Holds PHI: debug output shows none of it.
impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spool([sealed])")
    }
}

impl Spool {
    /// How many bytes it holds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The chunk at `index`, counted from 0; none behind the last. All but the last have [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// [`SpoolError::Tampered`] or [`SpoolError::Io`].
    pub fn chunk(&mut self, index: u64) -> Result<Option<&[u8]>, SpoolError> {
        if index >= self.chunks {
            return Ok(None);
        }
        self.load(index)?;
        Ok(Some(&self.chunk))
    }

    /// Appends the bytes of `range` to `out`; what is behind the end is an error.
    ///
    /// # Errors
    /// [`SpoolError::Tampered`] or [`SpoolError::Io`].
    pub fn read(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), SpoolError> {
        const OUTSIDE: SpoolError = SpoolError::Io(ErrorKind::UnexpectedEof);
        if range.start > range.end || range.end > self.length {
            return Err(OUTSIDE);
        }
        let mut at = range.start;
        while at < range.end {
            let (index, skip) = (at / CHUNK_BYTES as u64, at % CHUNK_BYTES as u64);
            self.load(index)?;
            let behind = skip.saturating_add(range.end - at).min(self.chunk.len() as u64);
            let bytes = usize::try_from(skip).ok().zip(usize::try_from(behind).ok());
            let part = bytes.and_then(|(skip, behind)| self.chunk.get(skip..behind)).unwrap_or_default();
            if part.is_empty() {
                return Err(OUTSIDE);
            }
            out.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok(())
    }

    /// The chunk at `index`, to keep.
    fn take_chunk(&mut self, index: u64) -> Result<Bytes, SpoolError> {
        self.load(index)?;
        self.loaded = None;
        Ok(Bytes::from(std::mem::take(&mut self.chunk)))
    }

    fn load(&mut self, index: u64) -> Result<(), SpoolError> {
        if self.loaded == Some(index) {
            return Ok(());
        }
        self.loaded = None;
        let last = self.chunks.saturating_sub(1);
        let start = index.saturating_mul(CHUNK_BYTES as u64);
        let position = if index == last { Position::Last } else { Position::Inner };
        let plain = usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        self.chunk.clear();
        self.chunk.resize(plain + TAG_BYTES, 0);
        self.file.seek(SeekFrom::Start(index.saturating_mul((CHUNK_BYTES + TAG_BYTES) as u64)))?;
        self.file.read_exact(&mut self.chunk).map_err(|why| match why.kind() {
            ErrorKind::UnexpectedEof => SpoolError::Tampered,
            _ => why.into(),
        })?;
        self.key.open(index, position, &mut self.chunk)?;
        self.loaded = Some(index);
        Ok(())
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SpoolError::Io(ErrorKind::Other)))
}

#[cfg(test)]
mod tests;
