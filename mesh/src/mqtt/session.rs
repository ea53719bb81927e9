//! One module's MQTT session: decides what its client is told, and knows no socket and no clock.
//!
//! It outlives connections. What the connection of the moment needs is in its [`Link`]; whoever holds a
//! connection feeds packets in and polls bytes and events out. Commands come from other threads and
//! only change state: the connection is woken and polls.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use tracing::warn;
use wayside_config::workload::ModuleId;

use super::{
    counts::{Counts, Misdeed},
    encode::{Alias, How},
    event::MqttEvent,
    fault::{Fault, Refusal},
    kept::{Kept, Lasting},
    link::{End, Link},
    outbox::{Outbox, Outgoing, Parcel},
    packet::{Connect, Incoming, Version, Will},
    pending::{Ack, Answer},
    subscription::{self, Subscriptions},
    ticket::Tickets,
    window::{CLIENT_ID_BYTES, OUT_BYTES},
};
use crate::lost::Lost;

mod handing;
mod keeping;
mod own;
mod packets;
mod will;

use own::Own;
pub(super) use own::OwnPublish;

/// A module's session.
#[derive(Debug)]
pub(super) struct Session {
    module: ModuleId,
    tickets: Tickets,
    counts: Arc<Counts>,
    /// Filters of the topics that may reach the client.
    topics: Arc<[String]>,
    subscriptions: Subscriptions,
    /// Those that have not got yet what is retained.
    fresh: Subscriptions,
    /// What is retained was asked for, for all that are fresh when the answer comes.
    asks_retained: bool,
    /// The session that a client may find again; `None` if there is none.
    lasting: Option<Lasting>,
    /// What the store is known to hold; `None` while a change is under way.
    stored: Option<Option<Vec<u8>>>,
    /// The change under way: its ticket and what the store will hold.
    storing: Option<(u64, Option<Vec<u8>>)>,
    outbox: Outbox,
    /// The store is told what of QoS 2 is to be kept: the ticket.
    keeping: Option<u64>,
    own: Own,
    events: VecDeque<MqttEvent>,
    link: Option<Link>,
    /// A will that waits for its client, with the number of the connection that left it.
    will: Option<(u64, Will, Duration)>,
}

/// What the store has of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Who its client is, and its subscriptions.
    pub(super) session: Option<Vec<u8>>,
    /// What is on its way at QoS 2.
    pub(super) flights: Option<Vec<u8>>,
}

/// What a connection learns when it polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Go on; `read` says whether packets may be read.
    Open { read: bool },
    /// Write what there is and close.
    Closing(End),
    /// Another connection has the session now.
    TakenOver,
}

impl Session {
    /// A session as its mark describes it, or a new one. It may not subscribe before it is granted something.
    pub(super) fn new(
        module: ModuleId,
        tickets: Tickets,
        marks: Marks,
        counts: Arc<Counts>,
        now_ms: u64,
    ) -> Self {
        let Marks { session: mark, flights } = marks;
        let kept = mark.as_deref().and_then(|bytes| {
            let kept = Kept::decode(bytes);
            if kept.is_none() {
                warn!(%module, "the stored MQTT session is of another version: it begins anew");
            }
            kept
        });
        let (lasting, subscriptions) = kept.map_or_else(Default::default, |kept| {
            let Kept { client_id, expiry_s, subscriptions } = kept;
            (Some(Lasting { client_id, expiry_s, left_ms: Some(now_ms) }), subscriptions)
        });
        Self {
            module,
            tickets,
            counts,
            topics: Arc::default(),
            subscriptions,
            fresh: Subscriptions::default(),
            asks_retained: false,
            lasting,
            stored: Some(mark),
            storing: None,
            outbox: Outbox::restored(flights.as_deref()),
            keeping: None,
            own: Own::default(),
            events: VecDeque::new(),
            link: None,
            will: None,
        }
    }

    /// Where messages of best-effort routes are counted that do not reach the client.
    pub(super) fn count_lost_in(&mut self, lost: Lost) {
        self.outbox.count_lost_in(lost);
    }

    /// The filters of topics that may reach the client from now on. What it has subscribed to stays.
    pub(super) fn grant(&mut self, topics: Arc<[String]>) {
        self.topics = topics;
    }

