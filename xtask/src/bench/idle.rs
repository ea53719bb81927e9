//! What a daemon costs that has nothing to do: two modules, two peers, an uplink.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use wayside_tests::{build::Binaries, lab::Lab};

use super::{Figure, host};

/// Modules that keep a session with the broker and send nothing.
const COMPOSE: &str = "\
name: idle
services:
  one:
    image: wayside-weather:demo
    command: [/weather-detector]
    environment: {STATION: EWR}
  two:
    image: wayside-weather:demo
    command: [/weather-detector]
    environment: {STATION: JFK}
";

const SETTLE: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_secs(20);

pub(super) fn measure(binaries: &Binaries) -> Result<[Figure; 2]> {
    let lab = Lab::with(binaries.clone())?;
    let (cloud, devices) = lab.fleet(&["a", "b", "c"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("idle", COMPOSE)?])?;
    for device in &devices {
        device.wait_running("idle/one")?;
        device.wait_running("idle/two")?;
    }
    thread::sleep(SETTLE);
    let processes: Vec<u64> = devices.iter().map(host::process).collect::<Result<_>>()?;
    let before: Vec<Duration> =
        processes.iter().map(|&process| host::cpu_time(process)).collect::<Result<_>>()?;
    let started = Instant::now();
    thread::sleep(WINDOW);
    let mut cpu = Vec::new();
    let mut rss = Vec::new();
    for (&process, before) in processes.iter().zip(&before) {
        let spent = host::cpu_time(process)?.checked_sub(*before).context("time went back")?;
        cpu.push(spent.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0);
        rss.push(host::rss_mb(process)?);
    }
    Ok([Figure::alone("idle_rss_mb", &rss, "MB"), Figure::alone("idle_cpu_pct", &cpu, "%")])
}
