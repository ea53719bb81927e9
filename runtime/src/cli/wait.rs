//! Waiting until modules run, with progress for whoever watches.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{failure::Failure, output, view::DeviceView};

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);
/// Looks that must agree: a device reports what it holds a moment before it replaces what runs.
const AGREEING: u32 = 2;

/// How far a device is.
pub(super) enum Progress {
    /// All modules run.
    Done,
    /// In words, what is missing.
    Missing(String),
    /// In words, why it does not begin though it is ready: a lock, or a maintenance window.
    Held(String),
    /// In words, why the device will not have it.
    Over(String),
}

/// Wall clock, milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Whether `modules` of `workload` run on the device in the version that was applied.
pub(super) fn progress(
    device: &DeviceView,
    workload: &str,
    version: u64,
    modules: &BTreeSet<String>,
) -> Progress {
    // A device of before versions were told of is known by its modules alone.
    if let Some(runs) = device.versions.get(workload).filter(|runs| runs.version != version) {
        let ours = format!("version {version} of {workload}");
        // What is said of another version is no news of this one.
        let said = runs.problem.starts_with(&ours);
        if said && runs.problem[ours.len()..].starts_with(" was taken back") {
            return Progress::Over(format!("{}: {}", device.name, runs.problem));
        }
        if said && runs.problem[ours.len()..].starts_with(" is ready and waits") {
            return Progress::Held(format!("{}: {}", device.name, runs.problem));
        }
        let what = if said { runs.problem.clone() } else { format!("{ours}: not begun") };
        return Progress::Missing(format!("{}: {what}", device.name));
    }
    let missing: Vec<String> = modules
        .iter()
        .filter_map(|module| match device.modules.get(&format!("{workload}/{module}")) {
            Some(status) if status.state == "running" => None,
            Some(status) if status.state == "ended" && status.exit_code == Some(0) => None,
            Some(status) if status.problem.is_empty() => Some(format!("{module} is {}", status.state)),
            Some(status) => Some(format!("{module} is {}: {}", status.state, status.problem)),
            None => Some(format!("{module} is not there yet")),
        })
        .collect();
    if missing.is_empty() {
        Progress::Done
    } else {
        Progress::Missing(format!("{}: {}", device.name, missing.join(", ")))
    }
}

/// Looks until nothing is missing any more. `look` gives what is missing, by device.
pub(super) fn wait(
    patience: Duration,
    mut look: impl FnMut() -> Result<Vec<String>, Failure>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut told, mut agreeing) = (Vec::new(), 0);
    loop {
        let missing = look()?;
        agreeing = if missing.is_empty() { agreeing + 1 } else { 0 };
        if agreeing >= AGREEING {
            return Ok(());
        }
        for line in missing.iter().filter(|line| !told.contains(*line)) {
            output::note(&format!("  {line}"));
        }
        if started.elapsed() > patience {
            return Err(Failure::Failed(format!(
                "handed over, but not all of it runs after {} s:\n  {}\nhelp: `wayside status DEVICE` and `wayside logs DEVICE/MODULE` tell more; devices go on trying",
                patience.as_secs(),
                missing.join("\n  ")
            )));
        }
        told = missing;
        thread::sleep(POLL);
    }
}
