//! Programs that measure a part of the product from inside: bench targets of its crates, built as a release is.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::command::{cargo, run_within, watch};

const BUILD_LIMIT: Duration = Duration::from_secs(90 * 60);

/// Builds the bench target of this name and gives its path.
pub(super) fn build(name: &str) -> Result<PathBuf> {
    eprintln!("building the benchmark `{name}`");
    let cargo = || {
        let mut cargo = cargo();
        cargo.args(["bench", "--no-run", "--quiet", "--bench", name]);
        cargo.args(["--workspace", "--exclude", "wayside-tests"]);
        cargo
    };
    // Once for a person, who sees what is wrong, and once for its path.
    watch(&mut cargo(), BUILD_LIMIT).context("the benchmark does not build")?;
    let built = run_within(cargo().arg("--message-format=json"), BUILD_LIMIT)?;
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    artifacts
        .filter(|artifact| artifact["target"]["name"] == name)
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
        .context("the benchmark was not built")
}
