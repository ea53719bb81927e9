//! Messages on their way to one module: which are sent, which are acknowledged, and how far each queue is.
//!
//! It outlives connections: what was handed over once is kept until the client has acknowledged it, so a queue
//! is always acknowledged without a gap, whatever its delivery sends again meanwhile. What it knows of QoS 2 outlives
//! the device, where the session does: see [`flight`].

mod exactly_once;
mod flight;
mod lane;
mod live;
mod retained;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
};

use bytes::Bytes;
use wayside_actors::{message::Properties, queue::Queue};
use wayside_config::text::Text;

pub(super) use self::exactly_once::Receipt;
use self::{
    flight::{InFlight, KeptQueue, Stage, name},
    lane::Lane,
    live::Live,
};
use super::subscription::Grant;
use crate::lost::Lost;

/// Unacknowledged messages by queue. Bounded by the windows of the queues' deliveries.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: BTreeMap<Queue, Lane>,
    inflight: BTreeMap<u16, InFlight>,
    /// To be sent before anything new: what an earlier connection sent, in its order, and what the store had to know.
    due: VecDeque<u16>,
    sent: u64,
    last_id: u16,
    /// The queue that sent last: the next one has its turn.
    turn: Option<Queue>,
    /// Queues whose progress is to be told.
    progress: BTreeSet<Queue>,
    /// Messages of best-effort routes.
    live: Live,
    is_lives_turn: bool,
    /// What is retained and not sent yet, with its QoS, by topic: no more than the device retains.
    retained: BTreeMap<Text, (Parcel, u8)>,
    /// Counts those that are not sent.
    lost: Lost,
    /// QoS 2 outlives the device.
    is_lasting: bool,
    /// Queues from before a restart that are not here again.
    restored: BTreeMap<u64, KeptQueue>,
    /// What is kept of QoS 2 is not what the store has.
    is_changed: bool,
    /// Identifiers that the store is being told of.
    keeping: Option<Vec<u16>>,
}

/// A message as its module gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) topic: Text,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
    /// How many seconds it may still wait, if that is bounded.
    pub(super) expiry_s: Option<u32>,
    /// The client published it itself.
    pub(super) is_own: bool,
    /// It was published to be retained.
    pub(super) is_retained: bool,
}

impl Parcel {
    fn cost_bytes(&self) -> usize {
        let properties: usize =
            self.properties.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
        self.topic.len() + self.payload.len() + properties + 64
    }
}

/// One packet to the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// PUBLISH.
    Publish {
        parcel: Parcel,
        qos: u8,
        /// `None` for QoS 0, which is settled by sending it.
        packet_id: Option<u16>,
        dup: bool,
        /// It was retained, for a subscription that came later.
        is_old: bool,
    },
    /// PUBREL.
    Release { packet_id: u16 },
}

impl Outbox {
    /// Takes what a delivery sends. What is held already is left out.
    pub(super) fn take(&mut self, queue: Queue, first_seq: u64, messages: Vec<Parcel>) {
        let lane = self.lanes.entry(queue.clone()).or_insert_with(|| Lane::starting_at(first_seq));
        if first_seq <= lane.acked {
            // The delivery has not heard of it, or has lost it.
            self.progress.insert(queue.clone());
        }
        let before = lane.high;
        for (seq, parcel) in (first_seq..).zip(messages) {
            if seq > lane.high {
                lane.push(seq, parcel);
            }
        }
        if !self.restored.is_empty() {
            self.recall(&queue, before);
        }
    }

    /// Takes a message that nobody stores; the oldest ones make room for it.
    pub(super) fn take_live(&mut self, route: String, parcel: Parcel) {
        self.live.push(route, parcel);
        while let Some((route, _)) = self.live.pop_beyond() {
            self.lose(&route);
        }
    }

    /// Where messages of best-effort routes are counted that are not sent.
    pub(super) fn count_lost_in(&mut self, lost: Lost) {
        self.lost = lost;
    }

    /// A message of a best-effort route is not sent.
    pub(super) fn lose(&self, route: &str) {
        self.lost.add(route, 1);
    }

