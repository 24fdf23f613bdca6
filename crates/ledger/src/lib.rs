//! An append-only Merkle log over bytes: RFC 6962 tree, proofs, signed checkpoints, write-ahead-log frames and recovery.
//!
//! Pure and alone: it reads no file and knows nothing of what an entry means. Formats are those of C2SP (tlog-checkpoint,
//! signed-note), so that other people's tools verify our logs; the frame format is our own and documented in [`frame`].

pub mod checkpoint;
pub mod frame;
pub mod hash;
pub mod note;
pub mod proof;
pub mod recover;
pub mod sign;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use hash::Hash;
pub use sign::{SignError, Signer, SigningKey, VerifyingKey};
pub use tree::Frontier;
