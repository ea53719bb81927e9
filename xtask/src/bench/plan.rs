//! What a new version of a workload of 50 modules costs a device, without its disk and its engine.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::command::run_within;

use super::{Figure, program};

const LIMIT: Duration = Duration::from_secs(120);

/// From the sealed bytes to the requests to the engine.
pub(super) fn measure() -> Result<Figure> {
    let said = run_within(&mut Command::new(program::build("plan")?), LIMIT)?;
    eprintln!("an update, and a look in which nothing has changed: {said}");
    let all: Value = serde_json::from_str(&said)?;
    let value = all["update_ms"].as_f64().context("a figure is missing")?;
    Ok(Figure {
        name: "plan_50_modules_ms",
        value,
        unit: "ms",
        peer: None,
        peer_value: None,
        ratio: None,
        runs: 21,
    })
}
