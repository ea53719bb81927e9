//! Operators who look at twins and change them, and what they were told: what was told once stays so, whoever dies.

use std::collections::BTreeMap;

use wayside_actors::device::twins::{Event, Twin};
use wayside_config::{document::TwinChange, hash::sha256, workload::ModuleId};

use crate::{
    links::device_id,
    random::Random,
    workload::{NAME, SENSOR},
};

/// All twins of a world, as operators know them.
#[derive(Debug)]
pub(crate) struct Twinning {
    /// Of its own, so that twins change nothing of what else is left to chance.
    random: Random,
    asked: u64,
    /// Questions that are looks; others are changes.
    looks: BTreeMap<u64, u32>,
    /// Life and version that an operator was told last, by device.
    told: BTreeMap<u32, (u64, u64)>,
    /// Changes that devices took.
    pub(crate) changed: u64,
}

impl Twinning {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x0074_7769_6e73);
        Self { random, asked: 0, looks: BTreeMap::new(), told: BTreeMap::new(), changed: 0 }
    }

    /// For the lives of twins that a daemon begins.
    pub(crate) fn seed(&mut self) -> u64 {
        self.random.number()
    }

    /// An operator looks at the sensor's twin.
    pub(crate) fn look(&mut self, device: u32) -> Event {
        self.asked += 1;
        self.looks.insert(self.asked, device);
        Event::Look { question: self.asked, module: sensor() }
    }

    /// What the operator is told. After a look comes a change of what was seen. Gives the law that is broken, if one is.
    pub(crate) fn shown(
        &mut self,
        device: u32,
        question: u64,
        result: Result<Box<Twin>, String>,
    ) -> (Option<Event>, Option<String>) {
        let was_look = self.looks.remove(&question).is_some();
        // A module that is not there yet has no twin, and who changes it at the same time is told so.
        let Ok(twin) = result else { return (None, None) };
        let now = (twin.life, twin.desired.version);
        let before = self.told.insert(device, now);
        let broken = before
            .filter(|(life, version)| *life != now.0 || *version > now.1)
            .map(|before| format!("device {device} told of twin {before:?} and then of {now:?}"));
        if !was_look {
            self.changed += 1;
            return (None, broken);
        }
        let version = twin.desired.version + 1;
        let patch = format!("{{\"n\":{version}}}");
        let (device, life) = (device_id(device), twin.life);
        let change = TwinChange { device, name: None, module: sensor(), life, version, patch };
        self.asked += 1;
        let sha256 = sha256(&self.asked.to_be_bytes());
        let change = Event::Change { question: Some(self.asked), change: Box::new(change), sha256 };
        (Some(change), broken)
    }
}

fn sensor() -> ModuleId {
    ModuleId::new(NAME, SENSOR)
}
