//! The world: devices, a cloud and what is between them, on one clock.

use std::sync::Arc;

use wayside_actors::time::Time;

use crate::{
    calling::Calling,
    cloud::Cloud,
    device::Device,
    fault::Fault,
    happening::{Happening, InCloud, InService, OnDevice, OnUplink},
    ledger::Ledger,
    links::Links,
    random::Random,
    scenario::Scenario,
    schedule::Schedule,
    trace::Trace,
    twinning::Twinning,
    workload,
};

/// All that a scenario declares, and what has come of it.
pub(crate) struct World {
    pub(crate) devices: Vec<Device>,
    pub(crate) cloud: Cloud,
    pub(crate) nature: Nature,
    /// The highest version that the operator has asked for.
    asked: u64,
}

/// What every part of the world shares.
pub(crate) struct Nature {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) schedule: Schedule<Happening>,
    pub(crate) random: Random,
    /// Whether there is room on an uplink. Of its own, so that it changes nothing of what else is left to chance.
    pub(crate) room: Random,
    pub(crate) trace: Trace,
    pub(crate) links: Links,
    pub(crate) ledger: Ledger,
    pub(crate) calls: Calling,
    pub(crate) twins: Twinning,
    pub(crate) counts: Counts,
    /// The highest version of the workload that the cloud has settled.
    pub(crate) settled: u64,
    /// What broke a law at once.
    pub(crate) broken: Vec<String>,
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) daemon_starts: u64,
    pub(crate) cloud_starts: u64,
    pub(crate) module_starts: u64,
    pub(crate) module_crashes: u64,
}

/// Wall-clock time when a world begins: the first of January 2013, 00:00 UTC.
const WALL_START_MS: u64 = 1_356_998_400_000;

impl Nature {
    pub(crate) const fn now(&self) -> Time {
        self.schedule.now()
    }

    pub(crate) const fn wall_ms(&self) -> u64 {
        WALL_START_MS + self.schedule.now().as_millis()
    }

    /// Whether modules still measure and crash.
    pub(crate) fn is_busy(&self) -> bool {
        self.now().as_millis() < self.scenario.busy_ms
    }
}

impl World {
    pub(crate) fn new(scenario: Scenario, trace: Trace) -> Self {
        let count = scenario.devices;
        let mut random = Random::new(scenario.seed);
        let room = Random::new(scenario.seed ^ 0x0072_6f6f_6d00);
        let links = Links::new(random.number(), count as usize, scenario.lan_loss_per_mille);
        let devices = (0..count).map(|index| Device::new(index, &mut random)).collect();
        let mut schedule = Schedule::new();
        schedule.after(0, Happening::Cloud(InCloud::Boot));
        for index in 0..count {
            schedule.after(random.between(0, 500), Happening::Device(index, OnDevice::Boot));
        }
        for (number, at_ms) in scenario.applies_ms.iter().enumerate() {
            schedule.after(*at_ms, Happening::Apply(number as u64 + 1));
        }
        for (number, (at_ms, _)) in scenario.faults.iter().enumerate() {
            schedule.after(*at_ms, Happening::Fault(number));
        }
        let nature = Nature {
            calls: Calling::new(scenario.seed),
            twins: Twinning::new(scenario.seed),
            scenario: Arc::new(scenario),
            schedule,
            random,
            room,
            trace,
            links,
            ledger: Ledger::new(count as usize),
            counts: Counts::default(),
            settled: 0,
            broken: Vec::new(),
        };
        Self { devices, cloud: Cloud::default(), nature, asked: 0 }
    }

    /// Lets happen what is planned up to `end`.
    pub(crate) fn run_until(&mut self, end: Time) {
        while let Some(happening) = self.nature.schedule.next(end) {
            self.nature.counts.events += 1;
            match happening {
                Happening::Device(index, what) => {
                    self.devices[index as usize].happen(what, &mut self.nature);
                }
                Happening::Cloud(what) => self.cloud.happen(what, &mut self.nature),
                Happening::Apply(version) => self.apply(version),
                Happening::Fault(number) => self.fault(number),
                Happening::Mended(number) => self.mend(number),
            }
        }
    }

