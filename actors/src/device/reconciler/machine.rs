//! What is desired, held against what the engine has.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
    workload::{ModuleId, ModuleSpec, Workload},
};

use super::{
    Assigner, Effect, Event, Floors, Observed,
    check::{check, check_whole},
};
use crate::{
    device::{
        access,
        router::{RouteTable, WorkloadRoutes},
        spec_hash::spec_hash,
    },
    frame::Desired,
    machine::{Effects, Machine},
    time::Time,
};

/// How often the engine is asked what it has, in milliseconds, so that a missed event is made good.
pub const LIST_MS: u64 = 60_000;

/// The machine that knows what this device should run.
///
/// Nothing is created before the engine has said what there is, and no container is removed as long as
/// no desired state is held: a device whose desired state is damaged goes on as it is.
#[derive(Clone, Debug)]
pub struct Reconciler {
    device: DeviceId,
    held: Option<Held>,
    floors: Floors,
    /// Modules that were told to run, and the hash that they were told; empty when it is to be said again.
    told: BTreeMap<ModuleId, String>,
    /// Modules that were told to go and are not gone yet.
    leaving: BTreeSet<ModuleId>,
    problems: Problems,
}

/// The desired state that holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) sealed: Desired,
    pub(super) assignment: Assignment,
    pub(super) releases: Vec<Release>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Problems {
    engine: Option<String>,
    refusal: Option<String>,
}

impl Reconciler {
    /// A reconciler that holds nothing yet. `floors` are the versions that were persisted.
    #[must_use]
    pub const fn new(device: DeviceId, floors: Floors) -> Self {
        Self {
            device,
            held: None,
            floors,
            told: BTreeMap::new(),
            leaving: BTreeSet::new(),
            problems: Problems { engine: None, refusal: None },
        }
    }
}

