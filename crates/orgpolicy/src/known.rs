//! Decisions already made: one for each session, action and type, until policies or session change.

use std::collections::HashMap;

use domain::{Millis, SessionId};
use fhir::ResourceType;

use crate::facts::Action;

/// Most decisions remembered: 10,000 sessions at work with some ten each, about 30 MB.
const KNOWN_MAX: usize = 100_000;

/// What a lasting decision is about. A change of policies has another epoch, a change of approval or integration another
/// session; so nothing here is ever out of date, only no longer asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// The session.
    pub session: SessionId,
    /// Whether the token asked with is bound to a key: tokens of one session may differ in that.
    pub bound: bool,
    /// What is done.
    pub action: Action,
    /// To what.
    pub kind: ResourceType,
    /// [`crate::Policies::epoch`].
    pub epoch: u64,
}

/// Lasting decisions, or what was made of them.
#[derive(Debug)]
pub struct Known<T> {
    made: HashMap<Key, (T, Millis)>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { made: HashMap::new() }
    }
}

impl<T> Known<T> {
    /// What was decided.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<&T> {
        self.made.get(key).map(|(made, _)| made)
    }

    /// Remembers a decision until its session ends. When there is no room, what is over goes, and if that is not enough,
    /// everything: it is only made again.
    pub fn insert(&mut self, key: Key, made: T, ends_at: Millis, now: Millis) {
        if self.made.len() >= KNOWN_MAX {
            self.made.retain(|_, (_, ends_at)| now < *ends_at);
        }
        if self.made.len() >= KNOWN_MAX {
            self.made.clear();
        }
        self.made.insert(key, (made, ends_at));
    }
}
