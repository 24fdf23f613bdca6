//! OAuth, JOSE and SMART as functions: request + registration + now -> outcome.
//!
//! Pure: no socket, file, clock or random source. Signatures are checked with `aws-lc-rs`; private keys never come here.

pub mod assertion;
pub mod authorization;
pub mod b2b;
pub mod choice;
pub mod details;
pub mod discovery;
pub mod dpop;
pub mod ehr;
pub mod error;
pub mod form;
pub mod grant;
pub mod id_token;
pub mod identity;
pub mod jose;
pub mod json;
pub mod jwk;
pub mod logout_token;
pub mod pkce;
mod proof;
pub mod registration;
pub mod request;
pub mod scope;
pub mod token;
pub mod words;

pub use assertion::{InvalidAssertion, UnverifiedAssertion, VerifiedAssertion};
pub use error::{ErrorCode, OAuthError};
pub use jose::Algorithm;
pub use jwk::{InvalidKeySet, KeySet, PublicKey};
pub use token::{AccessClaims, InvalidToken, VerifiedToken};
