//! The workload that faults update: two modules change with each release, one never does.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wayside_tests::{
    build::WEATHER_IMAGE,
    cloud::Cloud,
    device::{Device, Options},
    lab::Lab,
    relay::Relay,
    wait::{until, until_true},
};

/// For one version to run again, however it came about.
const PATIENCE: Duration = Duration::from_secs(120);

/// The modules that change with each version; `keep` is always the same.
const CHANGED: [&str; 2] = ["line/first", "line/second"];

/// A cloud, and a device that has joined it and has its engine behind this relay.
pub(super) fn behind(lab: &Lab, relay: &Relay) -> Result<(Cloud, Device)> {
    let cloud = lab.cloud()?;
    let joining = Options::joining(lab, cloud.join_link())?;
    let options = Options { engine_folder: Some(relay.folder()), ..joining };
    let device = lab.device("a", &options)?;
    device.wait_up()?;
    until_true("the device at the cloud", Duration::from_secs(60), || {
        Ok(cloud.get("/api/v1/devices")?.as_array().is_some_and(|known| known.len() == 1))
    })?;
    Ok((cloud, device))
}

/// Waits until the device says that a version runs, and that is release `expected`, whole; and that version `bad` was
/// taken back.
pub(super) fn settled(device: &Device, expected: u64, bad: Option<u64>) -> Result<()> {
    until(&format!("release {expected} to run whole"), PATIENCE, || {
        let status = device.status()?;
        let phase = &status["versions"]["line"]["phase"];
        ensure!(phase == "running", "phase {phase}");
        if let Some(bad) = bad {
            let problem = status["versions"]["line"]["problem"].to_string();
            ensure!(problem.contains(&format!("version {bad} of line was taken back")), "{problem}");
        }
        let found = CHANGED.iter().map(|module| release_of(&device.module(module)?));
        let found = found.collect::<Result<BTreeSet<u64>>>()?;
        ensure!(found == BTreeSet::from([expected]), "of releases {found:?}");
        let keep = device.module("line/keep")?;
        ensure!(keep["State"]["Running"] == true, "keep does not run");
        Ok(Some(()))
    })
}

/// Which release a container that runs is of.
fn release_of(container: &Value) -> Result<u64> {
    ensure!(container["State"]["Running"] == true, "{} does not run", container["Name"]);
    let entries = container["Config"]["Env"].as_array().context("no environment")?;
    let entry = entries.iter().find_map(|entry| entry.as_str()?.strip_prefix("RELEASE="));
    entry.context("no release")?.parse().context("a release is a number")
}

/// Two releases that stay up, then one that ends.
pub(super) const fn is_good(release: u64) -> bool {
    release % 3 != 2
}

/// A release as a Compose file.
pub(super) fn workload(release: u64) -> String {
    // A rate that is no number ends the program at once, with code 1.
    let second = if is_good(release) { "/weather-detector" } else { "/weather-sensor" };
    let service = |name: &str, program: &str, release: u64| {
        format!(
            "\x20 {name}:\n\x20   image: {WEATHER_IMAGE}\n\x20   command: [{program}]\n\x20   environment: {{STATION: EWR, SENSOR_RATE: x, RELEASE: \"{release}\"}}\n"
        )
    };
    format!(
        "name: line\nservices:\n{}{}{}x-wayside:\n\x20 target: all\n\x20 update: {{probation: 1s}}\n",
        service("keep", "/weather-detector", 0),
        service("first", "/weather-detector", release),
        service("second", second, release),
    )
}
