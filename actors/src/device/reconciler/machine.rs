//! What is desired, held against what the engine has.

mod courses;
mod drift;
mod hashes;
mod holding;
mod order;
mod setup;
mod sweeping;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
    privilege::Policy,
    settings::KEEP_UNUSED_MS,
    window::Window,
    workload::{ModuleId, ModuleSpec},
};

use super::{
    Assigner, Effect, Event, Floors, Images, Life, Locks, Observed, Pulled,
    check::{check, check_whole},
    course::Course,
};
use crate::{
    frame::Desired,
    machine::{Effects, Machine},
    report::{ModuleStatus, WorkloadStatus},
    time::Time,
};

pub use sweeping::SWEEP_MS;

use drift::{Noted, Touched};
use hashes::Hashes;
use holding::Taking;
use order::Waits;

/// How often the engine is asked what it has, in milliseconds, so that a missed event is made good.
pub const LIST_MS: u64 = 60_000;

/// The machine that knows what this device should run.
///
/// Nothing is created before the engine has said what there is, and no container is removed as long as
/// no desired state is held: a device whose desired state is damaged goes on as it is.
#[derive(Clone, Debug)]
pub struct Reconciler {
    device: DeviceId,
    /// The newest assignment that was taken.
    held: Option<Assignment>,
    floors: Floors,
    /// What was persisted of workloads, until the assignment that names them is there.
    lives: BTreeMap<String, Life>,
    /// The workloads of that assignment.
    courses: BTreeMap<String, Course>,
    /// How they are, as health was told.
    statuses: BTreeMap<String, WorkloadStatus>,
    /// Modules that were told to run, and the hash that they were told; empty when it is to be said again.
    told: BTreeMap<ModuleId, String>,
    /// How those are doing.
    doing: BTreeMap<ModuleId, ModuleStatus>,
    /// Whom each of those depends on.
    needs: BTreeMap<ModuleId, BTreeSet<String>>,
    /// Modules that are not told to run yet, for they depend on others.
    waiting: BTreeMap<ModuleId, Waits>,
    /// Modules that are to be started again when what they depend on is there again.
    to_restart: BTreeSet<ModuleId>,
    /// Modules that are to go, and have others that depend on them and go first.
    departing: BTreeSet<ModuleId>,
    /// Modules that were told to go and are not gone yet.
    leaving: BTreeSet<ModuleId>,
    /// What is not as it should be, by workload and name.
    drift: BTreeMap<String, BTreeMap<String, Noted>>,
    problems: Problems,
    /// When the engine is to be asked again; `None` before it was asked first.
    list_at: Option<Time>,
    alarm: Option<Time>,
    /// What modules may ask for here.
    policy: Policy,
    /// What this device was granted.
    labels: BTreeMap<String, String>,
    /// When versions that run may be replaced here; empty for when each release says.
    windows: Vec<Window>,
    /// Who holds updates back.
    locks: Locks,
    /// Images that were got here.
    pulled: Pulled,
    /// How long one stays that nothing needs.
    keep_unused_ms: u64,
    /// When to look next for images that may go; `None` before the first time.
    sweep_at: Option<Time>,
    /// Workloads whose modules are off the device, for others have their ports, and why.
    displaced: BTreeMap<String, String>,
    /// `None` when other versions run than they are of.
    hashes: Option<Hashes>,
}

/// Desired state that is offered.
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
    /// A module that runs names a label that is not there any more.
    labels: Option<String>,
    /// Of workloads, by name.
    workloads: BTreeMap<String, String>,
}

impl Reconciler {
    /// A reconciler that holds nothing yet. `floors` are the versions that were persisted, `lives` what was persisted
    /// of workloads.
    #[must_use]
    pub fn new(device: DeviceId, floors: Floors, lives: BTreeMap<String, Life>) -> Self {
        Self {
            device,
            held: None,
            floors,
            lives,
            courses: BTreeMap::new(),
            statuses: BTreeMap::new(),
            told: BTreeMap::new(),
            doing: BTreeMap::new(),
            needs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            to_restart: BTreeSet::new(),
            departing: BTreeSet::new(),
            leaving: BTreeSet::new(),
            drift: BTreeMap::new(),
            problems: Problems::default(),
            list_at: None,
            alarm: None,
            policy: Policy::default(),
            labels: BTreeMap::new(),
            windows: Vec::new(),
            locks: Locks::default(),
            pulled: Pulled::default(),
            keep_unused_ms: KEEP_UNUSED_MS,
            sweep_at: None,
            displaced: BTreeMap::new(),
            hashes: None,
        }
    }
}

