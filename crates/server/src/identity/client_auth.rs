//! How Hilum proves itself at an identity provider: an assertion by a private key, or a secret, each from a file that may change.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Millis;
use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::OpenIdentityError;
use crate::broker::KeyFile;
use crate::clock::{Clock, random};
use crate::hex::hex;
use crate::settings::{OidcAuth, OidcSettings, ProviderAudience};

/// Life of our assertion, in seconds.
const ASSERTION_SECONDS: i64 = 60;
/// Largest secret file.
const SECRET_BYTES_MAX: usize = 4 * 1024;

pub(super) enum ClientCredential {
    Key(KeyFile),
    Secret(PathBuf),
}

/// What goes into one token request.
pub(super) enum Proof {
    /// More form parameters, beginning with `&`.
    Assertion(String),
    /// `Authorization`.
    Basic(HeaderValue),
}

impl ClientCredential {
    pub(super) fn open(auth: &OidcAuth, clock: Clock) -> Result<Self, OpenIdentityError> {
        match auth {
            OidcAuth::Key { file, .. } => Ok(Self::Key(KeyFile::open(file, clock)?)),
            OidcAuth::Secret(file) => match secret(file) {
                Some(_) => Ok(Self::Secret(file.clone())),
                None => Err(OpenIdentityError::Secret(file.display().to_string())),
            },
        }
    }

    pub(super) fn public_keys(&self) -> Vec<Value> {
        match self {
            Self::Key(key) => key.public_keys(),
            Self::Secret(_) => Vec::new(),
        }
    }

    /// The proof for one request; the file is read each time, so a rotation needs no restart (S0-02).
    pub(super) fn prove(&self, settings: &OidcSettings, token_endpoint: &str, now: Millis) -> Option<Proof> {
        match self {
            Self::Key(key) => {
                let audience = match &settings.auth {
                    OidcAuth::Key { audience: ProviderAudience::TokenEndpoint, .. } => token_endpoint,
                    _ => &settings.issuer,
                };
                let now = now.div_euclid(1_000);
                let assertion = key.signer().ok()?.sign(&json!({
                    "iss": settings.client_id,
                    "sub": settings.client_id,
                    "aud": audience,
                    "iat": now,
                    "exp": now + ASSERTION_SECONDS,
                    "jti": hex(&random::<16>().ok()?),
                }))?;
                let kind = utf8_percent_encode(oauth::assertion::ASSERTION_TYPE, NON_ALPHANUMERIC);
                let client = utf8_percent_encode(&settings.client_id, NON_ALPHANUMERIC);
                Some(Proof::Assertion(format!(
                    "&client_id={client}&client_assertion_type={kind}&client_assertion={assertion}"
                )))
            }
            Self::Secret(file) => {
                let secret = secret(file)?;
                // RFC 6749 §2.3.1: each half is form-encoded before they are joined.
                let half = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let pair = Zeroizing::new(format!("{}:{}", half(&settings.client_id), half(&secret)));
                let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                Some(Proof::Basic(HeaderValue::from_str(&text).ok()?))
            }
        }
    }
}

fn secret(file: &Path) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(file).ok()?);
    let line = text.trim();
    let fits = (1..=SECRET_BYTES_MAX).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Zeroizing::new(line.to_owned()))
}
