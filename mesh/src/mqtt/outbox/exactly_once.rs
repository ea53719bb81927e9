//! QoS 2: the client gets a message under one identifier only, over broken connections and restarts of the device.

use std::collections::BTreeSet;

use wayside_actors::queue::Queue;

use super::{
    Outbox,
    flight::{InFlight, Kept, MESSAGES, QUEUES, Stage, name},
    lane::Lane,
};

/// What to say to a PUBREC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum Receipt {
    /// Nothing now.
    Noted,
    /// No such identifier is in use.
    Unknown,
}

impl Outbox {
    /// With what was kept over a restart.
    pub(in crate::mqtt) fn restored(kept: Option<&[u8]>) -> Self {
        let mut outbox = Self::default();
        let Kept { queues, released } = kept.and_then(Kept::decode).unwrap_or_default();
        let offered =
            queues.values().flat_map(|queue| queue.offered.values().map(|id| (*id, Stage::Awaited)));
        for (id, stage) in released.into_iter().map(|id| (id, Stage::Released)).chain(offered) {
            outbox.sent += 1;
            outbox
                .inflight
                .insert(id, InFlight { of: None, old: None, order: outbox.sent, stage, is_sent: true });
        }
        outbox.restored = queues;
        outbox
    }

    /// Whether what it knows of QoS 2 is to outlive the device.
    pub(in crate::mqtt) fn last(&mut self, is_lasting: bool) {
        self.is_lasting = is_lasting;
        if !is_lasting {
            self.is_changed = false;
            self.keeping = Some(self.waiting());
            self.kept();
        }
    }

    /// The client has a QoS 2 message, says its PUBREC, or does not want it.
    pub(in crate::mqtt) fn receive(&mut self, packet_id: u16, refused: bool) -> Receipt {
        let Some(flight) = self.inflight.get_mut(&packet_id) else { return Receipt::Unknown };
        match flight.stage {
            Stage::AtLeastOnce | Stage::Chosen => return Receipt::Unknown,
            Stage::Offered | Stage::Awaited if refused => {
                self.land(packet_id);
                self.is_changed |= self.is_lasting;
            }
            Stage::Offered | Stage::Awaited => {
                flight.stage = Stage::Received;
                self.is_changed |= self.is_lasting;
                if !self.is_lasting {
                    self.release(packet_id);
                }
            }
            Stage::Received => {}
            Stage::Released => self.due.push_back(packet_id),
        }
        Receipt::Noted
    }

    /// The client says PUBCOMP. False if none such was in flight.
    pub(in crate::mqtt) fn complete(&mut self, packet_id: u16) -> bool {
        if self.inflight.get(&packet_id).is_none_or(|flight| flight.stage != Stage::Released) {
            return false;
        }
        self.inflight.remove(&packet_id);
        self.is_changed |= self.is_lasting;
        true
    }

    /// What the store is to keep, if it has something else. Answered by [`Self::kept`] before it is asked again.
    pub(in crate::mqtt) fn take_change(&mut self) -> Option<Vec<u8>> {
        if !self.is_changed || self.keeping.is_some() {
            return None;
        }
        self.is_changed = false;
        self.keeping = Some(self.waiting());
        Some(self.snapshot().encode())
    }

    /// The store has it: what waited for that goes on.
    pub(in crate::mqtt) fn kept(&mut self) {
        for id in self.keeping.take().unwrap_or_default() {
            let Some(flight) = self.inflight.get_mut(&id) else { continue };
            match flight.stage {
                Stage::Chosen => {
                    flight.stage = Stage::Offered;
                    self.due.push_back(id);
                }
                Stage::Received => self.release(id),
                Stage::AtLeastOnce | Stage::Offered | Stage::Awaited | Stage::Released => {}
            }
        }
    }

    /// What was known before the restart of messages of a queue beyond `before`, now that they are here again.
    pub(super) fn recall(&mut self, queue: &Queue, before: u64) {
        let (name, Some(lane)) = (name(queue), self.lanes.get_mut(queue)) else { return };
        let Some(known) = self.restored.get_mut(&name) else { return };
        let high = lane.high;
        let mut settled: Vec<u64> = (before + 1..=known.acked.min(high)).collect();
        settled.extend(known.settled.iter().filter(|seq| (before + 1..=high).contains(seq)));
        let beyond = known.offered.split_off(&(high + 1));
        for (seq, id) in std::mem::replace(&mut known.offered, beyond) {
            match self.inflight.get_mut(&id).filter(|flight| flight.stage == Stage::Awaited) {
                Some(flight) if lane.is_held(seq) => {
                    (flight.of, flight.stage) = (Some((queue.clone(), seq)), Stage::Offered);
                    lane.note_under_way(seq);
                }
                // The message is gone, and the client may have it: all that is left to do is to release it.
                Some(flight) => flight.stage = Stage::Released,
                // The client has said that it has it.
                None => settled.push(seq),
            }
            self.due.push_back(id);
        }
        if high >= known.acked.max(known.settled.iter().copied().max().unwrap_or_default())
            && known.offered.is_empty()
        {
            self.restored.remove(&name);
            lane.is_exactly_once = true;
        }
        settled.into_iter().for_each(|seq| self.settle(queue, seq));
    }

