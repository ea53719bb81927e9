//! A device as far as its reconciler sees it, and its disk.

use wayside_config::{privilege::Policy, window::Window};

use super::super::*;
use crate::{
    device::reconciler::{Life, Locks, Pulled},
    report::{Health, ModuleState, ModuleStatus, Phase, WorkloadStatus},
};

pub(in crate::device::reconciler::tests) const PROBATION_MS: u64 = 60_000;

/// A version whose module `sensor` differs, and whose module `pump` is always the same.
pub(in crate::device::reconciler::tests) fn version(workload: &str, number: u64) -> Release {
    let mut release = release(workload, number, &format!("sensor:{number}"));
    release.workload.modules.insert("pump".into(), spec("pump"));
    release.workload.routes[0].name = format!("up{number}");
    release
}

/// A device and its disk.
pub(in crate::device::reconciler::tests) struct Device {
    pub(in crate::device::reconciler::tests) reconciler: Reconciler,
    pub(in crate::device::reconciler::tests) now: u64,
    pub(in crate::device::reconciler::tests) assignment: u64,
    pub(in crate::device::reconciler::tests) desired: Option<Document>,
    pub(in crate::device::reconciler::tests) lives: BTreeMap<String, Life>,
    pub(in crate::device::reconciler::tests) floors: Floors,
    pub(in crate::device::reconciler::tests) statuses: BTreeMap<String, WorkloadStatus>,
    pub(in crate::device::reconciler::tests) effects: Vec<Effect>,
    pub(in crate::device::reconciler::tests) policy: Policy,
    pub(in crate::device::reconciler::tests) labels: BTreeMap<String, String>,
    pub(in crate::device::reconciler::tests) windows: Vec<Window>,
    pub(in crate::device::reconciler::tests) locks: Locks,
    pub(in crate::device::reconciler::tests) pulled: Pulled,
}

impl Device {
    pub(in crate::device::reconciler::tests) fn new() -> Self {
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
            labels: BTreeMap::new(),
            windows: vec![],
            locks: Locks::default(),
            pulled: Pulled::default(),
        }
    }

    pub(in crate::device::reconciler::tests) fn tell(&mut self, event: Event) {
        self.effects.clear();
        self.hear(event);
        if self.effects.contains(&Effect::AskTime) {
            self.hear(Event::Time { wall_ms: self.now });
        }
    }

    fn hear(&mut self, event: Event) {
        for step in at(&mut self.reconciler, self.now, event) {
            match step {
                Step::Persist(Effect::SaveLife(name, life)) => drop(self.lives.insert(name, *life)),
                Step::Persist(Effect::DropLife(name)) => drop(self.lives.remove(&name)),
                Step::Persist(Effect::SaveLocks(locks)) => self.locks = locks,
                Step::Persist(Effect::SaveFloors(floors)) => self.floors = floors,
                Step::Persist(Effect::SavePulled(pulled)) => self.pulled = pulled,
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

    pub(in crate::device::reconciler::tests) fn assign(&mut self, releases: &[Release]) {
        self.assignment += 1;
        let document = document(self.assignment, releases);
        self.desired = Some(document.clone());
        self.tell(event(document, false));
    }

    /// The engine has the images that it is asked for now.
    pub(in crate::device::reconciler::tests) fn has_images(&mut self) {
        let look = self.effects.iter().find_map(|effect| {
            let Effect::Look { workload, images } = effect else { return None };
            Some((workload.clone(), images.clone()))
        });
        let (workload, images) = look.expect("the engine is asked for images");
        self.tell(Event::Looked { workload, images, found: Ok(Images { missing: vec![], disk: None }) });
    }

    pub(in crate::device::reconciler::tests) fn list(&mut self) {
        self.tell(observed(vec![]));
    }

    pub(in crate::device::reconciler::tests) fn says(
        &mut self,
        name: &str,
        state: ModuleState,
        exit_code: Option<i64>,
    ) {
        self.says_of_health(name, state, exit_code, None);
    }

    pub(in crate::device::reconciler::tests) fn says_of_health(
        &mut self,
        name: &str,
        state: ModuleState,
        exit_code: Option<i64>,
        health: Option<Health>,
    ) {
        let module: ModuleId = name.parse().unwrap();
        let runs = self.lives[&*module.workload].runs().unwrap();
        let spec_hash = spec_hash(&runs.release.workload.modules[&*module.module], "net");
        let (image, problem, output) = (String::new(), String::new(), "no answer".into());
        let status = ModuleStatus { state, image, restarts: 0, exit_code, problem, health, output };
        self.tell(Event::Module { module, spec_hash, status });
    }

    pub(in crate::device::reconciler::tests) fn runs(&mut self, names: &[&str]) {
        for name in names {
            self.says(name, ModuleState::Running, None);
        }
    }

    /// Time passes, with its alarm.
    pub(in crate::device::reconciler::tests) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.tell(Event::Woken);
    }

    pub(in crate::device::reconciler::tests) fn kill(&mut self) {
        self.reconciler = Reconciler::new(ME, self.floors.clone(), self.lives.clone())
            .allowing(self.policy.clone())
            .labelled(self.labels.clone())
            .holding(self.windows.clone(), self.locks.clone());
        if let Some(document) = self.desired.clone() {
            self.tell(event(document, true));
        }
    }

    pub(in crate::device::reconciler::tests) fn status(&self, workload: &str) -> &WorkloadStatus {
        &self.statuses[workload]
    }

    pub(in crate::device::reconciler::tests) fn wanted(&self) -> Vec<&str> {
        let wanted = self.effects.iter().filter_map(|effect| {
            let Effect::Want { spec, .. } = effect else { return None };
            Some(spec.image.as_str())
        });
        wanted.collect()
    }

    pub(in crate::device::reconciler::tests) fn routes(&self) -> Vec<String> {
        let table = self
            .effects
            .iter()
            .rev()
            .find_map(|effect| if let Effect::Routes(table) = effect { Some(table) } else { None });
        let workloads = table.map(|table| table.workloads.values()).into_iter().flatten();
        workloads.flat_map(|workload| &workload.routes).map(|route| route.name.clone()).collect()
    }

    /// Version 1 runs and is committed; version 2 is switched to and was told to its modules.
    pub(in crate::device::reconciler::tests) fn updating() -> Self {
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

    pub(in crate::device::reconciler::tests) fn sensor_fails(&mut self, times: u32) {
        for _ in 0..times {
            self.says("plant/sensor", ModuleState::Running, None);
            self.now += 2000;
            self.says("plant/sensor", ModuleState::BackOff, Some(3));
        }
    }
}
