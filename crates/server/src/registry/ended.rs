//! Sessions ended before their token expired: the last 930 s of them, in memory, looked up on every request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{Millis, SessionId};
use parking_lot::RwLock;

/// How long an end is remembered: the longest life of a token (900 s) and the clock skew accepted with it.
pub(crate) const REMEMBERED: Millis = 930_000;
/// Shards: look-ups come from every worker at once, an end takes one shard for a moment.
const SHARDS: usize = 16;

/// The set.
#[derive(Debug, Default)]
pub(crate) struct EndedSessions {
    shards: [RwLock<HashMap<SessionId, Millis>>; SHARDS],
    held: AtomicUsize,
}

impl EndedSessions {
    fn shard(&self, id: &SessionId) -> Option<&RwLock<HashMap<SessionId, Millis>>> {
        // Ids are random, so any byte of them spreads well.
        let [first, ..] = id.0;
        self.shards.get(usize::from(first) % SHARDS)
    }

    /// Remembers an end.
    pub(crate) fn insert(&self, id: SessionId, at: Millis) {
        if let Some(shard) = self.shard(&id)
            && shard.write().insert(id, at).is_none()
        {
            self.held.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether it ended lately.
    pub(crate) fn contains(&self, id: &SessionId) -> bool {
        if self.held.load(Ordering::SeqCst) == 0 {
            return false;
        }
        self.shard(id).is_some_and(|shard| shard.read().contains_key(id))
    }

    /// Forgets what no living token can belong to.
    pub(crate) fn forget(&self, now: Millis) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|_, at| *at > now - REMEMBERED);
            self.held.fetch_sub(before - shard.len(), Ordering::SeqCst);
        }
    }
}

#[test]
fn an_end_is_remembered_as_long_as_a_token_may_live() {
    let ended = EndedSessions::default();
    let ids: Vec<_> = (0..200u8).map(|byte| SessionId([byte; 16])).collect();
    for id in &ids {
        ended.insert(*id, 1_000);
        ended.insert(*id, 1_000);
    }
    ended.forget(1_000 + REMEMBERED - 1);
    assert!(ids.iter().all(|id| ended.contains(id)));
    ended.forget(1_000 + REMEMBERED);
    assert!(!ids.iter().any(|id| ended.contains(id)));
    assert_eq!(ended.held.load(Ordering::SeqCst), 0);
}
