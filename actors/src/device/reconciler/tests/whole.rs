//! Versions that are good and bad come in any order, the engine fails, the daemon dies between any two writes: in the
//! end one version runs, whole, and what was persisted says which.

mod engine;

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use wayside_config::workload::Dependency;

use super::*;
use crate::device::{
    module::{self as one, Module},
    reconciler::{Life, Pulled},
};

/// The modules of a version: one that never changes, one that always does, and one of odd versions alone, which is
/// started after that.
fn version(number: u64) -> Release {
    let mut release = release("plant", number, &format!("sensor:{number}"));
    release.workload.modules.insert("pump".into(), spec("pump"));
    if number % 2 == 1 {
        let depends_on = BTreeMap::from([("sensor".into(), Dependency::default())]);
        release.workload.modules.insert("odd".into(), ModuleSpec { depends_on, ..spec("odd") });
    }
    release
}

/// Whether the module that changes ends as soon as it starts.
const fn is_bad(number: u64) -> bool {
    number.is_multiple_of(3)
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    /// The engine does what it was asked first; badly, if it can.
    Engine(bool),
    /// A machine hears what comes first.
    Hear,
    NewVersion,
    /// The daemon dies, when so many more changes are on the disk.
    Kill(u8),
    SecondsPass(u16),
    EngineGoes,
    EngineComes,
    Ends,
}

fn weather() -> impl Strategy<Value = Vec<Weather>> {
    let one = prop_oneof![
        12 => prop::bool::weighted(0.1).prop_map(Weather::Engine),
        12 => Just(Weather::Hear),
        2 => Just(Weather::NewVersion),
        2 => (0u8..4).prop_map(Weather::Kill),
        3 => (1u16..90).prop_map(Weather::SecondsPass),
        1 => Just(Weather::EngineGoes),
        1 => Just(Weather::EngineComes),
        1 => Just(Weather::Ends),
    ];
    prop::collection::vec(one, 0..250)
}

#[derive(Clone, Debug)]
enum Asked {
    Reconciler(Effect),
    Module(ModuleId, one::Effect),
}

#[derive(Clone, Debug)]
enum Told {
    Reconciler(Event),
    Module(ModuleId, one::Event),
}

struct Container {
    module: ModuleId,
    image: String,
    spec_hash: String,
    running: Option<bool>,
}

