//! The store's own test of it, with more errors. `strace` makes them.

use anyhow::Result;
use wayside_tests::ensure::program;

use super::{Outcome, unit_test};

pub(super) fn run(count: u64, seed: u64) -> Result<Outcome> {
    program("strace", &["strace"])?;
    unit_test::run("wayside-mesh", "store::tests::faults::disk_errors::disk_errors", count, seed)
}