impl Machine for Reconciler {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        let before = self.problems.clone();
        match event {
            Event::Desired { sealed, assignment, releases, by, restored } => {
                let offered = Held { sealed, assignment: *assignment, releases };
                self.desired(offered, by, restored, now, out);
            }
            Event::Observed { additions, containers } => self.observed(&additions, containers, now, out),
            Event::EngineBack | Event::Woken => list(now, out),
            Event::EngineLost { problem } => self.problems.engine = Some(problem),
            Event::ModuleRestarted(module) => {
                if let Some(hash) = self.told.get_mut(&module) {
                    hash.clear();
                    list(now, out);
                } else {
                    out.push(Effect::Unwant(module));
                }
            }
            Event::ModuleGone(module) => {
                self.leaving.remove(&module);
                // It may have been wanted again on its way out, and have missed that.
                if self.told.remove(&module).is_some() {
                    list(now, out);
                }
            }
            Event::RouterRestarted => self.tell_routes(out),
            Event::HealthRestarted => {
                if let Some(held) = &self.held {
                    out.push(Effect::Assigned(held.assignment.version));
                }
                out.push(Effect::Problems(self.problems.list()));
                // Told again, each module reports again.
                self.told.values_mut().for_each(String::clear);
                list(now, out);
            }
        }
        if self.problems != before {
            out.push(Effect::Problems(self.problems.list()));
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Reconciler {
    fn desired(&mut self, offered: Held, by: Assigner, restored: bool, now: Time, out: &mut Effects<Effect>) {
        if self.held.as_ref().is_some_and(|held| held.assignment == offered.assignment) {
            self.problems.refusal = None;
            return;
        }
        // What was taken before may be older than what was being taken when the daemon ended.
        let checked = if restored {
            check_whole(self.device, &offered)
        } else {
            check(self.device, &self.floors, &offered, by)
        };
        if let Err(refusal) = checked {
            self.problems.refusal = Some(format!("desired state was refused: {refusal}"));
            return;
        }
        self.problems.refusal = None;
        let before = self.floors.clone();
        self.floors.raise(&offered.assignment, &offered.sealed);
        if self.floors != before {
            out.persist(Effect::SaveFloors(self.floors.clone()));
        }
        if !restored {
            out.persist(Effect::Save(offered.sealed.clone()));
        }
        out.push(Effect::Assigned(offered.assignment.version));
        self.held = Some(offered);
        self.tell_routes(out);
        let wanted: BTreeSet<_> = self.modules().map(|(module, _)| module).collect();
        let unwanted: Vec<_> = self.told.keys().filter(|module| !wanted.contains(module)).cloned().collect();
        for module in unwanted {
            self.told.remove(&module);
            self.leaving.insert(module.clone());
            out.push(Effect::Unwant(module));
        }
        list(now, out);
    }

    fn observed(&mut self, additions: &str, containers: Vec<Observed>, now: Time, out: &mut Effects<Effect>) {
        self.problems.engine = None;
        if self.held.is_none() {
            return out.wake_at(now.plus_millis(LIST_MS));
        }
        let mut by_module: BTreeMap<_, Vec<Observed>> = BTreeMap::new();
        for container in containers {
            by_module.entry(container.module.clone()).or_default().push(container);
        }
        let wanted: Vec<(ModuleId, ModuleSpec)> =
            self.modules().map(|(module, spec)| (module, spec.clone())).collect();
        for (module, spec) in wanted {
            let hash = spec_hash(&spec, additions);
            if self.told.get(&module) != Some(&hash) {
                self.leaving.remove(&module);
                self.told.insert(module.clone(), hash.clone());
                let (module, spec, spec_hash) = (module.clone(), Box::new(spec), hash.clone());
                out.push(Effect::Want { module, spec, spec_hash });
            }
            let mut found = by_module.remove(&Some(module.clone())).unwrap_or_default();
            // The one to keep comes last: of the right specification, then running.
            found.sort_by_key(|container| (container.spec_hash == hash, container.running));
            match found.pop() {
                Some(container) => out.push(Effect::Found(module, container)),
                None => out.push(Effect::Missing(module)),
            }
            found.into_iter().for_each(|container| remove_orphan(container, out));
        }
        for (module, containers) in by_module {
            // A module on its way out removes its container itself.
            if module.is_none_or(|module| !self.leaving.contains(&module)) {
                containers.into_iter().for_each(|container| remove_orphan(container, out));
            }
        }
        out.wake_at(now.plus_millis(LIST_MS));
    }

    /// Tells routes, names and who may connect.
    fn tell_routes(&self, out: &mut Effects<Effect>) {
        let Some(held) = &self.held else { return };
        let mut table = RouteTable::default();
        let mut names = BTreeMap::new();
        for (reference, release) in held.assignment.releases.iter().zip(&held.releases) {
            names.extend(reference.members.iter().map(|member| (member.device, member.name.clone())));
            let routes = WorkloadRoutes {
                routes: release.workload.routes.clone(),
                members: reference.members.clone(),
                granted: release
                    .workload
                    .leaves
                    .iter()
                    .map(|(name, leaf)| (name.clone(), leaf.publish.clone()))
                    .collect(),
            };
            table.workloads.insert(reference.workload.clone(), routes);
        }
        out.push(Effect::Routes(Box::new(table)));
        out.push(Effect::Names(names));
        let twins = held.releases.iter().flat_map(|release| {
            let Workload { name, modules, twins, .. } = &release.workload;
            modules.keys().map(move |module| {
                let id = ModuleId::new(name.as_str(), module.as_str());
                (id, twins.get(module).cloned())
            })
        });
        out.push(Effect::Twins(twins.collect()));
        out.push(Effect::Clients(access::clients(held.releases.iter())));
    }

    /// The modules that should be here.
    fn modules(&self) -> impl Iterator<Item = (ModuleId, &ModuleSpec)> {
        self.held.iter().flat_map(|held| &held.releases).flat_map(|release| {
            let workload = &release.workload;
            workload
                .modules
                .iter()
                .map(|(module, spec)| (ModuleId::new(workload.name.as_str(), module.as_str()), spec))
        })
    }
}

impl Problems {
    fn list(&self) -> Vec<String> {
        self.engine.iter().chain(&self.refusal).cloned().collect()
    }
}

fn list(now: Time, out: &mut Effects<Effect>) {
    out.push(Effect::List);
    out.wake_at(now.plus_millis(LIST_MS));
}

fn remove_orphan(container: Observed, out: &mut Effects<Effect>) {
    out.push(Effect::RemoveOrphan { container: container.container });
}
