//! What the session makes of its client's packets.

use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;
use tracing::{debug, warn};
use wayside_actors::message::{MAX_PAYLOAD_BYTES, Properties, property};
use wayside_config::topic;

use super::{
    Session,
    own::{self, Heard},
};
use crate::mqtt::{
    counts::Misdeed,
    event::MqttEvent,
    fault::Fault,
    link::End,
    outbox::Receipt,
    packet::{Incoming, Publish, Version, WhenRetained, Wish},
    pending::{Ack, Answer},
    subscription::{self, Subscription},
};

/// Why a publish with other properties is refused.
pub(super) const NOT_CARRIED: &str = "at most 32 properties of 256 bytes are carried (correlation data: 128), with different names that do not begin with `$`";

impl Session {
    /// Carries it out, or says why the connection must end.
    pub(super) fn handle(&mut self, id: u64, packet: Incoming) -> Result<(), Fault> {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id && link.end.is_none()) else {
            return Ok(());
        };
        match packet {
            Incoming::Publish(publish) => self.publish(publish)?,
            Incoming::Puback { packet_id, refused } => {
                if refused {
                    warn!(module = %self.module, packet_id, "the module refused a message: it counts as delivered");
                }
                if !self.outbox.acknowledge(packet_id) {
                    debug!(module = %self.module, packet_id, "acknowledgement of nothing in flight");
                }
            }
            Incoming::Pubrec { packet_id, refused } => {
                if refused {
                    warn!(module = %self.module, packet_id, "the module refused a message: it counts as delivered");
                }
                if self.outbox.receive(packet_id, refused) == Receipt::Unknown {
                    link.encoder.pubrel(packet_id, false, &mut link.out);
                }
            }
            Incoming::Pubcomp { packet_id } => {
                if !self.outbox.complete(packet_id) {
                    debug!(module = %self.module, packet_id, "completion of nothing in flight");
                }
            }
            Incoming::Pubrel { packet_id } => {
                let ticket = self.tickets.next();
                link.pending.request(ticket, Ack::Pubcomp(packet_id));
                let module = self.module.clone();
                self.events.push_back(MqttEvent::Released { ticket, module, packet_id });
            }
            Incoming::Subscribe { packet_id, identifier, filters } => {
                if filters.iter().any(|wish| wish.no_local && wish.filter.starts_with("$share/")) {
                    return Err(Fault::Protocol("a shared subscription cannot leave out what is its own"));
                }
                let asks = filters.iter().any(|wish| wish.filter.starts_with('$'));
                let codes = filters.into_iter().map(|wish| self.subscribe(wish, identifier)).collect();
                if asks {
                    self.ask_twin();
                }
                self.ask_retained();
                self.changed(Ack::Suback(packet_id, codes));
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let existed =
                    filters.iter().map(|filter| self.subscriptions.remove(filter).is_some()).collect();
                self.changed(Ack::Unsuback(packet_id, existed));
            }
            Incoming::Ping => link.encoder.pong(&mut link.out),
            Incoming::Disconnect { publish_will, expiry_s } => {
                if !publish_will {
                    link.will = None;
                }
                link.end = Some(End::Disconnected);
                if let Some(expiry_s) = expiry_s {
                    self.change_expiry(expiry_s)?;
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, publish: Publish) -> Result<(), Fault> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let Publish { topic, payload, qos, retain, packet_id, alias, properties } = publish;
        let topic = link.aliases.resolve(topic, alias)?;
        let own = Heard::of(&topic);
        if own.is_none() && !subscription::is_publishable(&topic) {
            return Err(Fault::Topic(topic));
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Fault::TooLarge);
        }
        let ack = match (qos, packet_id) {
            (1, Some(packet_id)) => Some(Ack::Puback(packet_id)),
            (2, Some(packet_id)) => Some(Ack::Pubrec(packet_id)),
            _ => None,
        };
        if ack.is_some() && link.pending.is_receive_maximum_reached() {
            return Err(Fault::ReceiveMaximum);
        }
        let ticket = self.tickets.next();
        match ack {
            None if properties.is_none() && own.is_none() => return Err(Fault::Properties),
            ack => link.pending.publish(ticket, ack, payload.len()),
        }
        if let Some(heard) = own {
            self.hear(heard, ticket, payload);
            return Ok(());
        }
        let Some(properties) = properties else {
            self.answer(ticket, Answer::Refused(NOT_CARRIED.to_owned()));
            return Ok(());
        };
        self.events.push_back(MqttEvent::Published {
            ticket,
            module: self.module.clone(),
            topic: topic.into(),
            properties: carried(properties, retain),
            payload,
            qos,
            packet_id: packet_id.filter(|_| qos == 2),
        });
        Ok(())
    }

    fn subscribe(&mut self, wish: Wish, identifier: Option<u32>) -> SubackReasonCode {
        let version = self.link.as_ref().map_or(Version::V4, |link| link.encoder.version);
        let own = own::check(&wish, version);
        if let Err(code) = own.unwrap_or_else(|| wish.check()) {
            debug!(module = %self.module, filter = wish.filter, ?code, "subscription refused");
            return code;
        }
        let plain = subscription::plain(&wish.filter);
        if own.is_none() && !self.topics.iter().any(|topics| topic::overlap(topics, plain)) {
            debug!(module = %self.module, filter = wish.filter, "a subscription that no route and no grant names");
            self.counts.add(Misdeed::DeniedSubscription);
            return SubackReasonCode::NotAuthorized;
        }
        let Wish { filter, qos, no_local, as_published, retained } = wish;
        let granted = if own.is_some() { 0 } else { qos };
        let subscription = Subscription { qos: granted, no_local, as_published, identifier };
        let before = self.subscriptions.insert(filter.clone(), subscription);
        if !self.kept().fits() {
            match before {
                Some(before) => self.subscriptions.insert(filter, before),
                None => self.subscriptions.remove(&filter),
            };
            return SubackReasonCode::QuotaExceeded;
        }
        let gets_retained = match retained {
            WhenRetained::Always => true,
            WhenRetained::IfNew => before.is_none(),
            WhenRetained::Never => false,
        };
        if gets_retained && subscription::plain(&filter) == filter {
            self.fresh.insert(filter, subscription);
        }
        match granted {
            0 => SubackReasonCode::GrantedQos0,
            1 => SubackReasonCode::GrantedQos1,
            _ => SubackReasonCode::GrantedQos2,
        }
    }

    /// The subscriptions may have changed: `ack` waits for the store, where the session lasts.
    fn changed(&mut self, ack: Ack) {
        let wanted = self.wanted();
        let is_stored = self.stored.as_ref() == Some(&wanted);
        let ticket = (!is_stored).then(|| self.store(wanted));
        if let Some(link) = &mut self.link {
            match ticket {
                Some(ticket) => link.pending.request(ticket, ack),
                None => link.pending.answered_request(ack),
            }
        }
        self.settle();
    }

    fn change_expiry(&mut self, expiry_s: u32) -> Result<(), Fault> {
        match &mut self.lasting {
            None if expiry_s > 0 => {
                return Err(Fault::Protocol("a session that was to end may not be prolonged"));
            }
            None => return Ok(()),
            Some(lasting) => lasting.expiry_s = expiry_s,
        }
        if expiry_s == 0 {
            self.lasting = None;
        }
        self.changed(Ack::Nothing);
        Ok(())
    }
}

/// What travels with a message, with whether it is to be retained.
pub(super) fn carried(mut properties: Properties, retain: bool) -> Properties {
    if retain {
        properties.insert(property::RETAIN.to_owned(), String::new());
    }
    properties
}
