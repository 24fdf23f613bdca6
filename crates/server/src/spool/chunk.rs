//! The seal of one chunk: AES-256-GCM, its place and whether it is the last one in the nonce (as in the STREAM construction).

use std::io::ErrorKind;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::SpoolError;
use crate::clock::random;

/// Bytes that sealing adds to a chunk.
pub(super) const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Whether another chunk follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Position {
    Inner,
    Last,
}

/// The key of one spool: random, in memory only, wiped when dropped (the library cleanses what it frees).
// INVARIANT: seals one chunk at each index and never two, so no nonce comes twice.
pub(super) struct ChunkKey(LessSafeKey);

impl ChunkKey {
    pub(super) fn random() -> Result<Self, SpoolError> {
        let failed = SpoolError::Io(ErrorKind::Other);
        let bytes = Zeroizing::new(random::<KEY_BYTES>().map_err(|_| failed)?);
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map_err(|_| failed)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals `chunk` in place; it grows by [`TAG_BYTES`].
    pub(super) fn seal(&self, index: u64, position: Position, chunk: &mut Vec<u8>) -> Result<(), SpoolError> {
        self.0
            .seal_in_place_append_tag(nonce(index, position), Aad::empty(), chunk)
            .map_err(|_| SpoolError::Io(ErrorKind::Other))
    }

    /// Opens `chunk` in place; it shrinks by [`TAG_BYTES`], and is empty if it does not open.
    pub(super) fn open(&self, index: u64, position: Position, chunk: &mut Vec<u8>) -> Result<(), SpoolError> {
        let opened = self.0.open_in_place(nonce(index, position), Aad::empty(), chunk).map(|plain| plain.len());
        chunk.truncate(opened.unwrap_or(0));
        opened.map(drop).map_err(|_| SpoolError::Tampered)
    }
}

fn nonce(index: u64, position: Position) -> Nonce {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    let last = u8::from(position == Position::Last);
    let bytes: [u8; NONCE_LEN] = [last, 0, 0, 0, a, b, c, d, e, f, g, h];
    Nonce::assume_unique_for_key(bytes)
}
