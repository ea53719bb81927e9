//! Twins as devices told of them, and operators' changes that devices are still to take.
//!
//! The cloud owns neither side of a twin. It keeps what a device said last, and carries sealed changes to it: those for a
//! device that is away wait here, in order, until the device has them or cannot take them any more.
//!
//! One change of a twin is on its way at a time. Whatever the device says of the twin is answered with the first that waits,
//! until it says that it has it; then comes the next. So a change that follows one that is not taken is not taken either,
//! and what was lost on the way comes again. A device takes the same change once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{document::TwinChange, identity::DeviceId, patch, workload::ModuleId};

use super::{Effect, Fleet, Presence};
use crate::{
    device::twins::{Side, Twin},
    machine::Effects,
    report::MAX_MODULES,
};

/// Changes of one twin that may wait for its device.
pub const MAX_PENDING: usize = 32;
/// What the cloud keeps of one device's twins and of their changes, in bytes.
pub const MAX_TWIN_BYTES: usize = 16 << 20;

/// What the cloud keeps of a module's twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinRecord {
    /// As the device told of it last.
    pub twin: Twin,
    /// What the device is still to take, in order.
    pub pending: Vec<Pending>,
    /// What became of the last change that the device did not take; empty when all is well.
    pub problem: String,
}

/// An operator's change that a device is still to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The version that it makes.
    pub version: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// The bytes.
    pub sealed: Bytes,
}

/// The twins of one device.
#[derive(Debug, Default)]
pub(super) struct Twins {
    records: BTreeMap<ModuleId, TwinRecord>,
    bytes: usize,
    /// Of which more was told than is stored.
    unsaved: BTreeSet<ModuleId>,
}

impl TwinRecord {
    fn cost_bytes(&self) -> usize {
        let pending: usize = self.pending.iter().map(|pending| pending.sealed.len()).sum();
        self.twin.cost_bytes() + pending
    }

    /// Drops what the device has taken, and what it cannot take any more.
    fn settle(&mut self, told: &Twin) {
        let Some(first) = self.pending.first() else { return };
        let version = told.desired.version;
        if self.twin.life != told.life {
            self.give_up(
                "the twin began anew, and changes that waited here were for the one before: look at it and set it again".into(),
            );
        } else if let Some(taken) = self.pending.iter().rposition(|pending| pending.sha256 == told.changed_by)
        {
            self.pending.drain(..=taken);
        } else if first.version <= version {
            self.give_up(format!(
                "the device is at version {version} by another change than those that waited here from version {} on: look at it, and set again what is missing",
                first.version
            ));
        }
    }

    fn give_up(&mut self, problem: String) {
        self.pending.clear();
        self.problem = problem;
    }
}

impl Twins {
    /// Puts in a record in place of the one before.
    pub(super) fn put(&mut self, module: ModuleId, record: TwinRecord) {
        self.remove(&module);
        self.bytes += record.cost_bytes();
        self.records.insert(module, record);
    }

    fn remove(&mut self, module: &ModuleId) -> Option<TwinRecord> {
        let record = self.records.remove(module)?;
        self.bytes -= record.cost_bytes();
        Some(record)
    }
}