    /// Of a queue from before the restart nothing will come.
    pub(super) fn give_up(&mut self, name: u64) {
        for id in self.restored.remove(&name).unwrap_or_default().offered.into_values() {
            if let Some(flight) = self.inflight.get_mut(&id).filter(|flight| flight.stage == Stage::Awaited) {
                flight.stage = Stage::Released;
                self.due.push_back(id);
            }
        }
    }

    /// Identifiers that go no further before the store knows of them.
    fn waiting(&self) -> Vec<u16> {
        let waits = |flight: &InFlight| matches!(flight.stage, Stage::Chosen | Stage::Received);
        self.inflight.iter().filter(|(_, flight)| waits(flight)).map(|(id, _)| *id).collect()
    }

    /// The client has the message for good: its queue goes on, and its identifier can be released.
    pub(super) fn release(&mut self, id: u16) {
        let Some(flight) = self.inflight.get_mut(&id) else { return };
        flight.stage = Stage::Released;
        flight.old = None;
        self.due.push_back(id);
        if let Some((queue, seq)) = flight.of.take() {
            self.settle(&queue, seq);
        }
    }

    fn snapshot(&self) -> Kept {
        let mut kept = Kept { queues: self.restored.clone(), released: Vec::new() };
        for (queue, lane) in self.lanes.iter().filter(|(_, lane)| lane.is_exactly_once) {
            let known = kept.queues.entry(name(queue)).or_default();
            known.acked = known.acked.max(lane.acked);
            known.settled.extend(lane.settled());
        }
        for (id, flight) in &self.inflight {
            match (&flight.of, flight.stage) {
                (_, Stage::AtLeastOnce | Stage::Awaited) => {}
                (Some((queue, seq)), Stage::Chosen | Stage::Offered) => {
                    kept.queues.entry(name(queue)).or_default().offered.insert(*seq, *id);
                }
                (Some((queue, seq)), Stage::Received) => {
                    kept.queues.entry(name(queue)).or_default().settled.push(*seq);
                    kept.released.push(*id);
                }
                (_, Stage::Released) | (None, Stage::Chosen | Stage::Offered | Stage::Received) => {
                    kept.released.push(*id);
                }
            }
        }
        kept
    }

    /// Of more queues than fit, one that has nothing under way is not kept any more.
    pub(super) fn make_room(&mut self) {
        let count = self.restored.len() + self.lanes.values().filter(|lane| lane.is_exactly_once).count();
        if count <= QUEUES {
            return;
        }
        let of = |flight: &InFlight| flight.of.as_ref().map(|(queue, _)| queue.clone());
        let busy: BTreeSet<_> = self.inflight.values().filter_map(of).collect();
        let mut lanes = self.lanes.iter_mut();
        let idle =
            lanes.find(|(queue, lane)| lane.is_exactly_once && lane.settled == 0 && !busy.contains(*queue));
        if let Some((_, lane)) = idle {
            lane.is_exactly_once = false;
        } else if let Some(name) = self.restored.keys().next().copied() {
            self.give_up(name);
        }
    }

    /// Whether one more would still fit in what is kept, of `queue` if it is of one: with that all is kept that has settled in it before
    /// its turn, or may, since there was nothing of QoS 2 in it.
    pub(super) fn has_room_for_exactly_once(&self, queue: Option<&Queue>) -> bool {
        let is_kept = |of: &Queue, lane: &Lane| lane.is_exactly_once || queue == Some(of);
        let of_lanes = self.lanes.iter().filter(|(of, lane)| is_kept(of, lane));
        let of_lanes: usize = of_lanes.map(|(_, lane)| lane.settled).sum();
        let restored: usize =
            self.restored.values().map(|queue| queue.settled.len() + queue.offered.len()).sum();
        // What settles before its turn in a queue with QoS 2 is kept as well, at whatever QoS it goes.
        let is_of_lane = |(of, _): &(Queue, u64)| self.lanes.get(of).is_some_and(|lane| is_kept(of, lane));
        let is_kept = |flight: &&InFlight| {
            flight.stage != Stage::AtLeastOnce || flight.of.as_ref().is_some_and(is_of_lane)
        };
        !self.is_lasting || of_lanes + restored + self.inflight.values().filter(is_kept).count() < MESSAGES
    }
}
