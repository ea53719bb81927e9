//! Changes of twins that cross on the way: operators at the cloud and on the LAN, connections that break, links without
//! room, machines and modules that begin anew. What a device took is never reported as refused, whatever the order.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use wayside_actors::{
    cloud::fleet::{self, DeviceRecord, Fleet, TwinRecord},
    device::twins::{Effect, Event, TELL_MS, Twin, Twins},
    frame::{Hello, PROTOCOL, ToCloud},
    machine::{Effects, Machine, Step},
    report::Report,
    time::Time,
};
use wayside_config::{cbor, document::TwinChange, hash::sha256, identity::DeviceId, workload::ModuleId};

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A frame reaches the cloud.
    Up,
    /// A change reaches the device.
    Down,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// An operator at the cloud changes what is desired; a large change is one that the device may not take.
    AtCloud { large: bool },
    /// An operator on the LAN does.
    OnLan,
    /// The module reports.
    Report,
    /// The connection ends.
    Cut,
    /// It stands; the device's report comes before its twins, or after them.
    Connect { report_first: bool },
    /// The device's machine is made anew from its disk.
    Rebuild,
    /// The cloud's is, and the connection ends.
    CloudRestarts,
    /// The module is taken off, or comes back.
    Module(bool),
    /// For so many words there is no room on the uplink.
    NoRoom(u32),
}

struct World {
    now: u64,
    cloud: Fleet,
    /// What the cloud keeps, and so what operators see.
    kept: Option<TwinRecord>,
    device: Twins,
    disk: BTreeMap<ModuleId, Twin>,
    alarm: Option<u64>,
    up: VecDeque<ToCloud>,
    down: VecDeque<Bytes>,
    is_connected: bool,
    has_module: bool,
    no_room: u32,
    /// Machines and changes made so far.
    count: u64,
    taken: BTreeSet<[u8; 32]>,
    refused: BTreeSet<[u8; 32]>,
}

fn id() -> DeviceId {
    DeviceId::from_bytes([1; 32])
}

fn module() -> ModuleId {
    ModuleId::new("plant", "sensor")
}

