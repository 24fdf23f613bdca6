//! Alerts about clients: what a person should see within a minute, once a minute (or a
//! day) for each client and cause. Every single refusal has
//! its own record or is counted, so what is left out here is not lost.

use std::collections::HashMap;

use domain::audit::{Kind, Phi};
use domain::{IntegrationId, Millis, Reason};
use parking_lot::Mutex;

use super::Service;
use super::trace::Trace;

/// Least time between two alerts of one kind about one client.
const AGAIN_MILLIS: Millis = 60_000;
/// The same for what a client goes on doing all day by itself.
const AGAIN_DAILY_MILLIS: Millis = 24 * 3_600_000;
/// Alerts remembered: six kinds for every integration of the largest installation, and a few more.
const RAISED_MAX: usize = 65_536;

/// A client signs with a key that is another integration's, or one of another environment (S1-33, S2-15).
pub(super) const FOREIGN_KEY: &str = "key-of-another-integration";
/// A `client_id` of another tenant was presented here (S1-33).
pub(super) const FOREIGN_CLIENT: &str = "client-of-another-tenant";
/// An assertion came a second time.
const REPLAYED: &str = "assertion-replayed";
/// The right secret after the end of its exception (S2-14).
pub(super) const SECRET_EXPIRED: &str = "client-secret-expired";
/// An authorization code came a second time (TK-08).
pub(super) const CODE_REPLAYED: &str = "code-replayed";
/// A refresh token came a second time (RF-08).
pub(super) const REFRESH_REPLAYED: &str = "refresh-replayed";
/// The distinct patients of an hour or a day are used up.
const PATIENTS_SPENT: &str = "patient-budget-spent";
/// A launcher asked for what it may not start.
const LAUNCHER_DENIED: &str = "launcher-denied";

/// When which alert was last raised about whom.
#[derive(Default)]
pub(super) struct Alarms(Mutex<HashMap<(String, IntegrationId, &'static str), Millis>>);

impl Alarms {
    fn due(&self, tenant: &str, client: &IntegrationId, code: &'static str, now: Millis) -> bool {
        let mut raised = self.0.lock();
        let key = (tenant.to_owned(), client.clone(), code);
        if raised.get(&key).is_some_and(|at| now.saturating_sub(*at) < again(code)) {
            return false;
        }
        if raised.len() >= RAISED_MAX {
            raised.retain(|(_, _, code), at| now.saturating_sub(*at) < again(code));
        }
        if raised.len() >= RAISED_MAX {
            // A repeated alert is better than a missing one.
            raised.clear();
        }
        raised.insert(key, now);
        true
    }
}

fn again(code: &str) -> Millis {
    if code == SECRET_EXPIRED { AGAIN_DAILY_MILLIS } else { AGAIN_MILLIS }
}

/// The alert that belongs to a refusal of an authenticated client.
pub(super) fn of(kind: Kind, reason: Reason) -> Option<&'static str> {
    match (kind, reason) {
        // Whoever is refused as a client after their signature was found right has used the assertion before.
        (_, Reason::ClientInvalid) => Some(REPLAYED),
        (_, Reason::BudgetSpent) => Some(PATIENTS_SPENT),
        (Kind::LaunchDenied, Reason::GrantInvalid | Reason::ApprovalMissing) => Some(LAUNCHER_DENIED),
        _ => None,
    }
}

impl Service {
    /// Raises an alert without waiting for it: the caller must not be able to tell by time that there was one.
    pub(super) fn alarm(&self, trace: &Trace, client: &IntegrationId, code: &'static str) {
        if !self.alarms.due(trace.tenant(), client, code, self.clock.now()) {
            return;
        }
        let says = match code {
            FOREIGN_KEY => "signed with a key that belongs to another integration or environment",
            FOREIGN_CLIENT => "a client of another tenant was named here",
            SECRET_EXPIRED => "still uses its secret, whose exception has ended",
            REPLAYED => "sent an assertion a second time",
            CODE_REPLAYED => "brought an authorization code a second time; its session was ended",
            REFRESH_REPLAYED => "brought a refresh token a second time; its session was ended",
            PATIENTS_SPENT => "asked for more distinct patients in an hour or a day than its approval allows",
            _ => "a launcher asked for a task, a client or an environment that it may not start",
        };
        let phi = Phi {
            request: trace.request().to_owned(),
            peer: trace.from().peer.to_string(),
            agent: trace.from().agent.clone(),
            ..Phi::default()
        };
        self.audit.alert_soon(trace.tenant(), code, &format!("{client}: {says}"), phi);
    }
}

#[test]
fn one_alert_a_minute_for_each_client_and_cause() {
    let alarms = Alarms::default();
    let (a, b): (IntegrationId, IntegrationId) = ("a".parse().unwrap(), "b".parse().unwrap());
    assert!(alarms.due("mercy", &a, REPLAYED, 0));
    assert!(!alarms.due("mercy", &a, REPLAYED, AGAIN_MILLIS - 1));
    assert!(alarms.due("mercy", &a, PATIENTS_SPENT, 1));
    assert!(alarms.due("mercy", &b, REPLAYED, 1));
    assert!(alarms.due("other", &a, REPLAYED, 1));
    assert!(alarms.due("mercy", &a, REPLAYED, AGAIN_MILLIS));
    assert!(alarms.due("mercy", &b, SECRET_EXPIRED, 0));
    assert!(!alarms.due("mercy", &b, SECRET_EXPIRED, AGAIN_DAILY_MILLIS - 1), "once a day");
    for n in 0..RAISED_MAX {
        assert!(alarms.due(&n.to_string(), &a, REPLAYED, AGAIN_MILLIS));
    }
    assert!(alarms.0.lock().len() <= RAISED_MAX);
}
