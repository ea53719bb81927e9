//! How long to wait before trying again: doubling, capped, and spread so that a fleet does not try at once.

/// A wait that doubles from `first_ms` to `cap_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first new attempt.
    pub first_ms: u64,
    /// Never longer than this.
    pub cap_ms: u64,
}

impl Backoff {
    /// The wait after `failures` failures in a row, the first being 0.
    #[must_use]
    pub fn wait_ms(self, failures: u32) -> u64 {
        let doubled = 1u64.checked_shl(failures).and_then(|factor| self.first_ms.checked_mul(factor));
        doubled.map_or(self.cap_ms, |ms| ms.min(self.cap_ms))
    }

    /// As [`Self::wait_ms`], shortened by up to a quarter: by how much depends on `seed` and `failures`.
    #[must_use]
    pub fn jittered_ms(self, failures: u32, seed: u64) -> u64 {
        let wait = self.wait_ms(failures);
        wait - mix(seed ^ u64::from(failures)) % (wait / 4 + 1)
    }
}

/// `SplitMix64`: neighbouring inputs give unrelated outputs.
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first_ms: 1000, cap_ms: 60_000 };

    #[test]
    fn doubles_up_to_the_cap() {
        let waits = [0, 1, 5, 6, 63, 64, u32::MAX].map(|failures| BACKOFF.wait_ms(failures));
        assert_eq!(waits, [1000, 2000, 32_000, 60_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn jitter_shortens_by_at_most_a_quarter_and_spreads() {
        let waits: std::collections::BTreeSet<_> = (0..1000).map(|s| BACKOFF.jittered_ms(9, s)).collect();
        assert!(waits.iter().all(|ms| (45_000..=60_000).contains(ms)));
        assert!(waits.len() > 900);
    }
}
