//! Faults from seeds: a few with the unit tests, many with `cargo faults NAME --count N --seed S`.

mod bit_flips;
mod disk_errors;
mod images;
mod load;
mod power_loss;

use super::*;

/// How many, and from which seed: as the environment says, or few.
fn asked(few: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (number("WAYSIDE_FAULTS").unwrap_or(few), number("WAYSIDE_SEED").unwrap_or(1))
}

/// What came of it, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    runs: u64,
    /// Acknowledged and not there.
    lost: u64,
    /// There again though its acknowledgement was stored.
    doubled: u64,
    /// Not what was stored under its number.
    misordered: u64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.misordered += other.misordered;
    }

    /// Says it to whoever reads the output, and fails unless all is well.
    fn conclude(self) {
        let Self { runs, lost, doubled, misordered } = self;
        println!(
            "\noutcome: {{\"runs\":{runs},\"lost\":{lost},\"doubled\":{doubled},\"misordered\":{misordered}}}"
        );
        assert_eq!((lost, doubled, misordered), (0, 0, 0));
    }
}

/// Random numbers from a seed, the same on every machine (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A folder in memory where there is one: what the device has is played here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
