//! A private key in a file that may change at any time, and the public keys that its assertions are verified with.

use std::path::{Path, PathBuf};

use domain::Millis;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::signer::{KeyFileError, Signer};
use crate::clock::{Clock, random};
use crate::hex::hex;

/// Life of our assertions, in seconds; SMART allows 300 (S0-10).
const ASSERTION_SECONDS: i64 = 240;
/// Old public keys stay in our JWKS for this long after a rotation: longer than any assertion lives.
const KEY_OVERLAP_MILLIS: Millis = 3_600_000;

/// A key by the name of its file; the key itself is in memory only while something is signed.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    clock: Clock,
    /// Public keys seen, newest last, each with the time it was last the current one.
    public: Mutex<Vec<(Value, Millis)>>,
}

impl KeyFile {
    /// The key at `path`, which must hold one.
    pub(crate) fn open(path: &Path, clock: Clock) -> Result<Self, KeyFileError> {
        let file = Self { path: path.to_owned(), clock, public: Mutex::new(Vec::new()) };
        file.signer()?;
        Ok(file)
    }

    /// The key as its file holds it now: a new file is used from the next assertion on, without a restart (S0-02).
    pub(crate) fn signer(&self) -> Result<Signer, KeyFileError> {
        let signer = Signer::read(&self.path)?;
        let now = self.clock.now();
        let mut public = self.public.lock();
        public.retain(|(jwk, seen)| jwk != signer.jwk() && now.saturating_sub(*seen) < KEY_OVERLAP_MILLIS);
        public.push((signer.jwk().clone(), now));
        Ok(signer)
    }

    /// The current public key, and those whose assertions may still be under way.
    pub(crate) fn public_keys(&self) -> Vec<Value> {
        if let Err(why) = self.signer() {
            tracing::warn!(%why, "a private key cannot be read; serving the public keys known before");
        }
        self.public.lock().iter().map(|(jwk, _)| jwk.clone()).collect()
    }

    /// An assertion of `client` for `audience` (RFC 7523 §3), or none if it cannot be made.
    pub(super) fn assertion(&self, client: &str, audience: &str) -> Option<String> {
        let signer = self.signer().ok()?;
        let now = self.clock.now().div_euclid(1_000);
        signer.sign(&json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": hex(&random::<16>().ok()?),
        }))
    }
}
