//! From the start of a daemon that has been admitted to the moment it is linked with both running peers.

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
    let options = Options { no_wan: true, ..Options::obeying(&lab)? };
    let devices = ["a", "b", "c"].map(|name| lab.device(name, &options));
    let devices: Vec<Device> = devices.into_iter().collect::<Result<_>>()?;
    for device in &devices {
        device.wait_up()?;
    }
    // Nobody needs the file.
    let file = lab.compose("none", "")?;
    lab.on_lan(lab.operator(), &file, &["approve", "--all", "--lan"])?;
    let device = devices.last().context("no device")?;
    joined_ms(device)?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        device.signal("KILL")?;
        device.start_again()?;
        runs.push(joined_ms(device)?);
    }
    Ok(Figure::alone("join_ms", &runs, "ms"))
}

/// From its last start.
fn joined_ms(device: &Device) -> Result<f64> {
    let container = device.container();
    let started = engine::inspect(container)?["State"]["StartedAt"].as_str().unwrap_or_default().to_owned();
    let second = until("two neighbours in the log", LIMIT, || {
        let log = engine::try_docker(["logs", "--timestamps", "--since", &started, container])?;
        let text = log.stdout + &log.stderr;
        Ok(text.lines().filter(|line| line.contains(SEEN)).nth(1).map(str::to_owned))
    })?;
    let seen = second.split(' ').next().context("no time in the log")?.to_owned();
    Ok((host::epoch_s(&seen)? - host::epoch_s(&started)?) * 1000.0)
}