    /// Forgets a queue. What its client has at QoS 2, or may have, is still released.
    pub(super) fn forget(&mut self, queue: &Queue) {
        self.lanes.remove(queue);
        self.progress.remove(queue);
        self.inflight.retain(|_, flight| {
            if flight.of.take_if(|(of, _)| of == queue).is_none() {
                return true;
            }
            match flight.stage {
                Stage::AtLeastOnce | Stage::Chosen => false,
                Stage::Offered | Stage::Awaited | Stage::Received | Stage::Released => true,
            }
        });
        if !self.restored.is_empty() {
            self.give_up(name(queue));
        }
    }

    /// The same client is back: what was in flight is sent again, first and in its order.
    pub(super) fn resume(&mut self) {
        let is_due = |flight: &InFlight| match flight.stage {
            Stage::AtLeastOnce | Stage::Offered | Stage::Released => true,
            Stage::Chosen | Stage::Awaited | Stage::Received => false,
        };
        let due = self.inflight.iter().filter(|(_, flight)| is_due(flight));
        let mut ids: Vec<_> = due.map(|(id, flight)| (flight.order, *id)).collect();
        ids.sort_unstable();
        self.due = ids.into_iter().map(|(_, id)| id).collect();
    }

    /// The session ended: what was in flight is sent as new to the next one.
    pub(super) fn restart(&mut self) {
        self.inflight.clear();
        self.due.clear();
        while let Some((route, _)) = self.live.pop() {
            self.lose(&route);
        }
        self.retained.clear();
        self.restored.clear();
        self.keeping = None;
        self.is_changed = false;
        self.lanes.values_mut().for_each(Lane::restart);
    }

    /// The next packet, while fewer than `window` are in flight. `grant` tells what subscriptions make of a message: where
    /// none matches it waits, and its queue behind it.
    pub(super) fn next(&mut self, window: usize, grant: impl Fn(&Parcel) -> Grant) -> Option<Outgoing> {
        loop {
            while let Some(id) = self.due.pop_front() {
                if let Some(outgoing) = self.due(id) {
                    return Some(outgoing);
                }
            }
            if let Some(outgoing) = self.next_retained(window) {
                return Some(outgoing);
            }
            // Turn about, so that neither kind waits for the other.
            self.is_lives_turn = !self.is_lives_turn;
            let chosen = self.choose(window, &grant);
            if self.is_lives_turn || chosen.is_none() {
                while let Some((route, parcel)) = self.live.pop() {
                    match grant(&parcel) {
                        Grant::Send(_) => {
                            return Some(Outgoing::Publish {
                                parcel,
                                qos: 0,
                                packet_id: None,
                                dup: false,
                                is_old: false,
                            });
                        }
                        Grant::NotWanted => {}
                        Grant::Nothing => self.lose(&route),
                    }
                }
            }
            let (queue, qos) = chosen?;
            self.turn = Some(queue.clone());
            let lane = self.lanes.get_mut(&queue)?;
            let held = lane.unsent()?;
            let seq = held.seq;
            let Some(qos) = qos else {
                lane.sent();
                self.settle(&queue, seq);
                continue;
            };
            if qos == 0 {
                let parcel = held.parcel.clone();
                lane.sent();
                self.settle(&queue, seq);
                return Some(Outgoing::Publish { parcel, qos, packet_id: None, dup: false, is_old: false });
            }
            let id = free_id(self.last_id, &self.inflight);
            self.last_id = id;
            self.sent += 1;
            let order = self.sent;
            if qos == 1 {
                let parcel = held.parcel.clone();
                lane.sent();
                let stage = Stage::AtLeastOnce;
                self.inflight
                    .insert(id, InFlight { of: Some((queue, seq)), old: None, order, stage, is_sent: true });
                return Some(Outgoing::Publish {
                    parcel,
                    qos,
                    packet_id: Some(id),
                    dup: false,
                    is_old: false,
                });
            }
            lane.sent();
            let is_new = !std::mem::replace(&mut lane.is_exactly_once, true);
            let stage = if self.is_lasting { Stage::Chosen } else { Stage::Offered };
            self.inflight
                .insert(id, InFlight { of: Some((queue, seq)), old: None, order, stage, is_sent: false });
            if is_new {
                self.make_room();
            }
            self.is_changed |= self.is_lasting;
            if !self.is_lasting {
                self.due.push_back(id);
            }
        }
    }

