//! What of the desired state is not so on the device: named, with since when and why.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::workload::ModuleId;

use super::Reconciler;
use crate::{
    device::reconciler::{Effect, Event, Lag, course::Course, life::Version, trial::runs_well},
    machine::Effects,
    report::{Health, ModuleState, ModuleStatus},
    time::Time,
};

/// What was well for less than this, in milliseconds, was not well in between: it is as it is not since before.
const WELL_MS: u64 = 60_000;

/// What is not as it should be, or was not until a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    lag: Lag,
    /// When it was as it should be again; `None` as long as it is not.
    well: Option<Time>,
}

/// Whose drift an event may change.
pub(super) enum Touched {
    Nothing,
    Workload(String),
    All,
}

impl Touched {
    pub(super) fn by(event: &Event) -> Self {
        match event {
            Event::Module { module, .. } | Event::ModuleGone(module) | Event::ModuleRestarted(module) => {
                Self::Workload(module.workload.to_string())
            }
            Event::Looked { workload, .. } | Event::Pulled { workload, .. } => {
                Self::Workload(workload.clone())
            }
            Event::Desired { .. }
            | Event::Observed { .. }
            | Event::Time { .. }
            | Event::Lock { .. }
            | Event::Labels(_)
            | Event::EngineBack
            | Event::EngineLost { .. }
            | Event::Woken => Self::All,
            Event::Space { .. }
            | Event::Got { .. }
            | Event::ImageGone { .. }
            | Event::RouterRestarted
            | Event::HealthRestarted => Self::Nothing,
        }
    }
}

impl Reconciler {
    /// Tells what is not as it should be, if that is new.
    pub(super) fn tell_drift(&mut self, touched: Touched, now: Time, out: &mut Effects<Effect>) {
        let names = match touched {
            Touched::Nothing => return,
            Touched::Workload(name) => BTreeSet::from([name]),
            Touched::All => {
                let on_their_way =
                    self.leaving.iter().chain(&self.departing).map(|module| module.workload.to_string());
                self.courses.keys().cloned().chain(on_their_way).chain(self.drift.keys().cloned()).collect()
            }
        };
        for name in names {
            let mut lags = self.lags(&name, now);
            let mut noted = self.drift.remove(&name).unwrap_or_default();
            noted.retain(|what, known| match (lags.remove(what), known.well) {
                (Some(lag), well) => {
                    let was_well = well.is_some_and(|well| now.millis_since(well) >= WELL_MS);
                    let goes_on = lag.desired == known.lag.desired && !was_well;
                    let lag = Lag { since: if goes_on { known.lag.since } else { now }, ..lag };
                    if well.is_some() || lag != known.lag {
                        out.push(Effect::Drift(what.clone(), Some(lag.clone())));
                    }
                    *known = Noted { lag, well: None };
                    true
                }
                (None, None) => {
                    out.push(Effect::Drift(what.clone(), None));
                    known.well = Some(now);
                    true
                }
                (None, Some(well)) => now.millis_since(well) < WELL_MS,
            });
            for (what, lag) in lags {
                out.push(Effect::Drift(what.clone(), Some(lag.clone())));
                noted.insert(what, Noted { lag, well: None });
            }
            if !noted.is_empty() {
                self.drift.insert(name, noted);
            }
        }
    }

    /// Tells a health that has forgotten it.
    pub(super) fn tell_drift_again(&self, out: &mut Effects<Effect>) {
        for (what, noted) in self.drift.values().flatten().filter(|(_, noted)| noted.well.is_none()) {
            out.push(Effect::Drift(what.clone(), Some(noted.lag.clone())));
        }
    }

    /// In what a workload is not as it should be.
    fn lags(&self, name: &str, now: Time) -> BTreeMap<String, Lag> {
        let lag = |desired: &str, reported: String, why: String| Lag {
            desired: desired.to_owned(),
            reported,
            since: now,
            why,
        };
        let mut lags = BTreeMap::new();
        if let Some(course) = self.courses.get(name) {
            if let Some((desired, reported)) = course.lag() {
                let status = course.status();
                let why =
                    if status.problem.is_empty() { status.phase.name().to_owned() } else { status.problem };
                lags.insert(name.to_owned(), lag(&desired, reported, why));
            }
            let modules = course.runs().map(|version| &version.release.workload.modules);
            for module in modules.into_iter().flat_map(BTreeMap::keys) {
                let id = ModuleId::new(name, module.as_str());
                if let Some((reported, why)) = self.lag_of(&id) {
                    lags.insert(id.to_string(), lag("running", reported, why));
                }
            }
        }
        for module in self.leaving.iter().chain(&self.departing).filter(|module| *module.workload == *name) {
            lags.insert(module.to_string(), lag("none", "stopping".into(), String::new()));
        }
        lags
    }

    /// How a module is that does not do what it is there for, and why.
    fn lag_of(&self, module: &ModuleId) -> Option<(String, String)> {
        if let Some(status) = self.doing.get(module) {
            return (!runs_well(status)).then(|| (state(status), why(status)));
        }
        let waits = self.waiting.get(module).map(|waits| waits.why.clone());
        Some(("none".into(), waits.or_else(|| self.problems.engine.clone()).unwrap_or_default()))
    }
}

impl Course {
    /// Which version should run and which does, where those are two.
    fn lag(&self) -> Option<(String, String)> {
        let (target, runs) = (self.target().number(), self.runs().map(Version::number));
        let reported = runs.map_or_else(|| "none".to_owned(), |runs| format!("version {runs}"));
        (runs != Some(target)).then(|| (format!("version {target}"), reported))
    }
}

/// `back-off`, `running, unhealthy`.
fn state(status: &ModuleStatus) -> String {
    let state = status.state.name();
    match status.health {
        Some(health @ (Health::Starting | Health::Unhealthy)) if status.state == ModuleState::Running => {
            format!("{state}, {}", health.name())
        }
        Some(_) | None => state.to_owned(),
    }
}

fn why(status: &ModuleStatus) -> String {
    let exit = match status.state {
        ModuleState::BackOff | ModuleState::Ended => {
            status.exit_code.map(|code| format!("exited with {code}"))
        }
        ModuleState::Creating
        | ModuleState::Starting
        | ModuleState::Running
        | ModuleState::Stopping
        | ModuleState::Failed => None,
    };
    let said = [&status.problem, &status.output].into_iter().find(|text| !text.is_empty()).cloned();
    said.or(exit).unwrap_or_default()
}
