//! A new version on trial: whether what changed runs well for its probation, or fails too often.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    report::{Health, ModuleState, ModuleStatus},
    time::Time,
};

/// So many failures of one module within a trial are too many.
pub const FAILURES: u32 = 3;

/// What an engine or a health check says is shown in so many bytes.
const SAID_BYTES: usize = 400;

/// Watches the modules that changed. Each failure begins the probation anew.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    modules: BTreeMap<String, Watched>,
    probation_ms: u64,
    /// Since when all of them run well.
    since: Option<Time>,
}

/// A module that changed.
#[derive(Clone, Debug, Default)]
struct Watched {
    seen: Option<ModuleStatus>,
    failures: Vec<(Time, String)>,
}

impl Trial {
    /// Watches `changed`. What `before`, the trial that this one replaces, knows of modules that go on holds here, too.
    pub(super) fn begin(
        changed: BTreeSet<String>,
        before: Option<Self>,
        replaced: &BTreeSet<String>,
        probation_ms: u64,
    ) -> Self {
        let mut before = before.map(|trial| trial.modules).unwrap_or_default();
        let modules = changed.into_iter().map(|name| {
            let known = before.remove(&name).filter(|_| !replaced.contains(&name));
            (name, Watched { seen: known.and_then(|watched| watched.seen), failures: Vec::new() })
        });
        Self { modules: modules.collect(), probation_ms, since: None }
    }

    /// When the version has proven itself, if nothing happens until then.
    pub(super) fn due(&self) -> Option<Time> {
        self.since.map(|since| since.plus_millis(self.probation_ms))
    }

    /// Whether all that changed runs well at the moment.
    pub(super) fn is_well(&self) -> bool {
        self.since.is_some()
    }

    /// A module said how it is doing. Gives why the version is not to stay, when that is so.
    pub(super) fn saw(
        &mut self,
        module: &str,
        status: ModuleStatus,
        engine_away: bool,
        now: Time,
    ) -> Option<String> {
        let watched = self.modules.get_mut(module)?;
        if watched.seen.as_ref() == Some(&status) {
            return None;
        }
        let failure = failure(&status).filter(|_| !engine_away);
        // It is not started again, or is not well however often its check was run.
        let is_final = matches!(status.state, ModuleState::Ended | ModuleState::Running);
        watched.seen = Some(status);
        let mut why = None;
        if let Some(what) = failure {
            watched.failures.push((now, what));
            why = (is_final || watched.failures.len() >= FAILURES as usize).then(|| watched.tell(module));
        }
        if why.is_some() {
            // Where there is nothing to go back to it is told anew when it has failed as often again.
            watched.failures.clear();
        }
        self.since = if self.all_well() { self.since.or(Some(now)) } else { None };
        why
    }

    /// The engine was away, or is: what failed meanwhile says nothing about the version.
    pub(super) fn forgive(&mut self, engine_away: bool, now: Time) {
        for watched in self.modules.values_mut() {
            watched.failures.clear();
        }
        self.since = (!engine_away && self.all_well()).then_some(now);
    }

    fn all_well(&self) -> bool {
        self.modules.values().all(|watched| watched.seen.as_ref().is_some_and(runs_well))
    }
}

/// Whether the module does what it is there for.
pub(super) fn runs_well(status: &ModuleStatus) -> bool {
    match status.state {
        ModuleState::Running => match status.health {
            None | Some(Health::Healthy) => true,
            Some(Health::Starting | Health::Unhealthy) => false,
        },
        ModuleState::Ended => status.exit_code == Some(0),
        ModuleState::Creating
        | ModuleState::Starting
        | ModuleState::BackOff
        | ModuleState::Stopping
        | ModuleState::Failed => false,
    }
}

/// How the module failed, if it did.
fn failure(status: &ModuleStatus) -> Option<String> {
    match status.state {
        // What is started again whenever it ends is not there to end, not even with 0.
        ModuleState::BackOff => status.exit_code.map(|code| format!("exited with {code}")),
        ModuleState::Ended => status
            .exit_code
            .filter(|code| *code != 0)
            .map(|code| format!("exited with {code} and is not to be started again")),
        ModuleState::Failed => Some(format!("could not be run ({})", cut(&status.problem))),
        ModuleState::Running => {
            let is_unhealthy = status.health == Some(Health::Unhealthy);
            is_unhealthy.then(|| format!("is unhealthy ({})", cut(status.output.trim())))
        }
        ModuleState::Creating | ModuleState::Starting | ModuleState::Stopping => None,
    }
}

impl Watched {
    /// `sensor exited with 3 three times in 12 s`.
    fn tell(&self, module: &str) -> String {
        let (Some((first, _)), Some((last, what))) = (self.failures.first(), self.failures.last()) else {
            return format!("{module} failed");
        };
        let times = match self.failures.len() {
            1 => return format!("{module} {what}"),
            2 => "twice",
            _ => "three times",
        };
        let seconds = last.millis_since(*first).div_ceil(1000);
        if self.failures.iter().all(|(_, other)| other == what) {
            format!("{module} {what} {times} in {seconds} s")
        } else {
            format!("{module} failed {times} in {seconds} s, and {what} at last")
        }
    }
}

/// At most [`SAID_BYTES`] of it.
fn cut(text: &str) -> &str {
    let end = (0..=SAID_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
