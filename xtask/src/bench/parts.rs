//! What `wayside-bench` measures with the product's own parts: the uplink and the mesh.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::{build::Binaries, command::run_within};

use super::{Figure, median, round};

const RUNS: usize = 3;
const LIMIT: Duration = Duration::from_secs(300);

/// Messages a second from the device's queue to the cloud's confirmation.
pub(super) fn uplink(binaries: &Binaries) -> Result<Figure> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let measured = measured(binaries, &["uplink"])?;
        runs.push(measured["msgs_s"].as_f64().context("no rate")?);
    }
    Ok(Figure::alone("uplink_durable_msgs_s", &runs, "/s"))
}

/// Best-effort messages a second over the mesh, beside raw Zenoh.
pub(super) fn mesh(binaries: &Binaries) -> Result<Figure> {
    let measured = measured(binaries, &["mesh"])?;
    let rates = |name: &str| -> Result<Vec<f64>> {
        let turns = measured[name].as_array().with_context(|| format!("no {name}"))?;
        Ok(turns.iter().filter_map(Value::as_f64).collect())
    };
    let (ours, raw) = (rates("msgs_s")?, rates("raw_msgs_s")?);
    let (value, peer_value) = (median(&ours), median(&raw));
    Ok(Figure {
        name: "mesh_best_effort",
        value: round(value / peer_value),
        unit: "",
        peer: Some("raw Zenoh (/s)"),
        peer_value: Some(round(peer_value)),
        ratio: Some(round(value / peer_value)),
        runs: ours.len(),
    })
}

fn measured(binaries: &Binaries, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(binaries.path("wayside-bench"));
    let said = run_within(command.args(arguments), LIMIT)?;
    serde_json::from_str(&said).with_context(|| format!("`{said}` is no measurement"))
}