fn cloud(kept: Option<TwinRecord>) -> Fleet {
    let twins = kept.map(|record| ((id(), module()), record));
    Fleet::new(Time::from_millis(0), [(id(), DeviceRecord::default())], []).with_twins(twins)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: 0,
            cloud: cloud(None),
            kept: None,
            device: Twins::new(BTreeMap::new(), 0),
            disk: BTreeMap::new(),
            alarm: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            is_connected: false,
            has_module: true,
            no_room: 0,
            count: 0,
            taken: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        world.at_device(world.modules());
        world.at_device(Event::Look { question: 0, module: module() });
        world.happen(Next::Connect { report_first: true });
        world
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Up => {
                if let Some(frame) = self.up.pop_front() {
                    self.reach_cloud(frame);
                }
            }
            Next::Down => {
                if let Some(sealed) = self.down.pop_front() {
                    let change = Box::new(cbor::decode::<TwinChange>(&sealed).unwrap());
                    self.at_device(Event::Change { question: None, change, sha256: sha256(&sealed) });
                }
            }
            Next::Wait(ms) => {
                self.now += ms;
                if self.alarm.is_some_and(|alarm| alarm <= self.now) {
                    self.alarm = None;
                    self.at_device(Event::Woken);
                }
            }
            Next::AtCloud { large } => {
                let Some(kept) = &self.kept else { return };
                let before = kept.pending.last().map_or(kept.twin.desired.version, |last| last.version);
                let life = kept.twin.life;
                let (change, sealed) = self.change(life, before + 1, large);
                let sha256 = sha256(&sealed);
                self.at_cloud(fleet::Event::TwinSet { ticket: 1, change, sha256, sealed });
            }
            Next::OnLan => {
                let Some(twin) = self.disk.get(&module()) else { return };
                let (life, version) = (twin.life, twin.desired.version + 1);
                let (change, sealed) = self.change(life, version, false);
                self.at_device(Event::Change { question: Some(1), change, sha256: sha256(&sealed) });
            }
            Next::Report => {
                self.count += 1;
                let patch = format!("{{\"n\":{}}}", self.count).into();
                self.at_device(Event::Reported { ticket: 1, module: module(), patch, wall_ms: 0 });
            }
            Next::Cut if self.is_connected => {
                self.is_connected = false;
                self.up.clear();
                self.down.clear();
                self.at_cloud(fleet::Event::Gone { device: id() });
                self.at_device(Event::CloudDown);
            }
            Next::Connect { report_first } if !self.is_connected => {
                self.is_connected = true;
                let (name, version) = ("ewr".into(), "1".into());
                let hello = Hello {
                    protocol: PROTOCOL,
                    name,
                    version,
                    labels: vec![],
                    token: None,
                    run: 1,
                    grant: None,
                };
                self.at_cloud(fleet::Event::Greeted {
                    device: id(),
                    hello,
                    token_ok: true,
                    granted: None,
                    is_void: false,
                    wall_ms: 0,
                });
                let report = ToCloud::Report(Box::new(Report { number: 1, full: true, ..Report::default() }));
                if report_first {
                    self.up.push_back(report);
                    self.at_device(Event::CloudUp);
                } else {
                    self.at_device(Event::CloudUp);
                    self.up.push_back(report);
                }
            }
            Next::Cut | Next::Connect { .. } => {}
            Next::Rebuild => {
                self.count += 1;
                self.device = Twins::new(self.disk.clone(), self.count);
                self.alarm = None;
                self.at_device(self.modules());
                if self.is_connected {
                    self.at_device(Event::CloudUp);
                }
            }
            Next::CloudRestarts => {
                self.happen(Next::Cut);
                self.cloud = cloud(self.kept.clone());
                self.at_cloud(fleet::Event::Started);
            }
            Next::Module(there) => {
                self.has_module = there;
                self.at_device(self.modules());
                if there {
                    self.at_device(Event::Wanted { module: module() });
                }
            }
            Next::NoRoom(words) => self.no_room = words,
        }
    }

    fn modules(&self) -> Event {
        Event::Modules(if self.has_module { vec![(module(), None)] } else { Vec::new() })
    }

    fn change(&mut self, life: u64, version: u64, large: bool) -> (Box<TwinChange>, Bytes) {
        self.count += 1;
        let count = self.count;
        // Two large ones are more than a twin holds.
        let patch = if large {
            format!("{{\"large{count}\":\"{}\"}}", "x".repeat(40_000))
        } else {
            format!("{{\"n\":{count}}}")
        };
        let change = TwinChange { device: id(), name: None, module: module(), life, version, patch };
        let sealed = cbor::encode(&change).into();
        (Box::new(change), sealed)
    }

    fn at_device(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut out = Effects::new();
            self.device.handle(Time::from_millis(self.now), event, &mut out);
            for step in out.take() {
                match step {
                    Step::Persist(Effect::Save(of, twin)) => {
                        assert!(!self.refused.contains(&twin.changed_by), "taken after it was refused");
                        self.taken.insert(twin.changed_by);
                        self.disk.insert(of, *twin);
                    }
                    Step::Persist(Effect::Drop(of)) => drop(self.disk.remove(&of)),
                    Step::Do(Effect::Tell(frames)) if self.no_room > 0 => {
                        self.no_room -= 1;
                        events.push_back(Event::Untold(frames));
                    }
                    Step::Do(Effect::Tell(frames)) if self.is_connected => self.up.extend(frames),
                    Step::WakeAt(at) => self.alarm = Some(at.as_millis()),
                    Step::Persist(_) | Step::Do(_) => {}
                }
            }
        }
    }

    fn reach_cloud(&mut self, frame: ToCloud) {
        let before = self.kept.clone();
        let is_refusal = matches!(frame, ToCloud::TwinRefused { .. });
        self.at_cloud(match frame {
            ToCloud::Report(report) => fleet::Event::Reported { device: id(), report, wall_ms: 0 },
            ToCloud::TwinNames(modules) => fleet::Event::TwinNames { device: id(), modules },
            ToCloud::Twin(module, twin) => fleet::Event::TwinReported { device: id(), module, twin },
            ToCloud::TwinRefused { sha256, reason } => {
                fleet::Event::TwinRefused { device: id(), sha256, reason }
            }
            other => panic!("{other:?}"),
        });
        let (Some(before), Some(after)) = (before, &self.kept) else { return };
        let left: BTreeSet<_> = after.pending.iter().map(|pending| pending.sha256).collect();
        let dropped = before.pending.iter().map(|pending| pending.sha256).filter(|sha| !left.contains(sha));
        for sha in dropped {
            if is_refusal {
                assert!(!self.taken.contains(&sha), "taken, and reported as refused: {}", after.problem);
                self.refused.insert(sha);
            } else if before.problem == after.problem {
                assert!(self.taken.contains(&sha), "not taken, and reported as taken");
            }
        }
    }

    fn at_cloud(&mut self, event: fleet::Event) {
        let mut out = Effects::new();
        self.cloud.handle(Time::from_millis(self.now), event, &mut out);
        for step in out.take() {
            match step {
                Step::Persist(fleet::Effect::SaveTwin(.., record)) => self.kept = Some(*record),
                Step::Persist(fleet::Effect::DropTwin(..)) => self.kept = None,
                Step::Do(fleet::Effect::TwinChanged(.., record)) => {
                    self.kept = record.map(|record| *record);
                }
                Step::Do(fleet::Effect::SendTwin(_, sealed)) if self.is_connected => {
                    self.down.push_back(sealed);
                }
                Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => {}
            }
        }
    }

    /// With a link that stands, everything comes to an end.
    fn settle(&mut self) {
        self.happen(Next::NoRoom(0));
        self.happen(Next::Connect { report_first: true });
        for _ in 0..200 {
            self.happen(Next::Wait(TELL_MS));
            while !self.up.is_empty() || !self.down.is_empty() {
                self.happen(Next::Up);
                self.happen(Next::Down);
            }
        }
        if let Some(kept) = &self.kept {
            assert_eq!(kept.pending.len(), 0, "waits for ever");
            assert_eq!(self.disk.get(&module()), Some(&kept.twin));
        }
    }
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        12 => Just(Next::Up),
        12 => Just(Next::Down),
        6 => (1u64..700).prop_map(Next::Wait),
        8 => (0..10u8).prop_map(|n| Next::AtCloud { large: n == 0 }),
        3 => Just(Next::OnLan),
        3 => Just(Next::Report),
        2 => Just(Next::Cut),
        3 => any::<bool>().prop_map(|report_first| Next::Connect { report_first }),
        1 => Just(Next::Rebuild),
        1 => Just(Next::CloudRestarts),
        1 => any::<bool>().prop_map(Next::Module),
        1 => (1u32..5).prop_map(Next::NoRoom),
    ]
}

