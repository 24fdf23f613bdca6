//! XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>): AES-256-GCM under a key derived from half of a random 192-bit nonce.
//!
//! Built from the AES-256-CMAC and AES-256-GCM of `aws-lc-rs` by the C2SP text: one crypto provider for the whole product, a
//! construction from two approved parts, and 20 lines that the published vectors cover whole.

use aws_lc_rs::{aead, cmac};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce; random nonces are safe for 2⁸⁰ messages.
pub const NONCE_BYTES: usize = 24;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;
/// The half of the nonce that derives the message key.
const DERIVE_BYTES: usize = 12;

/// Sealing failed: the crypto library refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sealing failed")]
pub struct SealError;

/// Opening failed: wrong key, wrong associated data, or changed bytes. One cause for all, on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sealed value does not open")]
pub struct OpenError;

/// A key that seals and opens. Prints `[sealed]`.
pub struct SealKey(cmac::Key);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey([sealed])")
    }
}

impl SealKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`SealError`] when the crypto library refuses.
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        cmac::Key::new(cmac::AES_256, key).map(Self).map_err(|_| SealError)
    }

    /// Seals `plain` with `aad` bound; the answer is ciphertext and tag, without the nonce.
    ///
    /// # Errors
    /// [`SealError`] when the crypto library refuses.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let (key, nonce) = self.message_key(nonce).ok_or(SealError)?;
        let mut out = Vec::with_capacity(plain.len() + TAG_BYTES);
        out.extend_from_slice(plain);
        key.seal_in_place_append_tag(nonce, aead::Aad::from(aad), &mut out).map_err(|_| SealError)?;
        Ok(out)
    }

    /// Opens what [`SealKey::seal`] made.
    ///
    /// # Errors
    /// [`OpenError`] when key, nonce, `aad` or bytes are not the ones sealed.
    pub fn open(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (key, nonce) = self.message_key(nonce).ok_or(OpenError)?;
        let mut out = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(nonce, aead::Aad::from(aad), &mut out).map_err(|_| OpenError)?.len();
        out.truncate(length);
        Ok(out)
    }

    /// Seals into one self-contained value: nonce, ciphertext, tag.
    ///
    /// # Errors
    /// [`SealError`] when the crypto library refuses.
    pub fn seal_whole(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = self.seal(nonce, aad, plain)?;
        let mut out = Vec::with_capacity(NONCE_BYTES + sealed.len());
        out.extend_from_slice(nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`SealKey::seal_whole`] made.
    ///
    /// # Errors
    /// [`OpenError`] as for [`SealKey::open`], or when the value is too short.
    pub fn open_whole(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        self.open(nonce, aad, sealed)
    }

    /// C2SP steps 3 to 6. CMAC of one whole block is AES(block ⊕ K1), so the SP 800-108 counter KDF is two CMACs.
    fn message_key(&self, nonce: &[u8; NONCE_BYTES]) -> Option<(aead::LessSafeKey, aead::Nonce)> {
        let (derive, rest) = nonce.split_first_chunk::<DERIVE_BYTES>()?;
        let rest: [u8; DERIVE_BYTES] = rest.try_into().ok()?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (counter, half) in [1, 2].into_iter().zip(key.chunks_exact_mut(KEY_BYTES / 2)) {
            let mut block = [0; 16];
            let (head, tail) = block.split_first_chunk_mut::<4>()?;
            *head = [0, counter, b'X', 0];
            tail.copy_from_slice(derive);
            half.copy_from_slice(cmac::sign(&self.0, &block).ok()?.as_ref());
        }
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.as_slice()).ok()?;
        Some((aead::LessSafeKey::new(key), aead::Nonce::assume_unique_for_key(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The two vectors printed in the C2SP document (MSB of L clear, and set).
    #[test]
    fn c2sp_vectors() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (key, aad, sealed) in [
            ([1; 32], &b""[..], "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            ([3; 32], b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ] {
            let key = SealKey::new(&key).unwrap();
            let out = key.seal(nonce, aad, b"XAES-256-GCM").unwrap();
            assert_eq!(hex(&out), sealed);
            assert_eq!(key.open(nonce, aad, &out).unwrap().as_slice(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn any_changed_byte_does_not_open() {
        let key = SealKey::new(&[7; 32]).unwrap();
        let sealed = key.seal_whole(&[9; NONCE_BYTES], b"row", b"Patient/P1").unwrap();
        assert_eq!(key.open_whole(b"row", &sealed).unwrap().as_slice(), b"Patient/P1");
        assert_eq!(key.open_whole(b"other", &sealed), Err(OpenError));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open_whole(b"row", &changed), Err(OpenError), "byte {at}");
            assert_eq!(key.open_whole(b"row", &sealed[..at]), Err(OpenError), "cut at {at}");
        }
        assert_eq!(SealKey::new(&[8; 32]).unwrap().open_whole(b"row", &sealed), Err(OpenError));
    }
}
