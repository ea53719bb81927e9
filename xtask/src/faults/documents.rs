//! The state directory's own test of it, with more crash points: what is synced or not is known between its steps only.

use anyhow::Result;

use super::{Outcome, unit_test};

pub(super) fn run(count: u64, seed: u64) -> Result<Outcome> {
    unit_test::run("wayside-runtime", "state::tests::power_loss::power_loss", count, seed)
}
