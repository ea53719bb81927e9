//! Kills the daemon in the middle of updates, with real containers: afterwards one version runs, whole, and it is the
//! newest that is any good.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use wayside_tests::{build::WEATHER_IMAGE, device::Device, lab::Lab, wait::until};

use super::random::Random;

/// From when an update was applied until the daemon is killed: at most this, in milliseconds. The last of its steps is
/// done before that on a machine that is not busy.
const UPDATE_MS: u64 = 3000;

/// For one version to run again, however it came about.
const PATIENCE: Duration = Duration::from_secs(120);

/// The modules that change with each version; `keep` is always the same.
const CHANGED: [&str; 2] = ["line/first", "line/second"];

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Line {
    name: &'static str,
    updates: u64,
    kills: u64,
    /// Updates after which the new version runs whole.
    kept: u64,
    /// Updates that could not run, after which the version before runs whole.
    taken_back: u64,
    /// Updates after which something else was found.
    broken: u64,
}

/// Updates `count` times, one in three to a version that ends at once, and kills the daemon once or twice within each.
///
/// # Errors
/// When it cannot be done, or something else than one whole version was found; all of them are said.
pub(super) fn run(count: u64, seed: u64) -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = devices.first().context("a device")?;
    let apply = |release: u64| {
        let file = lab.compose("line", &workload(release))?;
        lab.operator().at(&cloud, &["apply", "--no-wait", &file])
    };
    apply(0)?;
    settled(device, 0, None)?;
    let first = device.status()?["versions"]["line"]["version"].as_u64().context("no version")?;
    let kept = device.module("line/keep")?["Id"].clone();
    let mut random = Random(seed);
    let mut line = Line { name: "update-kill", updates: count, ..Line::default() };
    let mut runs = 0;
    for release in 1..=count {
        apply(release)?;
        for _ in 0..=random.below(2) {
            thread::sleep(Duration::from_millis(random.below(UPDATE_MS)));
            device.signal("KILL")?;
            line.kills += 1;
            device.start_again()?;
        }
        let (expected, bad) = if is_good(release) { (release, None) } else { (runs, Some(first + release)) };
        match settled(device, expected, bad) {
            Ok(()) if device.module("line/keep")?["Id"] == kept => runs = expected,
            Ok(()) => {
                line.broken += 1;
                eprintln!("update {release}: the module that never changes was made anew");
            }
            Err(error) => {
                line.broken += 1;
                eprintln!("update {release}: {error:#}");
            }
        }
        if runs == release {
            line.kept += 1;
        } else {
            line.taken_back += 1;
        }
        if release % 10 == 0 {
            eprintln!("{release} of {count}");
        }
    }
    println!("{}", serde_json::to_string(&line)?);
    ensure!(line.broken == 0, "after {} updates not one whole version ran", line.broken);
    Ok(())
}

/// Waits until the device says that a version runs, and that is release `expected`, whole; and that version `bad` was
/// taken back.
fn settled(device: &Device, expected: u64, bad: Option<u64>) -> Result<()> {
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
const fn is_good(release: u64) -> bool {
    release % 3 != 2
}

fn workload(release: u64) -> String {
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
