//! Time and sequence of records: time never repeats or falls, even when the machine's clock does.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use domain::Millis;
use domain::audit::cbor::Stamp;

/// How far the ledger's time may run ahead of the clock before the clock counts as wrong. Bursts of records within one millisecond
/// run ahead by a microsecond each, so a second is far more than an honest clock causes.
const AHEAD_US_MAX: i64 = 1_000_000;

/// Gives out stamps.
pub(super) struct Stamps {
    boot: [u8; 8],
    seq: AtomicU64,
    last_us: AtomicI64,
    regressed: AtomicBool,
}

impl Stamps {
    /// Goes on from the time of the last record.
    pub(super) fn new(boot: [u8; 8], last_us: i64) -> Self {
        Self { boot, seq: AtomicU64::new(0), last_us: AtomicI64::new(last_us), regressed: AtomicBool::new(false) }
    }

    /// `now`, or the ledger's own time when that is later; what the next stamp will at least be.
    pub(super) fn at_least(&self, now: Millis) -> Millis {
        now.max(self.last_us.load(Ordering::Relaxed) / 1000)
    }

    /// The next stamp: `max(last + 1, now)`.
    pub(super) fn next(&self, node: &str, now: Millis) -> Stamp {
        let now_us = now.saturating_mul(1000);
        let mut last = self.last_us.load(Ordering::Relaxed);
        let ts_us = loop {
            let ts_us = now_us.max(last.saturating_add(1));
            match self.last_us.compare_exchange_weak(last, ts_us, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break ts_us,
                Err(other) => last = other,
            }
        };
        let clock_ok = ts_us - now_us <= AHEAD_US_MAX;
        if !clock_ok {
            self.regressed.store(true, Ordering::Relaxed);
        }
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        Stamp { node: node.to_owned(), boot: self.boot, seq, ts_us, clock_ok }
    }

    /// Whether the clock was found wrong since this was last asked.
    pub(super) fn take_regressed(&self) -> bool {
        self.regressed.swap(false, Ordering::Relaxed)
    }
}

#[test]
fn time_never_falls() {
    let stamps = Stamps::new([0; 8], 5_000_000);
    let first = stamps.next("n", 1_000);
    assert_eq!((first.ts_us, first.clock_ok, first.seq), (5_000_001, false, 0));
    assert!(stamps.take_regressed());
    let second = stamps.next("n", 6_000);
    assert_eq!((second.ts_us, second.clock_ok, second.seq), (6_000_000, true, 1));
    assert_eq!(stamps.next("n", 6_000).ts_us, 6_000_001);
    assert!(!stamps.take_regressed());
    assert_eq!(stamps.at_least(5_000), 6_000);
}
