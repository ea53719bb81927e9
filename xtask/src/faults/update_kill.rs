//! Kills the daemon in the middle of updates, with real containers: afterwards one version runs, whole, and it is the
//! newest that is any good.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use wayside_tests::lab::Lab;

use super::{
    line::{is_good, settled, workload},
    random::Random,
};

/// From when an update was applied until the daemon is killed: at most this, in milliseconds. The last of its steps is
/// done before that on a machine that is not busy.
const UPDATE_MS: u64 = 3000;

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
