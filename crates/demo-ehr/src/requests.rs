//! The log of requests this upstream received, for tests to assert what a gate sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Most requests kept; the oldest go first.
const KEPT_MAX: usize = 10_000;
/// Most bytes of bodies kept: eight of the largest writes, and any number of searches.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// Raw path, with the base in front, e.g. `/fhir/Observation/o1`.
    pub path: String,
    /// Raw query, empty when there was none.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body; empty when there was none, or when it was longer than this server reads.
    pub body: String,
}

impl Seen {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The Bearer token it came with: which of several a gate used.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    }

    /// Path and query as one line, e.g. `/fhir/Observation?patient=Patient%2FP1`.
    #[must_use]
    pub fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// The body as JSON, when it is some.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// Whether it asks for a change: a create, an update, a patch, a delete, or a Bundle of requests at the base. Forms of the launch
    /// side are none.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => false,
            "POST" => {
                let last = self.path.rsplit('/').next().unwrap_or("");
                self.path.starts_with("/fhir") && last != "_search" && !last.starts_with('$')
            }
            _ => true,
        }
    }

    /// Decoded query parameters of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Vec<String> {
        crate::search::pairs(&self.query).into_iter().filter(|(own, _)| own == name).map(|(_, value)| value).collect()
    }
}

/// The log; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<VecDeque<Seen>>>);

impl Requests {
    /// Everything kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Empties the log and returns what was in it.
    #[must_use]
    pub fn take(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// The newest request.
    #[must_use]
    pub fn last(&self) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    /// Those that ask for a change, oldest first.
    #[must_use]
    pub fn writes(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|seen| seen.is_write()).cloned().collect()
    }

    /// Whether nothing was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Empties the log.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn push(&self, seen: Seen) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX {
            all.pop_front();
        }
        // Small bodies cannot reach the limit, so only a large one pays for the sum.
        if seen.body.len() > BYTES_MAX / KEPT_MAX {
            let mut bytes: usize = all.iter().map(|kept| kept.body.len()).sum::<usize>() + seen.body.len();
            while bytes > BYTES_MAX {
                let Some(oldest) = all.pop_front() else { break };
                bytes = bytes.saturating_sub(oldest.body.len());
            }
        }
        all.push_back(seen);
    }
}
