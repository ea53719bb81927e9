//! Runs one unit test with a count and a seed. It says what came of it in a line of its output.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wayside_tests::{
    build::workspace,
    command::{capture_within, cargo, run_within, watch},
};

use super::Outcome;

/// All unit tests from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(90 * 60);
/// Ten thousand of anything.
const RUN_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

/// How a test begins the line.
const OUTCOME: &str = "outcome: ";

pub(super) fn run(package: &str, test: &str, count: u64, seed: u64) -> Result<Outcome> {
    let mut command = Command::new(binary(package)?);
    command.current_dir(workspace()).args(["--exact", test, "--nocapture"]);
    command.env("WAYSIDE_FAULTS", count.to_string()).env("WAYSIDE_SEED", seed.to_string());
    let ended = capture_within(&mut command, RUN_LIMIT)?;
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(OUTCOME));
    let Some(line) = line else { bail!("{test} did not say what came of it: {ended}") };
    let outcome: Outcome = serde_json::from_str(line).context("its outcome")?;
    for line in ended.stdout.lines().filter(|line| !line.is_empty() && !line.starts_with(OUTCOME)) {
        eprintln!("{line}");
    }
    Ok(outcome)
}

/// The package's unit tests. The whole workspace is chosen, so that nothing is built with other features than its tests are.
pub(super) fn binary(package: &str) -> Result<PathBuf> {
    let cargo = || {
        let mut cargo = cargo();
        cargo.args(["test", "--no-run", "--quiet", "--lib", "--workspace"]);
        cargo
    };
    // Once for a person, who sees what is wrong, and once for its path.
    watch(&mut cargo(), BUILD_LIMIT).context("the tests do not build")?;
    let built = run_within(cargo().arg("--message-format=json"), BUILD_LIMIT)?;
    let found =
        built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|artifact| {
            let is_it = artifact["target"]["name"] == package.replace('-', "_")
                && artifact["profile"]["test"] == true;
            artifact["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
        });
    found.with_context(|| format!("no unit tests of {package} were built"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read() {
        let said = r#"{"runs":3,"lost":0,"doubled":1,"misordered":0}"#;
        let outcome: Outcome = serde_json::from_str(said).unwrap();
        assert_eq!(outcome, Outcome { runs: 3, lost: 0, doubled: 1, misordered: 0 });
    }
}
