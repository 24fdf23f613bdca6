//! Key sets of clients that are registered by URL: fetched, cached by `Cache-Control` within our own bounds (C.5 of the spec).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use domain::Millis;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use oauth::{Algorithm, KeySet};
use parking_lot::Mutex;

use super::upstream::header_text;
use crate::clock::Clock;
use crate::outbound::{Limits, Outbound};

/// What one fetch may cost.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(3), body_bytes_max: oauth::jwk::KEY_SET_BYTES_MAX };
/// Longest a set is used, whatever its `Cache-Control` (NEG-148).
const LIFE_MAX: Millis = 3_600_000;
/// Life of a set without `Cache-Control`.
const LIFE_DEFAULT: Millis = 300_000;
/// An unknown `kid`, or a failure, leads to at most one fetch per URL in this time.
const AGAIN_MILLIS: Millis = 10_000;
/// URLs remembered; registrations are bounded by people, so this only guards against a mistake of ours.
const URLS_MAX: usize = 16_384;

struct Fetched {
    keys: Arc<KeySet>,
    until: Millis,
}

#[derive(Default)]
struct Entry {
    current: ArcSwapOption<Fetched>,
    /// Held while a fetch runs, so that those who come meanwhile share its result.
    fetching: tokio::sync::Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    finished: Option<Instant>,
    /// When a fetch was last made for an unknown `kid` or failed.
    extra_at: Option<Millis>,
}

/// The cache; cheap to clone.
#[derive(Clone)]
pub struct ClientKeys {
    outbound: Outbound,
    clock: Clock,
    entries: Arc<Mutex<HashMap<String, Arc<Entry>>>>,
}

impl ClientKeys {
    pub(crate) fn new(outbound: Outbound, clock: Clock) -> Self {
        Self { outbound, clock, entries: Arc::default() }
    }

    /// The key set at `url`, in which `kid` is looked for. `None` for every kind of failure: no network oracle (NEG-151).
    pub async fn get(&self, url: &str, kid: &str, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        self.having(url, &|keys| keys.choose(kid, algorithm).is_some()).await
    }

    /// The key set at `url`, in which a key is looked for that `wanted` finds. `None` as for [`ClientKeys::get`].
    pub async fn having(&self, url: &str, wanted: &(dyn Fn(&KeySet) -> bool + Send + Sync)) -> Option<Arc<KeySet>> {
        if !acceptable(url) {
            return None;
        }
        self.vetted(url, wanted).await
    }

    /// The same as [`ClientKeys::get`] for a URL that its caller has judged: that of an identity provider may be plaintext on loopback.
    pub(crate) async fn get_vetted(&self, url: &str, kid: &str, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        self.vetted(url, &|keys| keys.choose(kid, algorithm).is_some()).await
    }

    async fn vetted(&self, url: &str, wanted: &(dyn Fn(&KeySet) -> bool + Send + Sync)) -> Option<Arc<KeySet>> {
        let entry = self.entry(url)?;
        let arrived = Instant::now();
        if let Some(keys) = self.usable(&entry, wanted) {
            return Some(keys);
        }
        let mut attempts = entry.fetching.lock().await;
        if attempts.finished.is_some_and(|at| at >= arrived) {
            // Someone fetched while we waited; what they got, `no-store` included, is ours too (NEG-147).
            return entry.current.load_full().map(|fetched| Arc::clone(&fetched.keys));
        }
        let now = self.clock.now();
        let fresh = entry.current.load_full().filter(|fetched| now < fetched.until);
        let spent = attempts.extra_at.is_some_and(|at| now.saturating_sub(at) < AGAIN_MILLIS);
        if let Some(fetched) = &fresh {
            if spent {
                return Some(Arc::clone(&fetched.keys));
            }
            attempts.extra_at = Some(now);
        } else if spent && entry.current.load().is_none() {
            return None;
        }
        let fetched = self.fetch(url).await;
        attempts.finished = Some(Instant::now());
        match fetched {
            Some(fetched) => {
                let keys = Arc::clone(&fetched.keys);
                entry.current.store(Some(Arc::new(fetched)));
                Some(keys)
            }
            None => {
                attempts.extra_at = Some(now);
                // A set that is still fresh outlives a failed look for a new key; an expired one does not.
                if fresh.is_none() {
                    entry.current.store(None);
                }
                fresh.map(|fetched| Arc::clone(&fetched.keys))
            }
        }
    }