struct World {
    now: u64,
    newest: u64,
    // On the disk.
    desired: Option<Document>,
    floors: Floors,
    lives: BTreeMap<String, Life>,
    pulled: Pulled,
    // In the daemon.
    reconciler: Reconciler,
    modules: BTreeMap<ModuleId, (Module, Option<u64>)>,
    alarm: Option<u64>,
    asked: VecDeque<Asked>,
    told: VecDeque<Told>,
    /// So many changes still reach the disk before the daemon dies.
    doomed: Option<u8>,
    // In the engine.
    containers: BTreeMap<String, Container>,
    images: BTreeSet<String>,
    /// All that were ever there.
    got: BTreeSet<String>,
    made: u32,
    away: bool,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            newest: 0,
            desired: None,
            floors: Floors::default(),
            lives: BTreeMap::new(),
            pulled: Pulled::default(),
            reconciler: fresh().sweeping(Pulled::default(), 0),
            modules: BTreeMap::new(),
            alarm: None,
            asked: VecDeque::new(),
            told: VecDeque::new(),
            doomed: None,
            containers: BTreeMap::new(),
            images: BTreeSet::new(),
            got: BTreeSet::new(),
            made: 0,
            away: false,
        }
    }

    fn reconcile(&mut self, event: Event) {
        let steps = at(&mut self.reconciler, self.now, event);
        // Those that persist are written first, as the host does it.
        let (persist, rest): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step, Step::Persist(_)));
        for step in persist {
            if self.doomed == Some(0) {
                return self.boot();
            }
            self.doomed = self.doomed.map(|left| left - 1);
            let Step::Persist(effect) = step else { continue };
            if let Effect::SaveFloors(floors) = effect {
                self.floors = floors;
            } else if let Effect::Save(sealed) = effect {
                let text = std::str::from_utf8(&sealed.assignment).unwrap();
                let number = text.split(' ').next().unwrap().parse().unwrap();
                self.desired = Some(document(number, &[version(number)]));
            } else if let Effect::SaveLife(name, life) = effect {
                self.lives.insert(name, *life);
            } else if let Effect::SavePulled(pulled) = effect {
                self.pulled = pulled;
            } else {
                panic!("{effect:?} is not written here");
            }
        }
        for step in rest {
            match step {
                Step::Do(Effect::Want { module, spec, spec_hash }) => {
                    self.modules.entry(module.clone()).or_default();
                    self.told.push_back(Told::Module(module, one::Event::Wanted { spec, spec_hash }));
                }
                Step::Do(Effect::Unwant(module)) => {
                    self.told.push_back(Told::Module(module, one::Event::Unwanted));
                }
                Step::Do(Effect::Found(module, found)) => {
                    let Observed { container, spec_hash, running, exit_code, health, .. } = found;
                    let event = one::Event::Found { container, spec_hash, running, exit_code, health };
                    self.told.push_back(Told::Module(module, event));
                }
                Step::Do(Effect::Missing(module)) => {
                    self.told.push_back(Told::Module(module, one::Event::Missing));
                }
                Step::Do(effect) => self.asked.push_back(Asked::Reconciler(effect)),
                Step::WakeAt(at) => self.alarm = Some(at.as_millis()),
                Step::Persist(_) => {}
            }
        }
    }

    fn boot(&mut self) {
        (self.doomed, self.alarm) = (None, None);
        self.modules.clear();
        self.asked.clear();
        self.told.clear();
        self.reconciler =
            Reconciler::new(ME, self.floors.clone(), self.lives.clone()).sweeping(self.pulled.clone(), 0);
        if let Some(document) = self.desired.clone() {
            self.reconcile(event(document, true));
        }
        self.told.push_back(Told::Reconciler(Event::EngineBack));
    }

    fn hear(&mut self) {
        match self.told.pop_front() {
            Some(Told::Reconciler(event)) => self.reconcile(event),
            Some(Told::Module(module, event)) => self.module_hears(&module, event),
            None => {}
        }
    }

    fn module_hears(&mut self, id: &ModuleId, event: one::Event) {
        let Some((machine, alarm)) = self.modules.get_mut(id) else { return };
        let mut is_gone = false;
        for step in at(machine, self.now, event) {
            match step {
                Step::WakeAt(at) => *alarm = Some(at.as_millis()),
                Step::Do(one::Effect::Report(status, spec_hash)) => {
                    let module = id.clone();
                    self.told.push_back(Told::Reconciler(Event::Module { module, spec_hash, status }));
                }
                Step::Do(one::Effect::Gone) => {
                    is_gone = true;
                    self.told.push_back(Told::Reconciler(Event::ModuleGone(id.clone())));
                }
                Step::Do(effect) | Step::Persist(effect) => {
                    self.asked.push_back(Asked::Module(id.clone(), effect));
                }
            }
        }
        if is_gone {
            self.modules.remove(id);
        }
    }

    fn engine(&mut self, badly: bool) {
        let fails = badly || self.away;
        match self.asked.pop_front() {
            Some(Asked::Reconciler(effect)) => self.engine_for_reconciler(effect, fails),
            Some(Asked::Module(module, effect)) => self.engine_for_module(module, effect, fails),
            None => {}
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        if self.alarm.take_if(|at| *at <= self.now).is_some() {
            self.reconcile(Event::Woken);
        }
        let due: Vec<_> =
            self.modules.iter().filter(|(_, (_, at))| at.is_some_and(|at| at <= self.now)).collect();
        let due: Vec<ModuleId> = due.into_iter().map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some((_, alarm)) = self.modules.get_mut(&id) {
                *alarm = None;
            }
            self.module_hears(&id, one::Event::Woken);
        }
    }

    fn meet(&mut self, weather: Weather) {
        match weather {
            Weather::Engine(badly) => self.engine(badly),
            Weather::Hear => self.hear(),
            Weather::NewVersion => {
                self.newest += 1;
                self.reconcile(event(document(self.newest, &[version(self.newest)]), false));
            }
            Weather::Kill(0) => self.boot(),
            Weather::Kill(writes) => self.doomed = Some(writes - 1),
            Weather::SecondsPass(seconds) => self.pass(u64::from(seconds) * 1000),
            Weather::EngineGoes => self.away = true,
            Weather::EngineComes if self.away => {
                self.away = false;
                self.told.push_back(Told::Reconciler(Event::EngineBack));
            }
            Weather::EngineComes => {}
            Weather::Ends => {
                if let Some(id) = self.containers.keys().next().cloned() {
                    self.end(&id);
                }
            }
        }
    }

    /// Fair weather for an hour. Versions that are bad stay bad.
    fn settle(&mut self) {
        self.doomed = None;
        self.meet(Weather::EngineComes);
        for _ in 0..360 {
            let mut steps = 0;
            while !self.asked.is_empty() || !self.told.is_empty() {
                self.engine(false);
                self.hear();
                steps += 1;
                assert!(steps < 10_000, "they never come to rest: {:?} {:?}", self.asked, self.told);
            }
            self.pass(10_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn in_the_end_one_version_runs_whole(weather in weather()) {
        let mut world = World::new();
        world.boot();
        world.meet(Weather::NewVersion);
        for weather in weather {
            world.meet(weather);
        }
        // What was being taken when the daemon died comes again, as from a cloud.
        world.doomed = None;
        let newest = world.newest;
        world.reconcile(event(document(newest, &[version(newest)]), false));
        world.settle();

        let life = &world.lives["plant"];
        let runs = life.runs().expect("a version runs").release.clone();
        let wanted: BTreeMap<ModuleId, String> = runs
            .workload
            .modules
            .iter()
            .map(|(name, spec)| (module("plant", name), spec_hash(spec, "net")))
            .collect();
        let there: BTreeMap<ModuleId, String> =
            world.containers.values().map(|c| (c.module.clone(), c.spec_hash.clone())).collect();
        prop_assert_eq!(&there, &wanted, "of version {} of {}", runs.version, newest);
        prop_assert_eq!(world.containers.len(), wanted.len());
        for container in world.containers.values() {
            let is_well = container.running == Some(true);
            prop_assert!(is_well || is_bad(runs.version), "{} does not run", container.module);
        }
        // It is the newest, unless that was taken back; and a bad one stays only where there is nothing else.
        let taken_back = life.taken_back.as_ref().map(|taken| taken.version);
        prop_assert!(runs.version == newest || taken_back == Some(newest), "{runs:?} of {newest}, {taken_back:?}");
        prop_assert!(!is_bad(runs.version) || life.committed.is_none(), "{}", runs.version);
    }
}
