//! A small deterministic random sequence (SplitMix64), so that a seed always makes the same hospital.

/// The sequence; two made from one seed give the same numbers for ever.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0).saturating_add(1);
        low.saturating_add(i64::try_from(self.below(width)).unwrap_or(0))
    }

    /// True in about `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items; the default value when there are none.
    pub(crate) fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64);
        usize::try_from(index).ok().and_then(|i| from.get(i)).copied().unwrap_or_default()
    }
}

#[test]
fn one_seed_gives_one_sequence() {
    let (mut a, mut b, mut c) = (Random::new(7), Random::new(7), Random::new(8));
    let first: Vec<u64> = (0..5).map(|_| a.next()).collect();
    assert_eq!(first, (0..5).map(|_| b.next()).collect::<Vec<_>>());
    assert_ne!(first, (0..5).map(|_| c.next()).collect::<Vec<_>>());
    assert!((0..1000).all(|_| (3..=5).contains(&a.between(3, 5))));
}
