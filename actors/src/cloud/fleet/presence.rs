//! Who is there: a word from a device costs a look-up, and only those who are due are looked at.

use std::collections::BTreeSet;

use wayside_config::identity::DeviceId;

use super::{Effect, Fleet, Presence, SILENT_AFTER_MS};
use crate::{machine::Effects, time::Time};

/// When each device that is not silent has to be looked at next. A word from it does not move its
/// deadline: that is done when the deadline comes and the device has been heard since.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Time, DeviceId)>,
    armed: Option<Time>,
}

impl Deadlines {
    pub(super) fn watch(&mut self, device: DeviceId, at: Time) {
        self.due.insert((at, device));
    }

    /// The time to be woken at, when it is another than asked for before.
    pub(super) fn next_wake(&mut self) -> Option<Time> {
        let first = self.due.first().map(|(at, _)| *at);
        if first == self.armed {
            return None;
        }
        self.armed = first;
        first
    }

    fn take_due(&mut self, now: Time) -> Option<DeviceId> {
        self.armed = None;
        if self.due.first()?.0 > now {
            return None;
        }
        self.due.pop_first().map(|(_, device)| device)
    }
}

impl Fleet {
    /// Notes a word from a device; gives whether that changed its presence.
    pub(super) fn heard(&mut self, now: Time, id: DeviceId, wall_ms: u64) -> bool {
        let Some(device) = self.devices.get_mut(&id) else { return false };
        device.heard = now;
        device.record.last_seen_ms = wall_ms;
        let before = std::mem::replace(&mut device.record.presence, Presence::Online);
        if before == Presence::Silent {
            self.deadlines.watch(id, now.plus_millis(SILENT_AFTER_MS));
        }
        before != Presence::Online
    }

    pub(super) fn gone(&mut self, now: Time, id: DeviceId, out: &mut Effects<Effect>) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        device.next_report = None;
        if device.record.presence == Presence::Online {
            device.heard = now;
            device.record.presence = Presence::Away;
        }
        self.save(id, out);
        self.changed(id, out);
    }

    /// Marks those who have not been heard of for too long.
    pub(super) fn silence(&mut self, now: Time, out: &mut Effects<Effect>) {
        while let Some(id) = self.deadlines.take_due(now) {
            let Some(device) = self.devices.get_mut(&id) else { continue };
            let limit = device.heard.plus_millis(SILENT_AFTER_MS);
            if limit > now {
                self.deadlines.watch(id, limit);
            } else {
                device.record.presence = Presence::Silent;
                self.save(id, out);
                self.changed(id, out);
            }
        }
    }
}
