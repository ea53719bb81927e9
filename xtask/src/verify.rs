//! Everything that has to hold before a change is good. Continues after a failure, so that one run shows all.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use wayside_tests::{
    command::{self, capture, watch},
    ensure::{container_engine, find, program},
};

use crate::{faults, tidy};

/// What `cargo verify` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave out the end-to-end tests and the kills, which need a container engine and root. Not for CI.
    #[arg(long)]
    quick: bool,
}

/// Pinned, so that a newer one with other rules or another compiler does not come in by itself.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// For one check, with a build from nothing before it: what hangs is killed, and the others still have their turn.
const CHECK_LIMIT: Duration = Duration::from_secs(40 * 60);

const DOWNLOAD_LIMIT: Duration = Duration::from_secs(20 * 60);

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 5] = [
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("tidy", tidy::run),
    ("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--test", TESTS, "--", "--deny", "warnings"])
    }),
    ("deny", deny),
    ("unit tests", || cargo(&["test", "--workspace", "--no-fail-fast"])),
];

/// The tests of `tests/`, which have a check of their own and so are in no other choice.
const TESTS: &str = "end_to_end";

/// One at a time: two are done in half the time, but two cores are then late now and then where seconds count. With the
/// whole workspace, or they would be built with other features.
const END_TO_END: Check =
    ("end-to-end tests", || cargo(&["test", "--workspace", "--test", TESTS, "--", "--test-threads=1"]));

/// Each point of a kill twice.
const KILLS: Check = ("kills", || faults::kill9(14, 1));

/// Runs all checks and prints how each went.
///
/// # Errors
/// When one failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    components()?;
    // Unit tests of the store fail its system calls with it.
    program("strace", &["strace"])?;
    let mut checks = CHECKS.to_vec();
    if !arguments.quick {
        container_engine()?;
        checks.extend([END_TO_END, KILLS]);
    }
    let mut results = Vec::new();
    for (name, check) in checks {
        println!("== {name}");
        let started = Instant::now();
        let result = check();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        results.push((name, result.is_ok(), started.elapsed()));
    }
    println!();
    for (name, passed, took) in &results {
        println!("{:<6} {name:<18} {:>6} s", if *passed { "ok" } else { "FAILED" }, seconds(*took));
    }
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    ensure!(failed == 0, "{failed} of {} checks failed", results.len());
    Ok(())
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components() -> Result<()> {
    let is_there = |name: &str| cargo_succeeds(&[name, "--version"]);
    if is_there("fmt") && is_there("clippy") {
        return Ok(());
    }
    println!("adding rustfmt and clippy to the toolchain");
    watch(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]), DOWNLOAD_LIMIT)
        .context("rustfmt or clippy is missing: `rustup component add rustfmt clippy` brings them")
}

/// `cargo deny`, which is built here when it is missing.
fn deny() -> Result<()> {
    if find("cargo-deny").is_none() {
        println!("building cargo-deny, which is missing");
        cargo(&["install", "--locked", "--quiet", CARGO_DENY])?;
    }
    cargo(&["deny", "check", "bans", "licenses", "sources"])
}

/// Whether cargo, told this and kept quiet, succeeds.
fn cargo_succeeds(arguments: &[&str]) -> bool {
    capture(command::cargo().args(arguments)).is_ok_and(|ended| ended.code == 0)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    watch(command::cargo().args(arguments), CHECK_LIMIT)
}

fn seconds(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64())
}
