//! What the kernel and the engine say of a host.

use std::{
    fs,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::{command::run, device::Device, engine};

/// The daemon's process, as this machine numbers it.
pub(super) fn process(device: &Device) -> Result<u64> {
    let state = engine::inspect(device.container())?;
    state["State"]["Pid"].as_u64().context("no process")
}

/// Memory of the process that is in RAM, in megabytes.
pub(super) fn rss_mb(process: u64) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Time on a CPU since the process began, user and system.
pub(super) fn cpu_time(process: u64) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().context("no stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // The unit of /proc is fixed at a hundredth of a second on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

/// A time as the engine writes it, in seconds since the Unix epoch.
pub(super) fn epoch_s(time: &str) -> Result<f64> {
    let seconds = run(Command::new("date").args(["--date", time, "+%s.%N"]))?;
    seconds.parse().with_context(|| format!("`{time}` is not a time"))
}

/// When the process of a container began, if it runs, in seconds since the Unix epoch.
pub(super) fn started_s(container: &Value) -> Result<Option<f64>> {
    let state = &container["State"];
    match state["StartedAt"].as_str() {
        Some(time) if state["Running"] == true => epoch_s(time).map(Some),
        _ => Ok(None),
    }
}

/// Seconds since the Unix epoch.
pub(super) fn now_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
