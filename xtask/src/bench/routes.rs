//! What finding the way of a message costs, with a thousand routes.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::command::run_within;

use super::{Figure, program};

const LIMIT: Duration = Duration::from_secs(600);

/// One of a thousand routes takes the message; the peer is the same with ten routes. Both have conditions.
pub(super) fn measure() -> Result<Figure> {
    let said = run_within(&mut Command::new(program::build("routes")?), LIMIT)?;
    eprintln!("nanoseconds a message by routes/matches: {said}");
    let all: Value = serde_json::from_str(&said)?;
    let ns = |name: &str| all[name].as_f64().context("a figure is missing");
    let (thousand, ten) = (ns("1000/1")?, ns("10/1")?);
    Ok(Figure {
        name: "route_match_ns",
        value: thousand,
        unit: "ns",
        peer: Some("with 10 routes (ns)"),
        peer_value: Some(ten),
        ratio: Some(super::round(thousand / ten)),
        runs: 7,
    })
}
