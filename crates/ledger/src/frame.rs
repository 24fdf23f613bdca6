//! One frame of the write-ahead log. A commit frame serves many logs with one write and one sync; a start frame opens a segment.
//!
//! All numbers big-endian:
//! ```text
//! 0  magic "HWAL"  4 version 1  5 kind (0 commit, 1 start)  6 zero u16  8 length u32 (whole frame)  12 crc32c u32 (all other bytes)
//! 16 commit number u64  24 hash of the frame before [32]  56 body …  end-64 commit_sig
//! commit: u16 logs × (u16 length, origin, u64 first index, u32 count, root [32] after)  u32 entries × (u16 log, u16 length, bytes)
//! start:  u64 segment number  u32 logs × (u16 length, origin, u64 size, one hash per set bit of size)
//! ```
//! `commit_sig` is Ed25519 over `audit-wal/v1\0` and the hash of everything before it: its own domain, so that a torn frame can
//! never pose as a second checkpoint. A frame's hash covers its signature, so the last signature vouches for all frames before.

use crate::hash::{Hash, sha256_of};
use crate::sign::{SIGNATURE_BYTES, SignError, Signer, VerifyingKey};
use crate::tree::Frontier;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"HWAL";
/// Version this code writes.
pub const VERSION: u8 = 1;
/// Longest entry: what a C2SP entry bundle can hold.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Most entries in one commit; four times what a batch gathers.
pub const ENTRIES_MAX: usize = 4_096;
/// Most logs one write-ahead log serves: 2,000 tenants over two years.
pub const LOGS_MAX: usize = 4_096;
/// Longest origin.
pub const ORIGIN_BYTES_MAX: usize = 512;
/// Longest frame: a start frame of `LOGS_MAX` logs of 512 + 10 + 64 × 32 bytes, rounded up.
pub const FRAME_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 56;
const FRAME_BYTES_MIN: usize = HEADER_BYTES + SIGNATURE_BYTES;
const DOMAIN: &[u8] = b"audit-wal/v1\0";
const KIND_COMMIT: u8 = 0;
const KIND_START: u8 = 1;

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidFrame {
    /// They do not start like one.
    #[error("no frame starts here")]
    Magic,
    /// Another version.
    #[error("the frame has a version this program does not know")]
    Version,
    /// The length is out of bounds or goes past the end.
    #[error("the frame's length is wrong")]
    Length,
    /// The checksum does not fit.
    #[error("the frame's checksum does not fit")]
    Checksum,
    /// The checksum fits and the content does not.
    #[error("the frame's content is not well formed")]
    Body,
}

/// A frame could not be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteFrameError {
    /// Something exceeds its limit.
    #[error("the commit exceeds a limit of the frame format")]
    TooLarge,
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What one commit adds to one log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part<'a> {
    /// Which log.
    pub origin: &'a str,
    /// Index of its first new entry.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Its root after them.
    pub root: Hash,
}

/// One entry and the part it belongs to; indices count up from the part's `first`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// Index into the commit's parts.
    pub part: u16,
    /// The leaf's bytes.
    pub bytes: &'a [u8],
}

/// What a frame says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body<'a> {
    /// New entries.
    Commit {
        /// The logs that grow.
        parts: Vec<Part<'a>>,
        /// The entries, in order.
        entries: Vec<Entry<'a>>,
    },
    /// The beginning of a segment: where every log stands, so that recovery reads one segment only.
    Start {
        /// Number of the segment.
        segment: u64,
        /// Each log's right edge.
        logs: Vec<(&'a str, Frontier)>,
    },
}

/// A well-formed frame. Whether it fits its place in the log is for [`crate::recover`] to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Commit number; frames count up by one.
    pub number: u64,
    /// Hash of the frame before.
    pub prev: Hash,
    /// What it says.
    pub body: Body<'a>,
    /// Its own hash, for the next frame.
    pub hash: Hash,
    /// Bytes it takes.
    pub length: usize,
    signed: Hash,
    signature: [u8; SIGNATURE_BYTES],
}

impl Frame<'_> {
    /// Whether `key` signed it.
    #[must_use]
    pub fn signed_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(&[DOMAIN, &self.signed].concat(), &self.signature)
    }
}

