//! Refusals of callers who did not authenticate, counted together: exact numbers, few records.

use std::collections::HashMap;
use std::net::IpAddr;

use domain::Reason;
use domain::audit::{AuditRecord, Kind, Outcome};
use parking_lot::Mutex;

use super::Core;
use crate::clock::random;
use crate::keys::SYSTEM;

/// Most (tenant, reason, prefix) counted apart within a second; what goes beyond is counted per tenant and reason alone, so a caller
/// with many addresses can neither grow memory nor escape the count.
const KEYS_MAX: usize = 4_096;
/// Prefix that stands for all the rest.
const REST: &str = "other addresses";

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    tenant: String,
    reason: Reason,
    prefix: String,
}

#[derive(Default)]
pub(super) struct Floods(Mutex<HashMap<Key, u32>>);

impl Floods {
    pub(super) fn count(&self, tenant: &str, reason: Reason, peer: IpAddr) {
        self.add(Key { tenant: tenant.to_owned(), reason, prefix: prefix(peer) }, 1);
    }

    fn add(&self, key: Key, count: u32) {
        let mut counts = self.0.lock();
        let key = if counts.len() < KEYS_MAX || counts.contains_key(&key) {
            key
        } else {
            Key { prefix: REST.to_owned(), ..key }
        };
        let held = counts.entry(key).or_default();
        *held = held.saturating_add(count);
    }

    fn take(&self) -> Vec<(Key, u32)> {
        self.0.lock().drain().collect()
    }
}

/// The network a caller is in: /24 of IPv4, /48 of IPv6.
fn prefix(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

impl Core {
    /// Turns the counts into records. What finds no place in the queue stays counted for the next second.
    pub(super) fn flush_floods(self: &std::sync::Arc<Self>) {
        for (key, count) in self.floods.take() {
            let tenant = if self.keys.knows(&key.tenant) { key.tenant.as_str() } else { SYSTEM };
            let queued = random().map_err(super::RecordError::from).and_then(|id| {
                let mut record = AuditRecord::new(tenant, Kind::Flood, Outcome::Denied, id);
                record.decision.reason = key.reason.code().to_owned();
                record.object.filtered = count;
                record.phi.peer.clone_from(&key.prefix);
                let slot = super::writer::reserve(self, super::Lane::Denial)?;
                self.queue.push(slot, self.seal(record)?, None)
            });
            if let Err(why) = queued {
                tracing::warn!(%why, "counted refusals wait for the next second");
                self.floods.add(key, count);
            }
        }
    }
}

#[test]
fn counts_are_exact_and_bounded() {
    let floods = Floods::default();
    for at in 0..2 * u32::try_from(KEYS_MAX).unwrap() {
        let [_, a, b, c] = at.to_be_bytes();
        floods.count("mercy", Reason::TokenInvalid, IpAddr::from([10, a, b, c]));
        floods.count("mercy", Reason::TokenInvalid, IpAddr::from([a, b, c, 1]));
    }
    let counts = floods.take();
    assert!(counts.len() <= KEYS_MAX + 1);
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u32>(), 4 * u32::try_from(KEYS_MAX).unwrap());
    assert_eq!(prefix("192.0.2.77".parse().unwrap()), "192.0.2.0/24");
    assert_eq!(prefix("::ffff:192.0.2.77".parse().unwrap()), "192.0.2.0/24");
    assert_eq!(prefix("2001:db8:1:2::3".parse().unwrap()), "2001:db8:1::/48");
}
