//! From the start of a daemon to the moment it sees both running peers.

use std::time::Duration;

use anyhow::{Context, Result};
use wayside_tests::{
    build::Binaries,
    device::{Device, Options},
    engine,
    lab::Lab,
    wait::until,
};

use super::{Figure, host};

const RUNS: usize = 7;
const LIMIT: Duration = Duration::from_secs(30);

/// What the daemon's log says when a device of the site is there.
const SEEN: &str = "neighbour is here";

pub(super) fn measure(binaries: &Binaries) -> Result<Figure> {
    let lab = Lab::with(binaries.clone())?;
    let options = Options { no_wan: true, ..Options::default() };
    for name in ["a", "b"] {
        lab.device(name, &options)?.wait_up()?;
    }
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let device = lab.device(&format!("joins{number}"), &options)?;
        runs.push(joined_ms(&device)?);
        device.signal("KILL")?;
    }
    Ok(Figure::alone("join_ms", &runs, "ms"))
}

fn joined_ms(device: &Device) -> Result<f64> {
    let container = device.container();
    let second = until("two neighbours in the log", LIMIT, || {
        let log = engine::try_docker(["logs", "--timestamps", container])?;
        let text = log.stdout + &log.stderr;
        Ok(text.lines().filter(|line| line.contains(SEEN)).nth(1).map(str::to_owned))
    })?;
    let seen = second.split(' ').next().context("no time in the log")?.to_owned();
    let started = engine::inspect(container)?["State"]["StartedAt"].as_str().unwrap_or_default().to_owned();
    Ok((host::epoch_s(&seen)? - host::epoch_s(&started)?) * 1000.0)
}