    /// What is to be sent under an identifier, as far as it is.
    fn due(&mut self, id: u16) -> Option<Outgoing> {
        let flight = self.inflight.get_mut(&id)?;
        let qos = match flight.stage {
            Stage::AtLeastOnce => 1,
            Stage::Offered => 2,
            Stage::Released => return Some(Outgoing::Release { packet_id: id }),
            Stage::Chosen | Stage::Awaited | Stage::Received => return None,
        };
        let of = flight.of.as_ref();
        let held = of.and_then(|(queue, seq)| self.lanes.get(queue).and_then(|lane| lane.find(*seq)));
        let Some(parcel) = held.map(|held| &held.parcel).or(flight.old.as_deref()) else {
            // Its queue is gone.
            flight.stage = Stage::Released;
            return Some(Outgoing::Release { packet_id: id });
        };
        let dup = std::mem::replace(&mut flight.is_sent, true);
        let is_old = flight.old.is_some();
        Some(Outgoing::Publish { parcel: parcel.clone(), qos, packet_id: Some(id), dup, is_old })
    }

    /// The client acknowledged a packet with PUBACK. False if none such was in flight.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> bool {
        if self.inflight.get(&packet_id).is_none_or(|flight| flight.stage != Stage::AtLeastOnce) {
            return false;
        }
        self.land(packet_id);
        true
    }

    /// A packet that is not sent, for its client could not take it.
    pub(super) fn discard(&mut self, packet_id: u16) {
        self.land(packet_id);
        self.is_changed |= self.is_lasting;
    }

    /// The identifier is free, and its message settled.
    fn land(&mut self, id: u16) {
        if let Some((queue, seq)) = self.inflight.remove(&id).and_then(|flight| flight.of) {
            self.settle(&queue, seq);
        }
    }

    /// Queues that came further since the last call, and how far.
    pub(super) fn take_progress(&mut self) -> Vec<(Queue, u64)> {
        std::mem::take(&mut self.progress)
            .into_iter()
            .filter_map(|queue| {
                let acked = self.lanes.get(&queue)?.acked;
                Some((queue, acked))
            })
            .collect()
    }

    /// A queue whose next message may be sent, beginning after the one whose turn it was; and at which QoS, or not at all.
    fn choose(&self, window: usize, grant: impl Fn(&Parcel) -> Grant) -> Option<(Queue, Option<u8>)> {
        let has_room = self.inflight.len() < window;
        let ready = |(queue, lane): (&Queue, &Lane)| {
            let qos = match grant(&lane.peek()?.parcel) {
                Grant::Nothing => return None,
                Grant::NotWanted => None,
                Grant::Send(qos) => Some(qos),
            };
            let is_kept = lane.is_exactly_once || qos.is_some_and(|qos| qos > 1);
            let is_ready = (has_room || qos.is_none_or(|qos| qos == 0))
                && (!is_kept || self.has_room_for_exactly_once(Some(queue)));
            is_ready.then(|| (queue.clone(), qos))
        };
        let after = self.turn.as_ref().and_then(|turn| {
            let later = (Bound::Excluded(turn.clone()), Bound::Unbounded);
            self.lanes.range(later).find_map(ready)
        });
        after.or_else(|| self.lanes.iter().find_map(ready))
    }

    fn settle(&mut self, queue: &Queue, seq: u64) {
        if self.lanes.get_mut(queue).is_some_and(|lane| lane.settle(seq)) {
            self.progress.insert(queue.clone());
        }
    }
}

/// The next packet identifier that is not in flight; the window is far smaller than their number.
fn free_id(last: u16, inflight: &BTreeMap<u16, InFlight>) -> u16 {
    let mut id = last.checked_add(1).unwrap_or(1);
    while inflight.contains_key(&id) {
        id = id.checked_add(1).unwrap_or(1);
    }
    id
}