/// Reads the frame at the start of `bytes`; what follows it is not looked at. Never panics, whatever the bytes.
///
/// # Errors
/// [`InvalidFrame`].
pub fn read(bytes: &[u8]) -> Result<Frame<'_>, InvalidFrame> {
    let length = length(bytes)?;
    let frame = bytes.get(..length).ok_or(InvalidFrame::Length)?;
    let (before_crc, rest) = frame.split_first_chunk::<12>().ok_or(InvalidFrame::Length)?;
    let (crc, after_crc) = rest.split_first_chunk::<4>().ok_or(InvalidFrame::Length)?;
    if crc32c::crc32c_append(crc32c::crc32c(before_crc), after_crc) != u32::from_be_bytes(*crc) {
        return Err(InvalidFrame::Checksum);
    }
    let (content, signature) = after_crc.split_last_chunk::<SIGNATURE_BYTES>().ok_or(InvalidFrame::Length)?;
    let mut reader = Reader(content);
    let (number, prev) = (reader.u64()?, reader.hash()?);
    let body = match before_crc {
        [_, _, _, _, _, KIND_COMMIT, 0, 0, ..] => read_commit(&mut reader)?,
        [_, _, _, _, _, KIND_START, 0, 0, ..] => read_start(&mut reader)?,
        _ => return Err(InvalidFrame::Body),
    };
    if !reader.0.is_empty() {
        return Err(InvalidFrame::Body);
    }
    let signed = sha256_of(&[before_crc, content]);
    let hash = sha256_of(&[&signed, signature]);
    Ok(Frame { number, prev, body, hash, length, signed, signature: *signature })
}

/// The length a frame claims, from its first 12 bytes; so that a reader knows how much to fetch.
///
/// # Errors
/// [`InvalidFrame`] when no frame of a known version starts here or the length is out of bounds.
pub fn length(bytes: &[u8]) -> Result<usize, InvalidFrame> {
    let [m0, m1, m2, m3, version, _, _, _, l0, l1, l2, l3, ..] = bytes else { return Err(InvalidFrame::Magic) };
    if [*m0, *m1, *m2, *m3] != MAGIC {
        return Err(InvalidFrame::Magic);
    }
    if *version != VERSION {
        return Err(InvalidFrame::Version);
    }
    let length = usize::try_from(u32::from_be_bytes([*l0, *l1, *l2, *l3])).map_err(|_| InvalidFrame::Length)?;
    if (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) { Ok(length) } else { Err(InvalidFrame::Length) }
}

fn read_commit<'a>(reader: &mut Reader<'a>) -> Result<Body<'a>, InvalidFrame> {
    let count = usize::from(reader.u16()?);
    if count > LOGS_MAX {
        return Err(InvalidFrame::Body);
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let origin = reader.origin()?;
        parts.push(Part { origin, first: reader.u64()?, count: reader.u32()?, root: reader.hash()? });
    }
    let count = usize::try_from(reader.u32()?).map_err(|_| InvalidFrame::Body)?;
    if count > ENTRIES_MAX {
        return Err(InvalidFrame::Body);
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let part = reader.u16()?;
        let length = usize::from(reader.u16()?);
        entries.push(Entry { part, bytes: reader.take(length)? });
    }
    let mut held = vec![0_u32; parts.len()];
    for entry in &entries {
        *held.get_mut(usize::from(entry.part)).ok_or(InvalidFrame::Body)? += 1;
    }
    let fits =
        |(part, held): (&Part<'_>, u32)| part.count == held && part.first.checked_add(part.count.into()).is_some();
    if !parts.iter().zip(held).all(fits) {
        return Err(InvalidFrame::Body);
    }
    Ok(Body::Commit { parts, entries })
}

fn read_start<'a>(reader: &mut Reader<'a>) -> Result<Body<'a>, InvalidFrame> {
    let segment = reader.u64()?;
    let count = usize::try_from(reader.u32()?).map_err(|_| InvalidFrame::Body)?;
    if count > LOGS_MAX {
        return Err(InvalidFrame::Body);
    }
    let mut logs = Vec::with_capacity(count);
    for _ in 0..count {
        let origin = reader.origin()?;
        let size = reader.u64()?;
        let edge = (0..size.count_ones()).map(|_| reader.hash()).collect::<Result<_, _>>()?;
        logs.push((origin, Frontier::from_parts(size, edge).map_err(|_| InvalidFrame::Body)?));
    }
    Ok(Body::Start { segment, logs })
}

/// Takes from the front; every method fails rather than reading past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], InvalidFrame> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(InvalidFrame::Body)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], InvalidFrame> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(InvalidFrame::Body)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, InvalidFrame> {
        self.chunk().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, InvalidFrame> {
        self.chunk().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, InvalidFrame> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn hash(&mut self) -> Result<Hash, InvalidFrame> {
        self.chunk()
    }

    fn origin(&mut self) -> Result<&'a str, InvalidFrame> {
        let length = usize::from(self.u16()?);
        if length > ORIGIN_BYTES_MAX {
            return Err(InvalidFrame::Body);
        }
        std::str::from_utf8(self.take(length)?).map_err(|_| InvalidFrame::Body)
    }
}

