//! Waiting until modules run, with progress for whoever watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use wayside_config::identity::DeviceId;

use super::{failure::Failure, output, view::DeviceView};

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);
/// Looks that must agree: a device reports what it holds a moment before it replaces what runs, and a module that ends at once may be
/// said to run for as long as until the next report, which is a second.
const AGREEING: u32 = 4;

/// Wall clock, milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A version that devices are to run, as they are looked at again and again.
pub(super) struct Awaited<'a> {
    pub(super) workload: &'a str,
    pub(super) version: u64,
    pub(super) modules: &'a BTreeSet<String>,
    /// In words, why devices do not begin though they are ready: locks, and maintenance windows. Nobody waits for that.
    held: BTreeSet<String>,
    /// Names of devices that may still take it back.
    on_probation: BTreeSet<String>,
    /// The fewest restarts that were seen of a module.
    restarts: BTreeMap<(DeviceId, String), u32>,
}

impl<'a> Awaited<'a> {
    pub(super) const fn new(workload: &'a str, version: u64, modules: &'a BTreeSet<String>) -> Self {
        Self {
            workload,
            version,
            modules,
            held: BTreeSet::new(),
            on_probation: BTreeSet::new(),
            restarts: BTreeMap::new(),
        }
    }

    /// In words, what is missing on the device; `None` when all modules run, or it is held back.
    ///
    /// # Errors
    /// When the device will not have it: nobody need wait any longer.
    pub(super) fn missing(&mut self, device: &DeviceView) -> Result<Option<String>, Failure> {
        let mut is_on_probation = false;
        // A device of before versions were told of is known by its modules alone.
        if let Some(runs) = device.versions.get(self.workload) {
            if runs.version != self.version {
                return self.not_begun(device, &runs.problem);
            }
            // None before it to go back to: it is tried on and on, and the operator has to mend it.
            let fails = format!("version {} of {} fails", self.version, self.workload);
            if runs.problem.starts_with(&fails) {
                return Err(Failure::Failed(format!(
                    "{}: {}\nhelp: `wayside logs {0}/MODULE` shows what it wrote; mend it and apply it again",
                    device.name, runs.problem
                )));
            }
            is_on_probation = matches!(&*runs.phase, "probation" | "switching");
        }
        let missing: Vec<String> =
            self.modules.iter().filter_map(|module| self.wrong(device, module, is_on_probation)).collect();
        let name = device.name.clone();
        if is_on_probation {
            self.on_probation.insert(name)
        } else {
            self.on_probation.remove(&name)
        };
        Ok((!missing.is_empty()).then(|| format!("{}: {}", device.name, missing.join(", "))))
    }

    fn not_begun(&mut self, device: &DeviceView, problem: &str) -> Result<Option<String>, Failure> {
        let name = &device.name;
        let ours = format!("version {} of {}", self.version, self.workload);
        // What is said of another version is no news of this one.
        let said = problem.strip_prefix(&ours);
        if said.is_some_and(|said| said.starts_with(" was taken back")) {
            return Err(Failure::Failed(format!(
                "{name}: {problem}\nhelp: `wayside logs {name}/MODULE --previous` shows what it wrote; mend it and apply it again"
            )));
        }
        if said.is_some_and(|said| said.starts_with(" is ready and waits")) {
            self.held.insert(format!("{name}: {problem}"));
            return Ok(None);
        }
        Ok(Some(if said.is_some() {
            format!("{name}: {problem}")
        } else {
            format!("{name}: {ours}: not begun")
        }))
    }

    fn wrong(&mut self, device: &DeviceView, module: &String, is_on_probation: bool) -> Option<String> {
        let id = format!("{}/{module}", self.workload);
        let Some(status) = device.modules.get(&id) else { return Some(format!("{module} is not there yet")) };
        let fewest = self.restarts.entry((device.device, id)).or_insert(status.restarts);
        *fewest = status.restarts.min(*fewest);
        if let Some(health @ ("starting" | "unhealthy")) = status.health.as_deref() {
            return Some(format!("{module} runs and its health is {health}"));
        }
        match (&*status.state, status.exit_code) {
            // One that ends again and again runs between.
            ("running", _) if is_on_probation && status.restarts > *fewest => Some(format!(
                "{module} runs again after it ended, and has to stay up until its probation is over"
            )),
            ("running", _) | ("ended", Some(0)) => None,
            (state, _) if status.problem.is_empty() => Some(format!("{module} is {state}")),
            (state, _) => Some(format!("{module} is {state}: {}", status.problem)),
        }
    }

