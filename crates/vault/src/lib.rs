//! Sealing and opening: XAES-256-GCM, wrapped keys and keyed tags. The only crate that turns sealed bytes into plaintext.
//!
//! Pure: nonces are arguments, and nothing here reads a file, a clock or a random source.

mod root;
mod seal;
mod tag;

pub use root::{InvalidRootKey, KeyName, RootKey};
pub use seal::{KEY_BYTES, NONCE_BYTES, OpenError, SealError, SealKey, TAG_BYTES};
pub use tag::TagKey;