impl Fleet {
    /// These modules of a device have twins, and no others.
    pub(super) fn twin_names(&mut self, id: DeviceId, modules: Vec<ModuleId>, out: &mut Effects<Effect>) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        let named: BTreeSet<ModuleId> = modules.into_iter().collect();
        let twins = &mut device.twins;
        let gone: Vec<_> = twins.records.keys().filter(|module| !named.contains(module)).cloned().collect();
        for module in gone {
            twins.remove(&module);
            twins.unsaved.remove(&module);
            out.persist(Effect::DropTwin(id, module.clone()));
            out.push(Effect::TwinChanged(id, module, None));
        }
    }

    /// A device told of a twin. A new one for which there is no room is left out; of one that is known the change goes on,
    /// and what the module says of itself stays as it was.
    pub(super) fn twin_reported(
        &mut self,
        id: DeviceId,
        module: ModuleId,
        twin: Twin,
        out: &mut Effects<Effect>,
    ) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        let twins = &mut device.twins;
        let known = twins.records.get(&module);
        let others = twins.bytes - known.map_or(0, TwinRecord::cost_bytes);
        let mut record = known.cloned().unwrap_or_else(|| TwinRecord {
            twin: twin.clone(),
            pending: Vec::new(),
            problem: String::new(),
        });
        let waited = record.pending.len();
        record.settle(&twin);
        let is_kept = known.is_some_and(|before| {
            before.twin.life == twin.life
                && before.twin.desired == twin.desired
                && waited == record.pending.len()
        });
        let before = std::mem::replace(&mut record.twin, twin);
        if others + record.cost_bytes() > MAX_TWIN_BYTES
            || (known.is_none() && twins.records.len() >= MAX_MODULES)
        {
            device.record.unshown = device.record.unshown.saturating_add(1);
            if known.is_none() {
                return;
            }
            let is_same = before.life == record.twin.life;
            record.twin.reported = if is_same { before.reported } else { Side::default() };
        }
        if let Some(next) = record.pending.first() {
            out.push(Effect::SendTwin(id, next.sealed.clone()));
        }
        twins.put(module.clone(), record.clone());
        // What modules say of themselves is stored with the rest of what a device said, when it goes.
        if is_kept {
            twins.unsaved.insert(module.clone());
        } else {
            twins.unsaved.remove(&module);
            out.persist(Effect::SaveTwin(id, module.clone(), Box::new(record.clone())));
        }
        out.push(Effect::TwinChanged(id, module, Some(Box::new(record))));
    }

    /// An operator changes a twin. Gives 1 when its device is there to take the change, else 0.
    pub(super) fn twin_set(
        &mut self,
        change: &TwinChange,
        sha256: [u8; 32],
        sealed: Bytes,
        out: &mut Effects<Effect>,
    ) -> Result<u64, String> {
        let (id, module) = (change.device, &change.module);
        let device = self.devices.get_mut(&id).ok_or("there is no such device here")?;
        let is_there = device.record.presence == Presence::Online;
        let bytes = device.twins.bytes;
        let record = device.twins.records.get(module).ok_or_else(|| {
            format!("the device has not told of a twin of {module}: look at it while the device is there")
        })?;
        if record.pending.iter().any(|pending| pending.sha256 == sha256) {
            return Ok(u64::from(is_there));
        }
        if record.twin.life != change.life {
            return Err(format!(
                "the change is for an earlier twin of {module}: look at it and set it again"
            ));
        }
        let before = record.pending.last().map_or(record.twin.desired.version, |pending| pending.version);
        if before.checked_add(1) != Some(change.version) {
            return Err(format!(
                "the change is for version {} of the desired properties of {module}, which are at version {before}: look at it and set it again",
                change.version
            ));
        }
        patch::object(change.patch.as_bytes())
            .map_err(|error| format!("this is no change of a twin: {error}"))?;
        if record.pending.len() >= MAX_PENDING || bytes + sealed.len() > MAX_TWIN_BYTES {
            return Err(format!(
                "too many changes wait for the device already: set {module} when it is back"
            ));
        }
        let mut record = record.clone();
        let is_next = record.pending.is_empty();
        record.pending.push(Pending { version: change.version, sha256, sealed: sealed.clone() });
        record.problem.clear();
        device.twins.unsaved.remove(module);
        device.twins.put(module.clone(), record.clone());
        let record = Box::new(record);
        out.persist(Effect::SaveTwin(id, module.clone(), record.clone()));
        out.push(Effect::TwinChanged(id, module.clone(), Some(record)));
        if is_there && is_next {
            out.push(Effect::SendTwin(id, sealed));
        }
        Ok(u64::from(is_there))
    }

    /// The device does not take a change, and so none that follows it.
    pub(super) fn twin_refused(
        &mut self,
        id: DeviceId,
        sha256: [u8; 32],
        reason: &str,
        out: &mut Effects<Effect>,
    ) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        let found = device.twins.records.iter().find_map(|(module, record)| {
            let at = record.pending.iter().position(|pending| pending.sha256 == sha256)?;
            Some((module.clone(), record.clone(), at))
        });
        // One that was given up before.
        let Some((module, mut record, at)) = found else { return };
        record.problem =
            format!("changes from version {} on were not taken: {reason}", record.pending[at].version);
        record.pending.truncate(at);
        device.twins.unsaved.remove(&module);
        device.twins.put(module.clone(), record.clone());
        let record = Box::new(record);
        out.persist(Effect::SaveTwin(id, module.clone(), record.clone()));
        out.push(Effect::TwinChanged(id, module, Some(record)));
    }

    /// The device is gone: what is not stored of its twins is.
    pub(super) fn save_twins(&mut self, id: DeviceId, out: &mut Effects<Effect>) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        for module in std::mem::take(&mut device.twins.unsaved) {
            if let Some(record) = device.twins.records.get(&module) {
                out.persist(Effect::SaveTwin(id, module, Box::new(record.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cloud::fleet::{DeviceRecord, Event},
        device::twins::Side,
        report::Report,
        testing::{at, done},
        time::Time,
    };

    fn device() -> DeviceId {
        DeviceId::from_bytes([1; 32])
    }

    fn module() -> ModuleId {
        ModuleId::new("plant", "sensor")
    }

    fn fleet() -> Fleet {
        Fleet::new(Time::from_millis(0), [(device(), DeviceRecord::default())], [])
    }

    fn comes(fleet: &mut Fleet) {
        let report = Report { number: 1, full: true, ..Report::default() };
        at(fleet, 0, Event::Reported { device: device(), report: Box::new(report), wall_ms: 1 });
        at(fleet, 0, Event::TwinNames { device: device(), modules: vec![module()] });
    }

    fn told(life: u64, version: u64, changed_by: [u8; 32]) -> Event {
        let desired = Side { version, properties: "{}".into() };
        let twin = Box::new(Twin { desired, changed_by, ..Twin::new(life) });
        Event::TwinReported { device: device(), module: module(), twin }
    }

    fn set(fleet: &mut Fleet, life: u64, version: u64) -> Vec<Effect> {
        let change =
            TwinChange { device: device(), name: None, module: module(), life, version, patch: "{}".into() };
        let (sha256, sealed) = ([version as u8; 32], Bytes::from(vec![version as u8]));
        done(fleet, 0, Event::TwinSet { ticket: 9, change: Box::new(change), sha256, sealed })
    }

    fn refused(effects: &[Effect]) -> bool {
        matches!(effects, [Effect::Settled { ticket: 9, result: Err(_) }])
    }

    fn sent(effects: &[Effect]) -> Vec<u8> {
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::SendTwin(_, sealed) => Some(sealed[0]),
            Effect::SaveDevice(..)
            | Effect::SaveRelease { .. }
            | Effect::DropRelease { .. }
            | Effect::Admit(..)
            | Effect::Hangup { .. }
            | Effect::Assign(_)
            | Effect::Settled { .. }
            | Effect::Changed(..)
            | Effect::SaveTwin(..)
            | Effect::DropTwin(..)
            | Effect::TwinChanged(..) => None,
        });
        sent.collect()
    }

    #[test]
    fn a_device_that_is_away_gets_its_changes_in_order_when_it_is_back() {
        let mut fleet = fleet();
        assert!(refused(&set(&mut fleet, 7, 1)), "nothing is known of the twin");
        comes(&mut fleet);
        at(&mut fleet, 0, told(7, 0, [0; 32]));
        assert_eq!(sent(&set(&mut fleet, 7, 1)), [1], "it is there");
        at(&mut fleet, 0, told(7, 1, [1; 32]));
        at(&mut fleet, 0, Event::Gone { device: device() });
        assert_eq!(sent(&set(&mut fleet, 7, 2)), [0; 0]);
        assert_eq!(sent(&set(&mut fleet, 7, 3)), [0; 0]);
        assert!(refused(&set(&mut fleet, 7, 5)) && refused(&set(&mut fleet, 8, 4)));
        comes(&mut fleet);
        assert_eq!(sent(&done(&mut fleet, 0, told(7, 1, [1; 32]))), [2], "one after the other");
        assert_eq!(sent(&done(&mut fleet, 0, told(7, 1, [1; 32]))), [2], "until it is taken");
        assert_eq!(sent(&set(&mut fleet, 7, 4)), [0; 0]);
        assert_eq!(sent(&done(&mut fleet, 0, told(7, 2, [2; 32]))), [3]);
        assert_eq!(sent(&done(&mut fleet, 0, told(7, 3, [3; 32]))), [4]);
        at(&mut fleet, 0, told(7, 4, [4; 32]));
        comes(&mut fleet);
        assert_eq!(sent(&done(&mut fleet, 0, told(7, 4, [4; 32]))), [0; 0]);
    }

    #[test]
    fn what_a_device_cannot_take_any_more_is_dropped_and_said() {
        for (life, version) in [(8, 0), (7, 2), (7, 3), (7, 9)] {
            let mut fleet = fleet();
            comes(&mut fleet);
            at(&mut fleet, 0, told(7, 1, [1; 32]));
            at(&mut fleet, 0, Event::Gone { device: device() });
            set(&mut fleet, 7, 2);
            set(&mut fleet, 7, 3);
            comes(&mut fleet);
            // It began anew, or an operator on its LAN was first.
            let effects = done(&mut fleet, 0, told(life, version, [99; 32]));
            let Some(Effect::TwinChanged(_, _, Some(record))) = effects.last() else { panic!("{effects:?}") };
            assert!(record.pending.is_empty() && record.problem.contains("look at it"), "{record:?}");
            assert_eq!(sent(&effects), [0; 0]);
        }
    }

    #[test]
    fn what_a_device_does_not_take_is_dropped_with_what_follows_it_and_said() {
        let mut fleet = fleet();
        comes(&mut fleet);
        at(&mut fleet, 0, told(7, 0, [0; 32]));
        for version in 1..=3 {
            set(&mut fleet, 7, version);
        }
        let refuse = |sha256| Event::TwinRefused { device: device(), sha256, reason: "too large".into() };
        let effects = done(&mut fleet, 0, refuse([2; 32]));
        let [Effect::TwinChanged(_, _, Some(record))] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(record.pending.iter().map(|pending| pending.version).collect::<Vec<_>>(), [1]);
        assert_eq!(record.problem, "changes from version 2 on were not taken: too large");
        assert_eq!(done(&mut fleet, 0, refuse([3; 32])), []);
        // There is a way on, and it ends the problem.
        set(&mut fleet, 7, 2);
        assert_eq!(fleet.devices[&device()].twins.records[&module()].problem, "");
    }

    #[test]
    fn twins_take_no_more_than_their_room_and_go_with_their_modules() {
        let mut fleet = fleet();
        comes(&mut fleet);
        let large = |name: usize| {
            let reported = Side { version: 1, properties: "x".repeat(wayside_config::limits::TWIN_BYTES) };
            let module = ModuleId::new("w", name.to_string());
            let twin = Box::new(Twin { reported, ..Twin::new(1) });
            Event::TwinReported { device: device(), module, twin }
        };
        for name in 0..400 {
            at(&mut fleet, 0, large(name));
        }
        let twins = &fleet.devices[&device()].twins;
        assert!(twins.bytes <= MAX_TWIN_BYTES && twins.records.len() < 400);
        assert_eq!(twins.bytes, twins.records.values().map(TwinRecord::cost_bytes).sum::<usize>());
        assert_eq!(fleet.devices[&device()].record.unshown as usize, 400 - twins.records.len());
        // One that is known goes on, though what it says of itself has no room.
        let room = twins.records.keys().next_back().cloned().unwrap();
        let more = Side { version: 2, properties: "y".repeat(4 * wayside_config::limits::TWIN_BYTES) };
        let twin =
            Twin { desired: Side { version: 1, properties: "{}".into() }, reported: more, ..Twin::new(1) };
        at(
            &mut fleet,
            0,
            Event::TwinReported { device: device(), module: room.clone(), twin: Box::new(twin) },
        );
        let twins = &fleet.devices[&device()].twins;
        let record = &twins.records[&room];
        assert_eq!((record.twin.desired.version, record.twin.reported.version), (1, 1));
        assert!(twins.bytes <= MAX_TWIN_BYTES);
        at(&mut fleet, 0, Event::TwinNames { device: device(), modules: Vec::new() });
        let twins = &fleet.devices[&device()].twins;
        assert_eq!((twins.bytes, twins.records.len()), (0, 0));
    }
}
