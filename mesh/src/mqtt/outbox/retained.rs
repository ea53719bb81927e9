//! What was retained before a subscription came, on its way to it.

use std::collections::BTreeSet;

use super::{InFlight, Outbox, Outgoing, Parcel, flight::Stage, free_id};

/// How much of it a client may have without acknowledging it; one more may be beyond.
const BYTES: usize = 1 << 20;

impl Outbox {
    /// Takes a message that was retained, for a new subscription.
    pub(in crate::mqtt) fn take_retained(&mut self, parcel: Parcel, qos: u8) {
        self.retained.insert(parcel.topic.clone(), (parcel, qos));
    }

    /// What waits and is retained no more does not go out: so never more waits than the device retains.
    pub(in crate::mqtt) fn keep_retained(&mut self, parcels: &[Parcel]) {
        let there: BTreeSet<_> = parcels.iter().map(|parcel| &parcel.topic).collect();
        self.retained.retain(|topic, _| there.contains(topic));
    }

    /// The next retained message, as far as there may be one more in flight.
    pub(super) fn next_retained(&mut self, window: usize) -> Option<Outgoing> {
        loop {
            let (_, (_, qos)) = self.retained.first_key_value()?;
            let is_full =
                *qos > 0 && (self.inflight.len() >= window || self.retained_bytes_in_flight() >= BYTES);
            if is_full || *qos > 1 && !self.has_room_for_exactly_once(None) {
                return None;
            }
            let (parcel, qos) = self.retained.pop_first()?.1;
            let stage = match qos {
                0 => {
                    return Some(Outgoing::Publish {
                        parcel,
                        qos,
                        packet_id: None,
                        dup: false,
                        is_old: true,
                    });
                }
                1 => Stage::AtLeastOnce,
                _ if self.is_lasting => Stage::Chosen,
                _ => Stage::Offered,
            };
            let id = free_id(self.last_id, &self.inflight);
            self.last_id = id;
            self.sent += 1;
            let (order, old) = (self.sent, Some(Box::new(parcel)));
            self.inflight.insert(id, InFlight { of: None, old, order, stage, is_sent: false });
            if stage != Stage::Chosen {
                return self.due(id);
            }
            self.is_changed = true;
        }
    }

    fn retained_bytes_in_flight(&self) -> usize {
        let old = self.inflight.values().filter_map(|flight| flight.old.as_deref());
        old.map(Parcel::cost_bytes).sum()
    }
}
