//! Who may ask: nobody checked, a static Bearer token, or SMART Backend Services with the shape of the assertion checked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Tokens remembered; the oldest half goes when there are more.
const TOKENS_MAX: usize = 10_000;

/// How this upstream authenticates its callers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// This Bearer token.
    Bearer(String),
    /// SMART Backend Services at `/token`; tokens live this many seconds.
    SmartBackend {
        /// Lifetime of a token.
        seconds: u64,
    },
    /// Access tokens of apps, got by a launch ([`crate::DemoEhr::smart_client`]), and nothing else. With
    /// [`Auth::SmartBackend`] they count beside those of Backend Services, once an app is registered.
    SmartLaunch,
}

/// The tokens given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    given: Mutex<HashMap<String, Instant>>,
    requests: AtomicU64,
}

impl Tokens {
    /// How many token requests came in, refused ones included.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a token request that the launch side answers.
    pub(crate) fn counts(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets every token, as an upstream does that was restarted.
    pub(crate) fn forget(&self) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Answers a token request: status and JSON.
    pub(crate) fn answer(&self, pairs: &[(String, String)], seconds: u64, refused: bool) -> (u16, Value) {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        if refused {
            return (
                400,
                json!({"error": "invalid_client", "error_description": "no such client in realm hospital-prod"}),
            );
        }
        if let Err(text) = check(pairs) {
            return (400, json!({"error": "invalid_request", "error_description": text}));
        }
        let token = format!("demo-{count}-{:016x}", crate::random::Random::new(count).next());
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= TOKENS_MAX {
            let now = Instant::now();
            given.retain(|_, end| *end > now);
            if given.len() >= TOKENS_MAX {
                given.clear();
            }
        }
        given.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
        let scope = pairs.iter().find(|(name, _)| name == "scope").map_or("", |(_, value)| value.as_str());
        (200, json!({"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": scope}))
    }

    /// Whether an Authorization header lets a request in.
    pub(crate) fn admits(&self, auth: &Auth, header: Option<&str>) -> bool {
        let sent = header.and_then(|text| text.strip_prefix("Bearer "));
        match auth {
            Auth::None => true,
            Auth::Bearer(token) => sent == Some(token),
            // Apps' tokens are kept, and judged, on the launch side.
            Auth::SmartLaunch => false,
            Auth::SmartBackend { .. } => {
                let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                sent.and_then(|token| given.get(token)).is_some_and(|end| *end > Instant::now())
            }
        }
    }
}

/// The shape of a SMART Backend Services request; signatures are not verified.
fn check(pairs: &[(String, String)]) -> Result<(), &'static str> {
    let first = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    if first("grant_type") != Some("client_credentials") {
        return Err("grant_type is not client_credentials");
    }
    if first("client_assertion_type") != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
        return Err("client_assertion_type is not jwt-bearer");
    }
    let parts: Vec<&str> = first("client_assertion").unwrap_or("").split('.').collect();
    let encoded =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if parts.len() != 3 || !parts.iter().all(encoded) {
        return Err("client_assertion is no compact JWT");
    }
    if first("scope").is_none_or(|scope| !scope.split(' ').all(|s| s.starts_with("system/"))) {
        return Err("scope has no system scopes");
    }
    Ok(())
}
