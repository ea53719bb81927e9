//! What a daemon costs that has nothing to do: two modules, two peers, an uplink.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use wayside_tests::{
    build::Binaries,
    device::{Device, Options},
    lab::Lab,
    wait::until_true,
};

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
    let cloud = lab.cloud()?;
    let options = Options::joining(&lab, cloud.join_link())?;
    let devices: Vec<Device> =
        ["a", "b", "c"].iter().map(|name| lab.device(name, &options)).collect::<Result<_>>()?;
    for device in &devices {
        device.wait_up()?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("compose.yaml");
    std::fs::write(&file, COMPOSE)?;
    lab.operator().at(&cloud, &["apply", &file.to_string_lossy()])?;
    for device in &devices {
        until_true("two modules", Duration::from_secs(60), || {
            let one = device.module("idle/one")?["State"]["Running"] == true;
            Ok(one && device.module("idle/two")?["State"]["Running"] == true)
        })?;
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
