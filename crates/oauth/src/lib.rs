//! OAuth, JOSE and SMART as functions: request + registration + now -> outcome.
//!
//! Pure: no socket, file, clock or random source. Signatures are checked with `aws-lc-rs`; private keys never come here.

pub mod assertion;
pub mod details;
pub mod discovery;
pub mod error;
pub mod form;
pub mod jose;
pub mod json;
pub mod jwk;
mod proof;
pub mod request;
pub mod scope;
pub mod token;

pub use assertion::{InvalidAssertion, UnverifiedAssertion, VerifiedAssertion};
pub use error::{ErrorCode, OAuthError};
pub use jose::Algorithm;
pub use jwk::{InvalidKeySet, KeySet, PublicKey};
pub use token::{AccessClaims, InvalidToken, VerifiedToken};