    /// The operator's program: it asks again until the cloud says that the release is stored, or the
    /// operator has a newer one.
    fn apply(&mut self, version: u64) {
        const RETRY_MS: u64 = 1000;
        self.asked = self.asked.max(version);
        if self.nature.settled < version && self.asked == version {
            let release = workload::release(version, &self.nature.scenario);
            self.cloud.apply(release, &mut self.nature);
            self.nature.schedule.after(RETRY_MS, Happening::Apply(version));
        }
    }

    fn fault(&mut self, number: usize) {
        let (_, fault) = self.nature.scenario.faults[number];
        if self.is_spared(fault) {
            return self.nature.schedule.after(1, Happening::Fault(number));
        }
        self.nature.trace.line(self.nature.now(), "fault", fault);
        match fault {
            Fault::KillDaemon { device, .. } => {
                self.devices[device as usize].kill(&mut self.nature);
                self.sever(device);
                self.look_around(device);
            }
            Fault::CutUplink { device, .. } => {
                self.nature.links.cut[device as usize] = true;
                self.sever(device);
            }
            Fault::RestartCloud { .. } => {
                self.cloud.kill(&mut self.nature);
                for device in 0..self.nature.scenario.devices {
                    self.sever(device);
                }
            }
            Fault::PartLan { cut_off, .. } => {
                let devices = 0..self.nature.scenario.devices;
                self.nature.links.sides = Some(devices.clone().map(|index| index < cut_off).collect());
                devices.for_each(|index| self.look_around(index));
            }
        }
        self.nature.schedule.after(fault.for_ms(), Happening::Mended(number));
    }

    /// A daemon mostly dies where it hurts: while something is being committed, if that is soon.
    fn is_spared(&mut self, fault: Fault) -> bool {
        const WAITS_PER_MILLE: u64 = 990;
        match fault {
            Fault::KillDaemon { device, .. } => {
                !self.devices[device as usize].is_committing() && self.nature.random.chance(WAITS_PER_MILLE)
            }
            Fault::CutUplink { .. } | Fault::RestartCloud { .. } | Fault::PartLan { .. } => false,
        }
    }

    fn mend(&mut self, number: usize) {
        let (_, fault) = self.nature.scenario.faults[number];
        match fault {
            Fault::KillDaemon { device, .. } => {
                self.nature.schedule.after(0, Happening::Device(device, OnDevice::Boot));
            }
            Fault::CutUplink { device, .. } => self.nature.links.cut[device as usize] = false,
            Fault::RestartCloud { .. } => self.nature.schedule.after(0, Happening::Cloud(InCloud::Boot)),
            Fault::PartLan { .. } => {
                self.nature.links.sides = None;
                (0..self.nature.scenario.devices).for_each(|index| self.look_around(index));
            }
        }
    }

    /// The mesh notices after a lease's time that this device and others see each other no more, or again.
    fn look_around(&mut self, index: u32) {
        for other in (0..self.nature.scenario.devices).filter(|other| *other != index) {
            let after_ms = self.nature.random.between(10, 3000);
            self.nature.schedule.after(after_ms, Happening::Device(index, OnDevice::Look { at: other }));
            self.nature.schedule.after(after_ms, Happening::Device(other, OnDevice::Look { at: index }));
        }
    }

    /// A connection to the cloud carries nothing any more; both ends notice by silence.
    fn sever(&mut self, index: u32) {
        let Some(connection) = self.nature.links.connection[index as usize].take() else { return };
        let Nature { schedule, random, links, .. } = &mut self.nature;
        let what = OnDevice::Uplink { connection, what: OnUplink::Lost };
        schedule.after(random.between(1000, 10_000), Happening::Device(index, what));
        if let Some(life) = links.cloud {
            let what = InCloud::Service { life, what: InService::Closed { device: index, connection } };
            schedule.after(random.between(1000, 10_000), Happening::Cloud(what));
        }
    }
}