    /// Whether a CONNECT with the right password is acceptable in everything else.
    pub(super) fn admit(connect: &Connect) -> Result<(), Refusal> {
        let length = connect.client_id.len();
        let may_be_empty = connect.clean || connect.version == Version::V5;
        if length > CLIENT_ID_BYTES || (length == 0 && !may_be_empty) {
            return Err(Refusal::ClientId);
        }
        if connect.authentication {
            return Err(Refusal::AuthenticationMethod);
        }
        if let Some(will) = &connect.will {
            if !subscription::is_publishable(&will.topic) {
                return Err(Refusal::WillTopic(will.topic.clone()));
            }
            if will.properties.is_none() {
                return Err(Refusal::WillProperties);
            }
        }
        Ok(())
    }

    /// A client that was admitted. `assigned` is the identifier for one that brought none. Takes over from the
    /// connection that there was.
    pub(super) fn connect(&mut self, id: u64, connect: Connect, assigned: String, now_ms: u64) {
        self.end_link(now_ms);
        self.asks_retained = false;
        let assigned = connect.client_id.is_empty().then_some(assigned);
        let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
        let is_present = !connect.clean
            && self
                .lasting
                .as_ref()
                .is_some_and(|lasting| lasting.client_id == client_id && !lasting.is_expired(now_ms));
        let will = self.will.take();
        if is_present {
            self.outbox.resume();
        } else {
            // The session that left it has ended.
            will.into_iter().for_each(|(_, will, _)| self.publish_will(will));
            self.subscriptions.clear();
            self.fresh.clear();
            self.outbox.restart();
            self.keeping = None;
            self.events.push_back(MqttEvent::SessionCleared { module: self.module.clone() });
        }
        self.outbox.last(connect.expiry_s > 0);
        self.lasting = (connect.expiry_s > 0).then_some(Lasting {
            client_id,
            expiry_s: connect.expiry_s,
            left_ms: None,
        });
        let mut link = Link::new(id, &connect);
        let connack = Ack::Connack { session_present: is_present, assigned };
        let wanted = self.wanted();
        if is_present && self.stored.as_ref() == Some(&wanted) {
            link.pending.answered_request(connack);
        } else {
            // Also where nothing changes in the store: the identifiers of QoS 2 must be gone first.
            let ticket = self.store(wanted);
            link.pending.request(ticket, connack);
        }
        self.link = Some(link);
        self.ask_twin();
        self.settle();
    }

    /// A packet of the connection `id`.
    pub(super) fn receive(&mut self, id: u64, packet: Incoming) {
        if let Err(fault) = self.handle(id, packet) {
            self.fail(id, fault);
        }
    }

    /// The connection `id` must end.
    pub(super) fn fail(&mut self, id: u64, fault: Fault) {
        if let Some(link) = self.link.as_mut().filter(|link| link.id == id) {
            link.fail(fault);
        }
    }

    /// Ends whatever connection there is. Its will is not published: the device decided, the module did not fail.
    pub(super) fn evict(&mut self, fault: Fault) {
        // A module that is not wanted may lose what the store holds of its session.
        self.stored = None;
        self.will = None;
        if let Some(link) = &mut self.link {
            link.will = None;
            link.fail(fault);
        }
    }

    /// Its client is not wanted any more: a later one of the same name has nothing of it.
    pub(super) fn dismiss(&mut self) {
        self.evict(Fault::Unwanted);
        self.lasting = None;
        if self.link.is_none() {
            self.subscriptions.clear();
            self.fresh.clear();
            self.outbox.restart();
        }
    }

    /// The connection `id` is gone.
    pub(super) fn lost(&mut self, id: u64, now_ms: u64) {
        if self.link.as_ref().is_some_and(|link| link.id == id) {
            self.end_link(now_ms);
        }
    }

    /// The publish with this ticket is to a topic that is not the client's.
    pub(super) fn deny(&mut self, ticket: u64) {
        self.counts.add(Misdeed::DeniedPublish);
        self.answer(ticket, Answer::Denied);
    }

