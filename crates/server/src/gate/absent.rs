//! "Foreign" and "absent" leave alike: on the next 50 ms tick, and only so often per session (DESIGN, step 8).

use std::collections::HashMap;
use std::time::Duration;

use domain::{Millis, SessionId};
use parking_lot::Mutex;

/// Answers of this kind leave on multiples of this, so that their timing tells nothing (ER-04).
const TICK_MILLIS: i64 = 50;
/// Sessions counted at once; expired ones are dropped first. Past it the budget counts as spent (fail closed).
const SESSIONS_MAX: usize = 1_000_000;

/// How many such answers each session has had.
#[derive(Default)]
pub struct AbsentBudget {
    counts: Mutex<HashMap<SessionId, (u32, Millis)>>,
}

impl AbsentBudget {
    /// Whether `session` has had `most` of them.
    pub fn spent(&self, session: &SessionId, most: u32) -> bool {
        let counts = self.counts.lock();
        counts.get(session).is_some_and(|(count, _)| *count >= most)
            || (counts.len() >= SESSIONS_MAX && !counts.contains_key(session))
    }

    /// Counts one more and says how many there are now.
    pub fn count(&self, session: &SessionId, expires_at: Millis, now: Millis) -> u32 {
        let mut counts = self.counts.lock();
        if counts.len() >= SESSIONS_MAX {
            counts.retain(|_, (_, expires)| *expires > now);
        }
        let entry = counts.entry(*session).or_insert((0, expires_at));
        entry.0 = entry.0.saturating_add(1);
        entry.0
    }
}

/// Waits until the next tick of the wall clock.
pub async fn next_tick(now: Millis) {
    let wait = TICK_MILLIS - now.rem_euclid(TICK_MILLIS);
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
}

#[test]
fn a_session_spends_its_own_budget_only() {
    let budget = AbsentBudget::default();
    let (a, b) = (SessionId([1; 16]), SessionId([2; 16]));
    for _ in 0..3 {
        budget.count(&a, 10, 0);
    }
    assert!(budget.spent(&a, 3));
    assert!(!budget.spent(&a, 4));
    assert!(!budget.spent(&b, 3));
}