    /// Why devices do not begin though they are ready.
    pub(super) fn held(&self) -> Vec<String> {
        self.held.iter().cloned().collect()
    }

    /// Says what nobody waited for.
    pub(super) fn note_rest(&self) {
        self.held.iter().for_each(|what| output::note(&format!("  {what}")));
        if !self.on_probation.is_empty() {
            let names: Vec<&str> = self.on_probation.iter().map(String::as_str).collect();
            output::note(&format!(
                "  on probation: {}; where a version proved itself before, it is taken back if a module fails within that; `wayside status` tells",
                names.join(", ")
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that runs version 6 of `w`, whose module `sensor` is so.
    fn device(phase: &str, state: &str, exit_code: Option<i64>, restarts: u32) -> DeviceView {
        let mut device = DeviceView::from(crate::cli::view::tests::status());
        let (versions, modules) = (&mut device.versions, &mut device.modules);
        let (w, sensor) = (versions.get_mut("w").unwrap(), modules.get_mut("w/sensor").unwrap());
        phase.clone_into(&mut w.phase);
        (sensor.state, sensor.exit_code, sensor.restarts) = (state.into(), exit_code, restarts);
        sensor.health = None;
        device
    }

    #[test]
    fn what_ends_and_runs_again_within_its_probation_does_not_run_yet() {
        let modules = BTreeSet::from(["sensor".to_owned()]);
        let mut awaited = Awaited::new("w", 6, &modules);
        let mut missing = |device: &DeviceView| awaited.missing(device).unwrap();
        // What it did in versions before does not count.
        assert_eq!(missing(&device("probation", "running", None, 4)), None);
        assert_eq!(missing(&device("probation", "running", None, 0)), None);
        assert!(missing(&device("probation", "back-off", Some(3), 0)).is_some());
        assert!(missing(&device("probation", "running", None, 1)).unwrap().contains("after it ended"));
        assert_eq!(missing(&device("probation", "ended", Some(0), 1)), None);
        assert_eq!(missing(&device("running", "running", None, 1)), None);
        assert!(missing(&device("running", "ended", Some(1), 1)).is_some());
        let other = BTreeSet::from(["pump".to_owned()]);
        assert!(
            Awaited::new("w", 6, &other).missing(&device("running", "running", None, 0)).unwrap().is_some()
        );
    }

    #[test]
    fn what_has_a_health_check_is_waited_for_until_it_is_healthy() {
        let modules = BTreeSet::from(["sensor".to_owned()]);
        let missing = |health: Option<&str>| {
            let mut device = device("running", "running", None, 0);
            device.modules.get_mut("w/sensor").unwrap().health = health.map(Into::into);
            Awaited::new("w", 6, &modules).missing(&device).unwrap()
        };
        assert!(missing(Some("starting")).unwrap().contains("health is starting"));
        assert!(missing(Some("unhealthy")).unwrap().contains("health is unhealthy"));
        assert_eq!(missing(Some("healthy")), None);
        assert_eq!(missing(None), None);
    }

    #[test]
    fn a_first_version_that_fails_ends_the_wait() {
        let modules = BTreeSet::from(["sensor".to_owned()]);
        let said = |version: u64| {
            let mut device = device("switching", "back-off", Some(3), 5);
            device.versions.get_mut("w").unwrap().problem =
                format!("version {version} of w fails: sensor exited with 3");
            Awaited::new("w", 6, &modules).missing(&device)
        };
        assert!(matches!(said(6), Err(Failure::Failed(text)) if text.contains("sensor exited with 3")));
        assert!(said(5).unwrap().is_some());
    }

    #[test]
    fn another_version_is_waited_for_until_it_is_refused_or_held_back() {
        let modules = BTreeSet::from(["sensor".to_owned()]);
        let said = |problem: &str| {
            let mut device = device("running", "running", None, 0);
            problem.clone_into(&mut device.versions.get_mut("w").unwrap().problem);
            Awaited::new("w", 7, &modules).missing(&device)
        };
        assert!(said("").unwrap().unwrap().contains("not begun"));
        assert!(said("version 6 of w was taken back: x").unwrap().unwrap().contains("not begun"));
        assert!(said("version 7 of w waits: no room").unwrap().unwrap().contains("no room"));
        assert_eq!(said("version 7 of w is ready and waits for a lock").unwrap(), None);
        assert!(matches!(
            said("version 7 of w was taken back: sensor exited with 3"),
            Err(Failure::Failed(text)) if text.contains("exited with 3") && text.contains("wayside logs ewr/MODULE --previous")
        ));
    }
}