    /// Adds to `out` what may be written now, up to its bound.
    pub(super) fn poll(&mut self, id: u64, out: &mut BytesMut) -> Polled {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else {
            return Polled::TakenOver;
        };
        out.unsplit(link.out.split());
        if let Some(end) = &link.end {
            return Polled::Closing(end.clone());
        }
        self.write_own(out);
        let Some(link) = self.link.as_mut() else { return Polled::TakenOver };
        while link.is_connected && out.len() < OUT_BYTES {
            let grant = |parcel: &Parcel| self.subscriptions.grant(parcel);
            let (parcel, qos, packet_id, dup, is_old) = match self.outbox.next(link.window, grant) {
                None => break,
                Some(Outgoing::Release { packet_id }) => {
                    link.encoder.pubrel(packet_id, true, out);
                    continue;
                }
                Some(Outgoing::Publish { parcel, qos, packet_id, dup, is_old }) => {
                    (parcel, qos, packet_id, dup, is_old)
                }
            };
            let before = out.len();
            let (as_published, identifiers) = self.subscriptions.mentions(&parcel);
            let retain = as_published || is_old;
            let alias = link.aliases.give(&parcel.topic);
            let how = How { qos, packet_id, dup, retain, identifiers, alias };
            let size = link.encoder.publish(&parcel, &how, out);
            if size > link.max_packet {
                // The standard: discard it and behave as if it had been sent.
                warn!(module = %self.module, topic = %parcel.topic, size, limit = link.max_packet,
                    "a message is larger than the client's maximum packet size and is discarded");
                out.truncate(before);
                self.counts.add(Misdeed::Discarded);
                if matches!(alias, Some(Alias::New(_))) {
                    link.aliases.take_back(&parcel.topic);
                }
                packet_id.into_iter().for_each(|packet_id| self.outbox.discard(packet_id));
            }
        }
        self.keep_flights();
        let Some(link) = &self.link else { return Polled::TakenOver };
        let read = out.len() < OUT_BYTES && link.has_room();
        self.tell_progress();
        Polled::Open { read }
    }

    /// Whether another packet of the connection `id` may be read before the next poll.
    pub(super) fn may_receive(&self, id: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id && link.end.is_none() && link.has_room())
    }

    /// The next thing to tell the device.
    pub(super) fn next_event(&mut self) -> Option<MqttEvent> {
        self.events.pop_front()
    }

    /// Something waits to be told.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// A connection looks after the session and will tell what waits.
    pub(super) fn is_attended(&self) -> bool {
        self.link.is_some()
    }

    /// Every packet of the connection `id` has been answered.
    pub(super) fn is_drained(&self, id: u64) -> bool {
        self.link.as_ref().is_none_or(|link| link.id != id || link.pending.is_empty())
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        if let Some(link) = &mut self.link {
            link.pending.answer(ticket, answer);
        }
        self.settle();
    }

    /// Writes the answers whose turn has come, and tells whether the module is online.
    fn settle(&mut self) {
        let Some(link) = &mut self.link else { return };
        link.answer_requests();
        link.answer_publishes();
        let is_online = link.is_connected && link.end.is_none() && !self.subscriptions.is_empty();
        if is_online != link.is_online {
            link.is_online = is_online;
            self.push_online(is_online);
        }
    }

    fn push_online(&mut self, is_online: bool) {
        let module = self.module.clone();
        self.events.push_back(match is_online {
            true => MqttEvent::Online { module },
            false => MqttEvent::Offline { module },
        });
    }

    fn tell_progress(&mut self) {
        for (queue, upto) in self.outbox.take_progress() {
            self.events.push_back(MqttEvent::Acked { queue, upto });
        }
    }

    fn end_link(&mut self, now_ms: u64) {
        let Some(link) = self.link.take() else { return };
        self.tell_progress();
        self.end_own();
        self.events.push_back(MqttEvent::Disconnected { module: self.module.clone() });
        if let Some(will) = link.will.filter(|_| link.is_connected) {
            // It waits no longer than the session.
            let session_s = self.lasting.as_ref().map_or(0, |lasting| lasting.expiry_s);
            match will.delay_s.min(session_s) {
                0 => self.publish_will(will),
                seconds => self.will = Some((link.id, will, Duration::from_secs(seconds.into()))),
            }
        }
        if link.is_online {
            self.push_online(false);
        }
        match &mut self.lasting {
            Some(lasting) => lasting.left_ms = Some(now_ms),
            None => {
                self.subscriptions.clear();
                self.fresh.clear();
                self.outbox.restart();
            }
        }
    }
}

#[cfg(test)]
mod tests;
