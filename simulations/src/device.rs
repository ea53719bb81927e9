//! A device of a world: a disk, a container engine and modules, and a daemon that may die.

mod adapters;
mod boot;
mod broker;
mod daemon;
mod disk;
mod engine;

use std::collections::BTreeMap;

use wayside_config::workload::{ModuleId, ModuleSpec};

use self::{
    daemon::Daemon,
    disk::Disk,
    engine::{Engine, Outcome},
};
use crate::{
    happening::{Happening, InProgram, OnDevice},
    program::Program,
    random::Random,
    world::Nature,
};

pub(crate) struct Device {
    host: Host,
    daemon: Option<Box<Daemon>>,
    lives: u32,
}

/// What outlives the daemon.
struct Host {
    index: u32,
    disk: Disk,
    engine: Engine,
    programs: BTreeMap<ModuleId, Program>,
}

impl Device {
    pub(crate) fn new(index: u32, random: &mut Random) -> Self {
        let host = Host {
            index,
            disk: Disk::new(random.number()),
            engine: Engine::default(),
            programs: BTreeMap::new(),
        };
        Self { host, daemon: None, lives: 0 }
    }

    pub(crate) fn happen(&mut self, what: OnDevice, nature: &mut Nature) {
        match what {
            OnDevice::Boot => self.boot(nature),
            OnDevice::Daemon { life, what } => {
                if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life() == life) {
                    daemon.happen(what, &mut self.host, nature);
                }
            }
            OnDevice::Uplink { connection, what } => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.on_uplink(connection, what, &mut self.host, nature);
                }
            }
            OnDevice::Lan { from, what } => {
                let reached = nature.links.reaches(from, self.host.index);
                if let Some(daemon) = self.daemon.as_mut().filter(|_| reached) {
                    daemon.on_lan(from, what, &mut self.host, nature);
                }
            }
            OnDevice::Look { at } => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.look(at, &mut self.host, nature);
                }
            }
            OnDevice::Engine { life, what } => {
                let outcome = self.host.engine.act(what, &mut nature.random);
                self.engine_did(outcome, Some(life), nature);
            }
            OnDevice::Crash { container, run } => {
                if let Some(outcome) = self.host.engine.crash(container, run) {
                    nature.counts.module_crashes += 1;
                    self.engine_did(outcome, None, nature);
                }
            }
            OnDevice::Program(module, what) => self.program(module, what, nature),
        }
    }

    /// The daemon dies at once; its modules go on and look for it.
    pub(crate) fn kill(&mut self, nature: &mut Nature) {
        if let Some(daemon) = self.daemon.take() {
            nature.links.running[self.host.index as usize] = false;
            daemon.die(&mut self.host.disk, nature);
            for program in self.host.programs.values_mut() {
                program.dial(nature);
            }
        }
    }

    /// Whether the router's changes are on their way to the disk.
    pub(crate) fn is_committing(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.is_committing())
    }

    /// How this device is not as the workload says, now that all should be well.
    pub(crate) fn misses(&self, wanted: &BTreeMap<ModuleId, ModuleSpec>) -> Vec<String> {
        let index = self.host.index;
        let mut misses = Vec::new();
        let running: BTreeMap<_, _> = self.host.engine.running().collect();
        // Crashes may have taken the newest version back: then the whole one before runs.
        let before = self.host.disk.goes_without(wanted);
        let wanted = before.as_ref().unwrap_or(wanted);
        if running != wanted.iter().collect() {
            misses.push(format!("device {index} runs {:?}", running.keys()));
        }
        if self.host.engine.count() != wanted.len() {
            misses.push(format!("device {index} has {} containers", self.host.engine.count()));
        }
        for (module, program) in &self.host.programs {
            if program.unsettled() > 0 {
                misses.push(format!("{module} on device {index} waits to publish {}", program.unsettled()));
            }
        }
        misses
    }

    fn boot(&mut self, nature: &mut Nature) {
        if self.daemon.is_none() {
            self.lives += 1;
            nature.counts.daemon_starts += 1;
            nature.links.running[self.host.index as usize] = true;
            let mut daemon = Daemon::new(self.lives, &self.host, nature);
            daemon.begin(&mut self.host, nature);
            self.daemon = Some(Box::new(daemon));
        }
    }

    /// Passes on what the engine did: to the daemon that asked, to its event stream, to the module.
    fn engine_did(&mut self, outcome: Outcome, asked: Option<u32>, nature: &mut Nature) {
        let Outcome { answers, exited, started, stopped } = outcome;
        if let Some(daemon) = &mut self.daemon {
            let heard = asked == Some(daemon.life());
            for event in answers.into_iter().filter(|_| heard).chain(exited) {
                daemon.tell(event, &mut self.host, nature);
            }
        }
        if let Some(module) = stopped {
            if let Some(program) = self.host.programs.get_mut(&module) {
                program.stopped();
            }
            if let Some(daemon) = &mut self.daemon {
                daemon.disconnected(&module, &mut self.host, nature);
            }
        }
        if let Some(engine::Started { module, container, run }) = started {
            nature.counts.module_starts += 1;
            if nature.is_busy() && nature.random.chance(nature.scenario.crashes_per_mille) {
                let after_ms = nature.random.between(100, 20_000);
                let crash = OnDevice::Crash { container, run };
                nature.schedule.after(after_ms, Happening::Device(self.host.index, crash));
            }
            let index = self.host.index;
            let program = self.host.programs.entry(module.clone());
            program.or_insert_with(|| Program::new(index, module)).started(run, nature);
        }
    }

    fn program(&mut self, module: ModuleId, what: InProgram, nature: &mut Nature) {
        let Some(program) = self.host.programs.get_mut(&module) else { return };
        match what {
            InProgram::Tick { run } => program.tick(run, nature),
            InProgram::Packet { session, packet } => program.packet(session, packet, nature),
            InProgram::Dial { run } if program.is_run(run) => match &mut self.daemon {
                Some(daemon) => daemon.dialled(module, &mut self.host, nature),
                None => program.dial(nature),
            },
            InProgram::Dial { .. } => {}
        }
    }
}
