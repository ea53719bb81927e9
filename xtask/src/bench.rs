//! The benchmarks: what the daemon costs and how fast it is, in numbers that anybody can make again.

mod apply;
mod host;
mod idle;
mod join;
mod lan;
mod mqtt;
mod parts;
mod plan;
mod program;
mod routes;
mod store;
mod update;

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use wayside_tests::{build::Binaries, command, ensure::container_engine};

/// What `cargo bench-all` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Which; all when none is named.
    names: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// One figure, beside a peer's where there is one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    /// The median of the runs.
    value: f64,
    unit: &'static str,
    peer: Option<&'static str>,
    peer_value: Option<f64>,
    ratio: Option<f64>,
    runs: usize,
}

/// What is aimed at, by name; 0 where nothing is but to be no worse than the peer. In the order of the table.
const AIMS: [(&str, f64); 21] = [
    ("idle_rss_mb", 16.0),
    ("idle_cpu_pct", 0.5),
    ("join_ms", 300.0),
    ("apply_to_running_ratio", 1.1),
    ("update_one_of_50", 1.0),
    ("update_downtime", 1.0),
    ("lan_apply_20_devices_ms", 2000.0),
    ("binary_mb", 20.0),
    ("queue_durable_msgs_s", 400_000.0),
    ("queue_commit_p99_ms", 5.0),
    ("backlog_rss_mb", 64.0),
    ("backlog_open_ms", 1000.0),
    ("backlog_disk_ratio", 1.3),
    ("mqtt_qos1_durable", 4.0),
    ("mqtt_qos0", 1.0),
    ("mqtt_qos1_p99_ms", 0.0),
    ("mqtt_qos0_p99_ms", 0.0),
    ("route_match_ns", 0.0),
    ("uplink_durable_msgs_s", 100_000.0),
    ("mesh_best_effort", 0.85),
    ("plan_50_modules_ms", 5.0),
];

/// Those that use containers.
const NEED_ENGINE: [&str; 7] = [
    "idle_rss_mb",
    "idle_cpu_pct",
    "join_ms",
    "apply_to_running_ratio",
    update::NAMES[0],
    update::NAMES[1],
    lan::NAME,
];

/// Runs the benchmarks and prints a table or JSON lines.
///
/// # Errors
/// When a name is not known or a host does not come up.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for name in &arguments.names {
        if !AIMS.iter().any(|(known, _)| known == name) {
            let known = AIMS.map(|(known, _)| known).join(", ");
            bail!("no benchmark is called `{name}`; there are {known}");
        }
    }
    let wanted = |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|one| one == name);
    let measured = |list: &[&str]| list.iter().any(|name| wanted(name));
    let needs_engine = measured(&NEED_ENGINE);
    if needs_engine {
        container_engine()?;
    }
    let mut figures = Vec::new();
    if needs_engine || measured(&["binary_mb"]) {
        figures.extend(of_daemons(&measured)?);
    }
    if measured(&mqtt::NAMES) {
        eprintln!("building the release binaries");
        figures.extend(mqtt::measure(&Binaries::build(true)?)?);
    }
    if measured(&["route_match_ns"]) {
        figures.push(routes::measure()?);
    }
    if measured(&["plan_50_modules_ms"]) {
        figures.push(plan::measure()?);
    }
    let (queue, backlog) = (
        measured(&["queue_durable_msgs_s", "queue_commit_p99_ms"]),
        measured(&["backlog_rss_mb", "backlog_open_ms", "backlog_disk_ratio"]),
    );
    if queue || backlog {
        let program = store::Program::build()?;
        if queue {
            figures.extend(store::queue(&program)?);
        }
        if backlog {
            figures.extend(store::backlog(&program)?);
        }
    }
    if measured(&["uplink_durable_msgs_s", "mesh_best_effort"]) {
        figures.extend(of_parts(&measured)?);
    }
    figures.retain(|figure| wanted(figure.name));
    if arguments.json {
        for figure in &figures {
            println!("{}", serde_json::to_string(figure)?);
        }
    } else {
        print(&figures);
    }
    Ok(())
}

/// Those of whole daemons.
fn of_daemons(measured: &dyn Fn(&[&str]) -> bool) -> Result<Vec<Figure>> {
    eprintln!("building the release binaries");
    let binaries = Binaries::build(true)?;
    let mut figures = Vec::new();
    if measured(&["idle_rss_mb", "idle_cpu_pct"]) {
        figures.extend(idle::measure(&binaries)?);
    }
    if measured(&["join_ms"]) {
        figures.push(join::measure(&binaries)?);
    }
    if measured(&["apply_to_running_ratio"]) {
        figures.push(apply::measure(&binaries)?);
    }
    if measured(&update::NAMES) {
        figures.extend(update::measure(&binaries)?);
    }
    if measured(&[lan::NAME]) {
        figures.push(lan::measure(&binaries)?);
    }
    if measured(&["binary_mb"]) {
        figures.push(Figure::alone("binary_mb", &[stripped_mb(&binaries.path("wayside"))?], "MB"));
    }
    Ok(figures)
}

/// How large a binary is as images have it.
fn stripped_mb(binary: &Path) -> Result<f64> {
    let stripped = binary.with_extension("stripped");
    command::run(Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    #[expect(clippy::cast_precision_loss, reason = "the size of a file is far below 2^52")]
    let bytes = fs::metadata(&stripped)?.len() as f64;
    fs::remove_file(&stripped)?;
    Ok(bytes / 1e6)
}

/// Those of the product's parts.
fn of_parts(measured: &dyn Fn(&[&str]) -> bool) -> Result<Vec<Figure>> {
    eprintln!("building the release binaries");
    let binaries = Binaries::build(true)?;
    let mut figures = Vec::new();
    if measured(&["uplink_durable_msgs_s"]) {
        figures.push(parts::uplink(&binaries)?);
    }
    if measured(&["mesh_best_effort"]) {
        figures.push(parts::mesh(&binaries)?);
    }
    Ok(figures)
}

impl Figure {
    /// A figure without a peer.
    fn alone(name: &'static str, runs: &[f64], unit: &'static str) -> Self {
        let value = round(median(runs));
        Self { name, value, unit, peer: None, peer_value: None, ratio: None, runs: runs.len() }
    }
}

fn print(figures: &[Figure]) {
    println!("{:<24}{:>10}  {:<6}{:>8}  {:<18}{:>10}{:>6}", "", "value", "", "aim", "peer", "peer's", "runs");
    for figure in figures {
        let aim = AIMS.iter().find(|(name, _)| *name == figure.name).map_or(0.0, |(_, aim)| *aim);
        let peer_value = figure.peer_value.map(|value| value.to_string()).unwrap_or_default();
        println!(
            "{:<24}{:>10}  {:<6}{aim:>8}  {:<18}{peer_value:>10}{:>6}",
            figure.name,
            figure.value,
            figure.unit,
            figure.peer.unwrap_or_default(),
            figure.runs
        );
    }
}

/// The middle of the values; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(value)) => *value,
        (_, None) => 0.0,
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
