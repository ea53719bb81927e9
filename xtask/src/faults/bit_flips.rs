//! The store's own test of it, with more flips.

use anyhow::Result;

use super::{Outcome, unit_test};

pub(super) fn run(count: u64, seed: u64) -> Result<Outcome> {
    unit_test::run("wayside-mesh", "store::tests::faults::bit_flips::bit_flips", count, seed)
}