#[test]
fn changes_that_cross_the_first_word_of_a_connection_are_taken_and_not_refused() {
    let mut world = World::new();
    while !world.up.is_empty() {
        world.happen(Next::Up);
    }
    world.happen(Next::Cut);
    world.happen(Next::Connect { report_first: true });
    // The report is there, and what the device says of its twin is still on its way.
    world.happen(Next::Up);
    for _ in 0..2 {
        world.happen(Next::Wait(1));
        world.happen(Next::AtCloud { large: false });
    }
    let count = world.taken.len();
    world.settle();
    assert_eq!(world.taken.len(), count + 2);
    assert_eq!(world.kept.unwrap().problem, "");
}

#[test]
fn what_follows_a_change_that_is_not_taken_is_not_taken_either() {
    let mut world = World::new();
    while !world.up.is_empty() {
        world.happen(Next::Up);
    }
    for _ in 0..3 {
        world.happen(Next::Wait(1));
        world.happen(Next::AtCloud { large: false });
    }
    // An operator on the LAN is first.
    world.happen(Next::Wait(1));
    world.happen(Next::OnLan);
    world.settle();
    let kept = world.kept.unwrap();
    assert_eq!(kept.twin.desired.version, 1);
    assert!(kept.problem.contains("look at it, and set again what is missing"), "{}", kept.problem);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is reported as refused was not taken and never is; what is reported as taken was; and nothing waits for ever.
    #[test]
    fn what_was_taken_is_never_reported_as_refused(nexts in prop::collection::vec(next(), 0..120)) {
        let mut world = World::new();
        for next in nexts {
            world.happen(next);
        }
        world.settle();
    }
}