    fn usable(&self, entry: &Entry, wanted: &(dyn Fn(&KeySet) -> bool + Send + Sync)) -> Option<Arc<KeySet>> {
        let fetched = entry.current.load_full()?;
        let fits = self.clock.now() < fetched.until && wanted(&fetched.keys);
        fits.then(|| Arc::clone(&fetched.keys))
    }

    fn entry(&self, url: &str) -> Option<Arc<Entry>> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(url) {
            return Some(Arc::clone(entry));
        }
        if entries.len() >= URLS_MAX {
            return None;
        }
        let entry = Arc::<Entry>::default();
        entries.insert(url.to_owned(), Arc::clone(&entry));
        Some(entry)
    }

    async fn fetch(&self, url: &str) -> Option<Fetched> {
        let request = Request::get(url).header(ACCEPT, "application/json").body(Full::new(Bytes::new())).ok()?;
        let asked_at = self.clock.now();
        let answer = self.outbound.call(request, LIMITS).await.ok()?;
        let kind = header_text(&answer.headers, &CONTENT_TYPE)?.to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if answer.status != StatusCode::OK || !matches!(kind, "application/json" | "application/jwk-set+json") {
            return None;
        }
        let keys = Arc::new(KeySet::parse(&answer.body).ok()?);
        Some(Fetched { keys, until: asked_at + life(&answer.headers) })
    }
}

/// https, a host, no user info, no fragment. Judged on the text: URL parsers drop fragments silently.
pub(crate) fn acceptable(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    !authority.is_empty() && !authority.contains('@') && !url.contains(['#', '\\']) && url.len() <= 2_048
}

/// How long an answer may be used, by its `Cache-Control` and our own bounds.
pub(crate) fn life(headers: &HeaderMap) -> Millis {
    let text = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<String> =
        text.flat_map(|text| text.split(',')).map(|directive| directive.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|directive| matches!(directive.as_str(), "no-store" | "no-cache")) {
        return 0;
    }
    let seconds = directives.iter().find_map(|directive| directive.strip_prefix("max-age="));
    match seconds.map(str::parse::<i64>) {
        None => LIFE_DEFAULT,
        Some(Ok(seconds)) => seconds.saturating_mul(1_000).clamp(0, LIFE_MAX),
        Some(Err(_)) => 0,
    }
}

#[test]
fn neg_143_urls_are_judged_as_text() {
    for (url, fits) in [
        ("https://agent.example/jwks.json", true),
        ("https://agent.example:8443/jwks", true),
        ("http://agent.example/jwks", false),
        ("https://user@agent.example/jwks", false),
        ("https://agent.example/jwks#x", false),
        ("https://agent.example\\@evil.example/", false),
        ("https:///jwks", false),
        ("HTTPS://agent.example/", false),
    ] {
        assert_eq!(acceptable(url), fits, "{url}");
    }
}

#[test]
fn neg_148_cache_control_is_obeyed_within_an_hour() {
    for (value, expected) in [
        (None, LIFE_DEFAULT),
        (Some("max-age=5"), 5_000),
        (Some("public, max-age=31536000"), LIFE_MAX),
        (Some("no-store"), 0),
        (Some("max-age=600, no-cache"), 0),
        (Some("max-age=x"), 0),
        (Some("private"), LIFE_DEFAULT),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
        }
        assert_eq!(life(&headers), expected, "{value:?}");
    }
}