/// A frame as bytes, and its hash.
#[derive(Clone, Debug)]
pub struct Written {
    /// The bytes to append.
    pub bytes: Vec<u8>,
    /// The hash the next frame names.
    pub hash: Hash,
}

/// Makes a frame.
///
/// # Errors
/// [`WriteFrameError`].
pub fn write(number: u64, prev: &Hash, body: &Body<'_>, signer: &dyn Signer) -> Result<Written, WriteFrameError> {
    let mut bytes = Vec::new();
    let hash = write_into(&mut bytes, number, prev, body, signer)?;
    Ok(Written { bytes, hash })
}

/// As [`write()`], in the place of what `out` holds, so that its memory serves one commit after the other; answers the frame's hash.
///
/// # Errors
/// [`WriteFrameError`]; then `out` holds nothing of use.
pub fn write_into(
    out: &mut Vec<u8>,
    number: u64,
    prev: &Hash,
    body: &Body<'_>,
    signer: &dyn Signer,
) -> Result<Hash, WriteFrameError> {
    let kind = if matches!(body, Body::Commit { .. }) { KIND_COMMIT } else { KIND_START };
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind, 0, 0]);
    // Length and checksum are known at the end.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(prev);
    match body {
        Body::Commit { parts, entries } => write_commit(out, parts, entries)?,
        Body::Start { segment, logs } => write_start(out, *segment, logs)?,
    }
    let length = out.len() + SIGNATURE_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(WriteFrameError::TooLarge);
    }
    let length = u32::try_from(length).map_err(|_| WriteFrameError::TooLarge)?;
    let (head, content) = out.split_first_chunk_mut::<16>().ok_or(WriteFrameError::TooLarge)?;
    let [m0, m1, m2, m3, v, k, r0, r1, ..] = *head;
    let [l0, l1, l2, l3] = length.to_be_bytes();
    let before_crc = [m0, m1, m2, m3, v, k, r0, r1, l0, l1, l2, l3];
    let signed = sha256_of(&[&before_crc, content]);
    let signature = signer.sign(&[DOMAIN, &signed].concat())?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&before_crc), content);
    let [c0, c1, c2, c3] = crc32c::crc32c_append(crc, &signature).to_be_bytes();
    *head = [m0, m1, m2, m3, v, k, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3];
    out.extend_from_slice(&signature);
    Ok(sha256_of(&[&signed, &signature]))
}

fn write_commit(out: &mut Vec<u8>, parts: &[Part<'_>], entries: &[Entry<'_>]) -> Result<(), WriteFrameError> {
    if parts.len() > LOGS_MAX || entries.len() > ENTRIES_MAX {
        return Err(WriteFrameError::TooLarge);
    }
    put_u16(out, parts.len())?;
    for part in parts {
        put_origin(out, part.origin)?;
        out.extend_from_slice(&part.first.to_be_bytes());
        out.extend_from_slice(&part.count.to_be_bytes());
        out.extend_from_slice(&part.root);
    }
    out.extend_from_slice(&u32::try_from(entries.len()).map_err(|_| WriteFrameError::TooLarge)?.to_be_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.part.to_be_bytes());
        put_u16(out, entry.bytes.len())?;
        out.extend_from_slice(entry.bytes);
    }
    Ok(())
}

fn write_start(out: &mut Vec<u8>, segment: u64, logs: &[(&str, Frontier)]) -> Result<(), WriteFrameError> {
    if logs.len() > LOGS_MAX {
        return Err(WriteFrameError::TooLarge);
    }
    out.extend_from_slice(&segment.to_be_bytes());
    out.extend_from_slice(&u32::try_from(logs.len()).map_err(|_| WriteFrameError::TooLarge)?.to_be_bytes());
    for (origin, frontier) in logs {
        put_origin(out, origin)?;
        out.extend_from_slice(&frontier.size().to_be_bytes());
        frontier.edge().iter().for_each(|hash| out.extend_from_slice(hash));
    }
    Ok(())
}

fn put_u16(out: &mut Vec<u8>, value: usize) -> Result<(), WriteFrameError> {
    out.extend_from_slice(&u16::try_from(value).map_err(|_| WriteFrameError::TooLarge)?.to_be_bytes());
    Ok(())
}

fn put_origin(out: &mut Vec<u8>, origin: &str) -> Result<(), WriteFrameError> {
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err(WriteFrameError::TooLarge);
    }
    put_u16(out, origin.len())?;
    out.extend_from_slice(origin.as_bytes());
    Ok(())
}