impl Machine for Reconciler {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        let before = self.problems.clone();
        let touched = Touched::by(&event);
        match event {
            Event::Desired { sealed, assignment, releases, by, restored } => {
                let offered = Held { sealed, assignment: *assignment, releases };
                self.desired(offered, by, restored, now, out);
            }
            Event::Observed { additions, containers } => self.observed(&additions, containers, now, out),
            Event::Looked { workload, images, found } => {
                let coming = self.courses.get(&workload).map_or(0, Course::pull_bytes);
                let is_full = |images: &Images| images.disk.is_some_and(|disk| disk.check(coming).is_err());
                if found.as_ref().is_ok_and(is_full) {
                    self.look_for_room(now, out);
                }
                let found = found.map(|images| (images.missing, images.disk));
                self.course(&workload, now, out, |course, acts| course.looked(&images, found, now, acts));
            }
            Event::Space { disk, wall_ms } => self.sweep(disk, wall_ms, out),
            Event::ImageGone { image } => self.image_gone(&image, out),
            Event::Got { image } => self.got(image, out),
            Event::Pulled { workload, images, result } => {
                self.course(&workload, now, out, |course, acts| course.pulled(&images, result, now, acts));
            }
            Event::Time { wall_ms } => self.decide(wall_ms, now, out),
            Event::Lock { owner, for_ms, reason, wall_ms, ticket } => {
                self.lock(Taking { owner, for_ms, reason, wall_ms, ticket }, now, out);
            }
            // What it says of another specification is late.
            Event::Module { module, spec_hash, status } if self.told.get(&module) == Some(&spec_hash) => {
                let engine_away = self.problems.engine.is_some();
                if self.does(&module, status.clone()) {
                    self.list(now, out);
                }
                self.course(&module.workload, now, out, |course, acts| {
                    course.saw(&module.module, status, engine_away, now, acts);
                });
            }
            Event::Module { .. } => {}
            Event::Labels(labels) => self.relabel(labels, now, out),
            Event::EngineBack => {
                self.engine(false, now, out);
                self.list(now, out);
            }
            Event::EngineLost { problem } => {
                if self.problems.engine.is_none() {
                    self.engine(true, now, out);
                }
                self.problems.engine = Some(problem);
            }
            Event::ModuleRestarted(module) => {
                if let Some(hash) = self.told.get_mut(&module) {
                    hash.clear();
                    self.list(now, out);
                } else {
                    out.push(Effect::Unwant(module));
                }
            }
            Event::ModuleGone(module) => {
                self.leaving.remove(&module);
                self.needs.remove(&module);
                self.send_off(out);
                // It may have been wanted again on its way out, and have missed that.
                if self.told.remove(&module).is_some() {
                    self.list(now, out);
                }
            }
            Event::RouterRestarted => self.tell_routes(out),
            Event::HealthRestarted => {
                self.tell_health(out);
                // Told again, each module reports again.
                self.told.values_mut().for_each(String::clear);
                self.list(now, out);
            }
            Event::Woken => self.awake(now, out),
        }
        if self.problems != before {
            out.push(Effect::Problems(self.problems.list()));
        }
        self.tell_drift(touched, now, out);
        self.set_alarm(out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Reconciler {
    fn desired(&mut self, offered: Held, by: Assigner, restored: bool, now: Time, out: &mut Effects<Effect>) {
        if self.held.as_ref() == Some(&offered.assignment) {
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
            let (version, reason) =
                (offered.assignment.version, format!("desired state was refused: {refusal}"));
            self.problems.refusal = Some(reason.clone());
            return out.push(Effect::NotTaken { version, reason });
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
        self.take(offered, out);
        self.what_runs_changed(now, out);
    }

    fn observed(&mut self, additions: &str, containers: Vec<Observed>, now: Time, out: &mut Effects<Effect>) {
        if self.problems.engine.take().is_some() {
            self.engine(false, now, out);
        }
        self.list_at = Some(now.plus_millis(LIST_MS));
        if self.held.is_none() {
            return;
        }
        let mut by_module: BTreeMap<_, Vec<Observed>> = BTreeMap::new();
        for container in containers {
            by_module.entry(container.module.clone()).or_default().push(container);
        }
        let hashes = self.hashes(additions);
        // What waits for a label stays as it is.
        let unknown: BTreeSet<_> = self
            .modules()
            .map(|(module, _)| module)
            .filter(|module| !hashes.of.contains_key(module))
            .collect();
        unknown.into_iter().for_each(|module| drop(by_module.remove(&Some(module))));
        let waited = std::mem::take(&mut self.waiting);
        for (module, hash) in &hashes.of {
            let mut found = by_module.remove(&Some(module.clone())).unwrap_or_default();
            // The one to keep comes last: of the right specification, then running.
            found.sort_by_key(|container| (container.spec_hash == *hash, container.running));
            let is_there = found.last().is_some_and(|last| last.spec_hash == *hash && last.running);
            if !self.is_told(module, hash, is_there, out) {
                continue;
            }
            match found.pop() {
                Some(container) => out.push(Effect::Found(module.clone(), container)),
                None => out.push(Effect::Missing(module.clone())),
            }
            found.into_iter().for_each(|container| remove_orphan(container, out));
        }
        self.tell_waiting(&waited, out);
        for (module, containers) in by_module {
            if module.is_none_or(|module| self.is_nobodys(&module)) {
                containers.into_iter().for_each(|container| remove_orphan(container, out));
            }
        }
        self.hashes = Some(hashes);
    }

    /// As it is on this device.
    fn spec(&self, module: &ModuleId) -> Option<ModuleSpec> {
        let version = self.courses.get(&*module.workload)?.runs()?;
        if self.displaced.contains_key(&*module.workload) {
            return None;
        }
        version.release.workload.modules.get(&*module.module)?.with_labels(&self.labels)
    }

    /// Whether a container of a module that is not wanted is to be removed from here.
    fn is_nobodys(&self, module: &ModuleId) -> bool {
        // A module on its way out removes its container itself; and as long as a workload's first version is
        // prepared nothing is known that its containers would be in the way of.
        let is_undecided = self.courses.get(&*module.workload).is_some_and(|course| course.runs().is_none());
        !self.leaving.contains(module) && !self.departing.contains(module) && !is_undecided
    }

    /// The modules that should be here.
    fn modules(&self) -> impl Iterator<Item = (ModuleId, &ModuleSpec)> {
        let here = self.courses.iter().filter(|(name, _)| !self.displaced.contains_key(*name));
        here.filter_map(|(_, course)| course.runs()).flat_map(|version| {
            let workload = &version.release.workload;
            workload
                .modules
                .iter()
                .map(|(module, spec)| (ModuleId::new(workload.name.as_str(), module.as_str()), spec))
        })
    }

    fn awake(&mut self, now: Time, out: &mut Effects<Effect>) {
        self.alarm = None;
        self.tick(now, out);
        self.sweep_when_due(now, out);
        if self.list_at.is_some_and(|at| at <= now) {
            self.list(now, out);
        }
    }

    fn list(&mut self, now: Time, out: &mut Effects<Effect>) {
        out.push(Effect::List);
        self.list_at = Some(now.plus_millis(LIST_MS));
    }

    fn set_alarm(&mut self, out: &mut Effects<Effect>) {
        let due = self.list_at.into_iter().chain(self.courses.values().filter_map(Course::due)).min();
        if let Some(at) = due.filter(|at| self.alarm != Some(*at)) {
            self.alarm = Some(at);
            out.wake_at(at);
        }
    }
}

impl Problems {
    fn list(&self) -> Vec<String> {
        let device = self.engine.iter().chain(&self.refusal).chain(&self.labels);
        device.chain(self.workloads.values()).cloned().collect()
    }
}

fn remove_orphan(container: Observed, out: &mut Effects<Effect>) {
    out.push(Effect::RemoveOrphan { container: container.container });
}
