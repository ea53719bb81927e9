//! The order among modules: what has to be there before one is started, and who goes before one is stopped.

use std::collections::BTreeSet;

use wayside_config::workload::{Condition, Dependency, ModuleId, ModuleSpec};

use super::Reconciler;
use crate::{
    device::reconciler::Effect,
    machine::Effects,
    report::{Health, ModuleState, ModuleStatus},
};

/// Why a module is not started yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// For this one.
    on: ModuleId,
    dependency: Dependency,
    /// In words.
    pub(super) why: String,
}

impl Reconciler {
    /// Tells a module what it should be, where that is new. `is_there`: its container runs already. Gives whether it
    /// knows; otherwise it waits for others, and whatever there is of it stays as it is.
    pub(super) fn is_told(
        &mut self,
        module: &ModuleId,
        hash: &str,
        is_there: bool,
        out: &mut Effects<Effect>,
    ) -> bool {
        let knows = self.told.get(module).is_some_and(|told| told == hash);
        if knows && !self.to_restart.contains(module) {
            return true;
        }
        let Some(spec) = self.spec(module) else { return false };
        let waits = self.waits(module, &spec);
        if knows {
            if waits.is_none() {
                self.to_restart.remove(module);
                out.push(Effect::Restart(module.clone()));
            }
            return true;
        }
        // What runs is not stopped to wait.
        if let Some(waits) = waits.filter(|_| !is_there) {
            self.waiting.insert(module.clone(), waits);
            return false;
        }
        self.leaving.remove(module);
        self.doing.remove(module);
        self.told.insert(module.clone(), hash.to_owned());
        self.needs.insert(module.clone(), spec.depends_on.keys().cloned().collect());
        let (module, spec, spec_hash) = (module.clone(), Box::new(spec), hash.to_owned());
        out.push(Effect::Want { module, spec, spec_hash });
        true
    }

    /// Why a module is not to be started yet, if it is not.
    fn waits(&self, module: &ModuleId, spec: &ModuleSpec) -> Option<Waits> {
        spec.depends_on.iter().find_map(|(name, dependency)| {
            let on = ModuleId::new(module.workload.clone(), name.as_str());
            let goes_on = self.doing.get(&on).is_some_and(|status| lets_go_on(dependency, status));
            let verb = match dependency.condition {
                Condition::Started => "started",
                Condition::Healthy => "healthy",
                Condition::Completed => "through",
            };
            let why = || format!("{} waits until {name} is {verb}", module.module);
            (!goes_on).then(|| Waits { on, dependency: *dependency, why: why() })
        })
    }

    /// A module is doing otherwise. Whether somebody waited for just that. (To look at the engine for less would bring lists that
    /// are older than containers that are being made.)
    pub(super) fn does(&mut self, module: &ModuleId, status: ModuleStatus) -> bool {
        let frees = |waits: &Waits| waits.on == *module && lets_go_on(&waits.dependency, &status);
        let frees = self.waiting.values().any(frees);
        self.doing.insert(module.clone(), status);
        let is_free = |other: &ModuleId| {
            other.workload == module.workload
                && self.spec(other).is_some_and(|spec| self.waits(other, &spec).is_none())
        };
        frees || self.to_restart.iter().any(is_free)
    }

    /// These modules are replaced: those that want to be started again after one of them are noted.
    pub(super) fn replaced(&mut self, workload: &str, changed: &BTreeSet<String>) {
        let Some(version) = self.courses.get(workload).and_then(|course| course.runs()) else { return };
        for (name, spec) in &version.release.workload.modules {
            let follows = |(on, dependency): (&String, &Dependency)| {
                dependency.restart
                    && changed.contains(on)
                    && self.told.contains_key(&ModuleId::new(workload, on.as_str()))
            };
            let id = ModuleId::new(workload, name.as_str());
            if !changed.contains(name) && self.told.contains_key(&id) && spec.depends_on.iter().any(follows) {
                self.to_restart.insert(id);
            }
        }
    }

    /// Lets those of the modules that are not wanted any more go whom nobody needs who is still there.
    pub(super) fn send_off(&mut self, out: &mut Effects<Effect>) {
        let is_needed = |module: &ModuleId| {
            let mut others = self.departing.iter().chain(&self.leaving);
            others.any(|other| {
                other.workload == module.workload
                    && self.needs.get(other).is_some_and(|needs| needs.contains(&*module.module))
            })
        };
        let free: Vec<ModuleId> =
            self.departing.iter().filter(|module| !is_needed(module)).cloned().collect();
        // In a circle, which no Compose file has, nobody would be the first.
        let is_stuck = free.is_empty() && self.leaving.is_empty();
        let free = if is_stuck { self.departing.iter().cloned().collect() } else { free };
        for module in free {
            self.departing.remove(&module);
            self.told.remove(&module);
            self.doing.remove(&module);
            self.leaving.insert(module.clone());
            out.push(Effect::Unwant(module));
        }
    }
}

/// Whether what another module is doing is enough.
fn lets_go_on(dependency: &Dependency, status: &ModuleStatus) -> bool {
    use ModuleState::{BackOff, Ended, Failed, Running};
    let has_failed = matches!(status.state, BackOff | Failed)
        || (status.state == Ended && status.exit_code != Some(0))
        || status.health == Some(Health::Unhealthy);
    let holds = match dependency.condition {
        Condition::Started => matches!(status.state, Running | BackOff | Ended),
        Condition::Healthy => status.state == Running && status.health == Some(Health::Healthy),
        Condition::Completed => status.state == Ended && status.exit_code == Some(0),
    };
    holds || (!dependency.required && has_failed)
}
