//! "Foreign" and "absent" leave alike: on the next 50 ms tick, and only so often per session (DESIGN, step 8).

use std::time::Duration;

use domain::{Millis, Reason, Session};

use super::budget::Place;
use super::record::Trace;
use crate::audit::Audit;

/// Answers of this kind leave on multiples of this, so that their timing tells nothing (ER-04).
const TICK_MILLIS: i64 = 50;
/// Counts an answer that says "not there"; one alert when it was the last of its session, which the answer does not wait for.
pub fn spend(audit: &Audit, trace: &Trace, session: &Session, place: Place) {
    if place.spend() {
        let says = "a session has spent its budget of instances that are absent or not its own";
        audit.alert_soon(session.tenant.as_str(), Reason::AbsentBudgetSpent.code(), says, trace.phi(session));
    }
}

/// Waits until the next tick of the wall clock.
pub async fn next_tick(now: Millis) {
    let wait = TICK_MILLIS - now.rem_euclid(TICK_MILLIS);
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
}
