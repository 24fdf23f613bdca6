//! The log of requests this upstream received, for tests to assert what a gate sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Most requests kept; the oldest go first.
const KEPT_MAX: usize = 10_000;

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
    /// Body, as far as this server read it.
    pub body: String,
}

impl Seen {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Path and query as one line, e.g. `/fhir/Observation?patient=Patient%2FP1`.
    #[must_use]
    pub fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
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
        all.push_back(seen);
    }
}
