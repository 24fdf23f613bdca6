//! RFC 6962 §2.1 hashing: leaves and nodes live in different domains, so neither can pose as the other.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256 value.
pub type Hash = [u8; 32];

fn finish(out: &aws_lc_rs::digest::Digest) -> Hash {
    let mut hash = [0; 32];
    for (slot, byte) in hash.iter_mut().zip(out.as_ref()) {
        *slot = *byte;
    }
    hash
}

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    finish(&digest(&SHA256, bytes))
}

/// SHA-256 of several pieces in a row.
#[must_use]
pub fn sha256_of(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    finish(&context.finish())
}

/// The hash of a leaf.
#[must_use]
pub fn leaf(entry: &[u8]) -> Hash {
    sha256_of(&[&[0], entry])
}

/// The hash of an inner node.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256_of(&[&[1], left, right])
}

/// The root of the empty tree.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(b"")
}
