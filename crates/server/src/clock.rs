//! Time and randomness of the process: the two things the pure crates take as arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Millis;

/// Where `now` comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`]; for tests.
    #[must_use]
    pub fn fixed(now: Millis) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(now))))
    }

    /// Milliseconds since the Unix epoch. A clock before 1970 reads as 0.
    #[must_use]
    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Source::Fixed(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a fixed clock; a system clock is left alone.
    pub fn advance(&self, millis: i64) {
        if let Source::Fixed(now) = &self.0 {
            now.fetch_add(millis, Ordering::SeqCst);
        }
    }
}

/// The operating system's random source failed; nothing that needs a secret can go on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random source failed")]
pub struct RandomError;

/// `N` bytes from the cryptographic random source of `aws-lc-rs`.
///
/// # Errors
/// [`RandomError`] when the source fails; callers refuse the request.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).map_err(|_| RandomError)?;
    Ok(out)
}

/// A new secret of 256 random bits, as base64url: 43 characters.
///
/// # Errors
/// [`RandomError`], as [`random`].
pub fn random_text() -> Result<String, RandomError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}
