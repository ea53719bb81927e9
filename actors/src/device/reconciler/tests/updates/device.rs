//! A device as far as its reconciler sees it, and its disk.

use wayside_config::privilege::Policy;

use super::super::*;
use crate::{
    device::reconciler::Life,
    report::{ModuleState, ModuleStatus, Phase, WorkloadStatus},
};

pub(super) const PROBATION_MS: u64 = 60_000;

/// A version whose module `sensor` differs, and whose module `pump` is always the same.
pub(super) fn version(workload: &str, number: u64) -> Release {
    let mut release = release(workload, number, &format!("sensor:{number}"));
    release.workload.modules.insert("pump".into(), spec("pump"));
    release.workload.routes[0].name = format!("up{number}");
    release
}

/// A device and its disk.
pub(super) struct Device {
    pub(super) reconciler: Reconciler,
    pub(super) now: u64,
    pub(super) assignment: u64,
    pub(super) desired: Option<Document>,
    pub(super) lives: BTreeMap<String, Life>,
    pub(super) floors: Floors,
    pub(super) statuses: BTreeMap<String, WorkloadStatus>,
    pub(super) effects: Vec<Effect>,
    pub(super) policy: Policy,
}

impl Device {
    pub(super) fn new() -> Self {
        Self {
            reconciler: fresh(),
            now: 0,
            assignment: 0,
            desired: None,
            lives: BTreeMap::new(),
            floors: Floors::default(),
            statuses: BTreeMap::new(),
            effects: vec![],
            policy: Policy::default(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.effects.clear();
        for step in at(&mut self.reconciler, self.now, event) {
            match step {
                Step::Persist(Effect::SaveLife(name, life)) => drop(self.lives.insert(name, *life)),
                Step::Persist(Effect::DropLife(name)) => drop(self.lives.remove(&name)),
                Step::Persist(Effect::SaveFloors(floors)) => self.floors = floors,
                Step::Persist(_) | Step::WakeAt(_) => {}
                Step::Do(effect) => {
                    if let Effect::Workload(name, status) = &effect {
                        self.statuses.insert(name.clone(), status.clone());
                    }
                    self.effects.push(effect);
                }
            }
        }
    }

    pub(super) fn assign(&mut self, releases: &[Release]) {
        self.assignment += 1;
        let document = document(self.assignment, releases);
        self.desired = Some(document.clone());
        self.tell(event(document, false));
    }

    /// The engine has the images that it is asked for now.
    pub(super) fn has_images(&mut self) {
        let look = self.effects.iter().find_map(|effect| {
            let Effect::Look { workload, images } = effect else { return None };
            Some((workload.clone(), images.clone()))
        });
        let (workload, images) = look.expect("the engine is asked for images");
        self.tell(Event::Looked { workload, images, found: Ok(Images { missing: vec![], disk: None }) });
    }

    pub(super) fn list(&mut self) {
        self.tell(observed(vec![]));
    }

    pub(super) fn says(&mut self, name: &str, state: ModuleState, exit_code: Option<i64>) {
        let module: ModuleId = name.parse().unwrap();
        let runs = self.lives[&*module.workload].runs().unwrap();
        let spec_hash = spec_hash(&runs.release.workload.modules[&*module.module], "net");
        let (image, problem) = (String::new(), String::new());
        let status = ModuleStatus { state, image, restarts: 0, exit_code, problem };
        self.tell(Event::Module { module, spec_hash, status });
    }

    pub(super) fn runs(&mut self, names: &[&str]) {
        for name in names {
            self.says(name, ModuleState::Running, None);
        }
    }

    /// Time passes, with its alarm.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.tell(Event::Woken);
    }

    pub(super) fn kill(&mut self) {
        self.reconciler =
            Reconciler::new(ME, self.floors.clone(), self.lives.clone()).allowing(self.policy.clone());
        if let Some(document) = self.desired.clone() {
            self.tell(event(document, true));
        }
    }

    pub(super) fn status(&self, workload: &str) -> &WorkloadStatus {
        &self.statuses[workload]
    }

    pub(super) fn wanted(&self) -> Vec<&str> {
        let wanted = self.effects.iter().filter_map(|effect| {
            let Effect::Want { spec, .. } = effect else { return None };
            Some(spec.image.as_str())
        });
        wanted.collect()
    }

    pub(super) fn routes(&self) -> Vec<String> {
        let table = self
            .effects
            .iter()
            .rev()
            .find_map(|effect| if let Effect::Routes(table) = effect { Some(table) } else { None });
        let workloads = table.map(|table| table.workloads.values()).into_iter().flatten();
        workloads.flat_map(|workload| &workload.routes).map(|route| route.name.clone()).collect()
    }

    /// Version 1 runs and is committed; version 2 is switched to and was told to its modules.
    pub(super) fn updating() -> Self {
        let mut device = Self::new();
        device.assign(&[version("plant", 1)]);
        device.has_images();
        device.list();
        device.runs(&["plant/pump", "plant/sensor"]);
        device.pass(PROBATION_MS);
        assert_eq!(device.status("plant").phase, Phase::Running);
        device.assign(&[version("plant", 2)]);
        device.has_images();
        device.list();
        device
    }

    pub(super) fn sensor_fails(&mut self, times: u32) {
        for _ in 0..times {
            self.says("plant/sensor", ModuleState::Running, None);
            self.now += 2000;
            self.says("plant/sensor", ModuleState::BackOff, Some(3));
        }
    }
}
