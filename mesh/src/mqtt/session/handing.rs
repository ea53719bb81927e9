//! What the device hands over for the module's client: messages of queues, of best-effort routes and retained ones.

use tracing::info;
use wayside_actors::queue::Queue;

use super::Session;
use crate::mqtt::{event::MqttEvent, outbox::Parcel, subscription::Grant};

impl Session {
    /// Messages for the module.
    pub(in crate::mqtt) fn deliver(&mut self, queue: Queue, first_seq: u64, messages: Vec<Parcel>) {
        if let Some(link) = self.link.as_mut().filter(|link| link.is_online && !link.has_told_of_waiting) {
            let waits = |parcel: &&Parcel| self.subscriptions.grant(parcel) == Grant::Nothing;
            if let Some(parcel) = messages.iter().find(waits) {
                link.has_told_of_waiting = true;
                info!(module = %self.module, topic = %parcel.topic, "a message waits until the module subscribes to its topic");
            }
        }
        self.outbox.take(queue, first_seq, messages);
        self.tell_progress();
    }

    /// A message for the module that nobody stores: sent at QoS 0 when the client is there, subscribes to it and
    /// reads fast enough.
    pub(in crate::mqtt) fn forward(&mut self, route: String, parcel: Parcel) {
        let is_online = self.link.as_ref().is_some_and(|link| link.is_online);
        match self.subscriptions.grant(&parcel) {
            Grant::Send(_) if is_online => self.outbox.take_live(route, parcel),
            Grant::NotWanted if is_online => {}
            Grant::Send(_) | Grant::NotWanted | Grant::Nothing => self.outbox.lose(&route),
        }
    }

    /// Somebody asks whether messages can be delivered.
    pub(in crate::mqtt) fn tell_online(&mut self) {
        let is_online = self.link.as_ref().is_some_and(|link| link.is_online);
        self.push_online(is_online);
    }

    /// Asks for what is retained where a subscription is to get it. Once, until the answer is there: to find it costs the device more than
    /// to subscribe costs a client.
    pub(super) fn ask_retained(&mut self) {
        if !self.fresh.is_empty() && !std::mem::replace(&mut self.asks_retained, true) {
            self.events.push_back(MqttEvent::Subscribed { module: self.module.clone() });
        }
    }

    /// All that is retained of what routes bring to the module: new subscriptions get it.
    pub(in crate::mqtt) fn retained(&mut self, parcels: Vec<Parcel>) {
        self.asks_retained = false;
        let fresh = std::mem::take(&mut self.fresh);
        self.outbox.keep_retained(&parcels);
        for parcel in parcels {
            if let Grant::Send(qos) = fresh.grant(&parcel) {
                self.outbox.take_retained(parcel, qos);
            }
        }
    }

    /// A queue of the module is closed.
    pub(in crate::mqtt) fn forget(&mut self, queue: &Queue) {
        self.outbox.forget(queue);
    }
}
