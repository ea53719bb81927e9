//! What a client waits for: answers go out in the order of its packets, each only after its commit.

use std::collections::{BTreeMap, VecDeque};

use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;

use super::{
    packet::Version,
    window::{RECEIVE_MAXIMUM, REQUEST_MAXIMUM, SILENT_MAXIMUM, UNANSWERED_BYTES},
};

/// An answer that waits for its ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    Connack {
        session_present: bool,
        assigned: Option<String>,
    },
    Puback(u16),
    Pubrec(u16),
    Pubcomp(u16),
    Suback(u16, Vec<SubackReasonCode>),
    Unsuback(u16, Vec<bool>),
    /// A change of the session that no packet asked for.
    Nothing,
}

/// What became of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// The topic is not the client's.
    Denied,
    Refused(String),
}

/// The open tickets of one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// PUBACK and PUBREC: in the order of the publishes, as the standard asks.
    publishes: Lane,
    /// The rest, in the order of the requests; a publish that is held up does not hold these.
    requests: Lane,
    /// QoS 0: payload bytes by ticket. Not answered, but counted.
    silent: BTreeMap<u64, usize>,
    bytes: usize,
}

impl Pending {
    pub(super) fn publish(&mut self, ticket: u64, ack: Option<Ack>, bytes: usize) {
        self.bytes += bytes;
        match ack {
            Some(ack) => self.publishes.0.push_back(Entry { ticket, bytes, ack, answer: None }),
            None => drop(self.silent.insert(ticket, bytes)),
        }
    }

    pub(super) fn request(&mut self, ticket: u64, ack: Ack) {
        self.requests.0.push_back(Entry { ticket, bytes: 0, ack, answer: None });
    }

    /// An answer that needs no ticket keeps its place behind those that do.
    pub(super) fn answered_request(&mut self, ack: Ack) {
        let answer = Some(Answer::Accepted);
        self.requests.0.push_back(Entry { ticket: 0, bytes: 0, ack, answer });
    }

    /// Notes the answer. Tickets of an earlier connection are unknown here and change nothing.
    pub(super) fn answer(&mut self, ticket: u64, answer: Answer) {
        if let Some(bytes) = self.silent.remove(&ticket) {
            self.bytes -= bytes;
            return;
        }
        // Tickets of publishes ascend; among requests are those that need none.
        let publishes = &mut self.publishes.0;
        let entry = match publishes.binary_search_by_key(&ticket, |entry| entry.ticket) {
            Ok(at) => publishes.get_mut(at),
            Err(_) => self.requests.0.iter_mut().find(|entry| entry.ticket == ticket),
        };
        if let Some(entry) = entry {
            entry.answer.get_or_insert(answer);
        }
    }

    /// The next request whose turn has come.
    pub(super) fn next_request(&mut self) -> Option<(u64, Ack, Answer)> {
        self.requests.pop().map(|(entry, answer)| (entry.ticket, entry.ack, answer))
    }

    /// The next publish whose turn has come.
    pub(super) fn next_publish(&mut self) -> Option<(Ack, Answer)> {
        let (entry, answer) = self.publishes.pop()?;
        self.bytes -= entry.bytes;
        Some((entry.ack, answer))
    }

    /// MQTT 5 announces how many publishes of QoS 1 and 2 may be open.
    pub(super) fn is_receive_maximum_reached(&self) -> bool {
        self.publishes.0.len() >= usize::from(RECEIVE_MAXIMUM)
    }

    /// Whether more packets may be read. An MQTT 5 client keeps to the receive maximum by itself;
    /// going on reading lets its acknowledgements through, even where its publishes are held up.
    pub(super) fn has_room(&self, version: Version) -> bool {
        self.bytes < UNANSWERED_BYTES
            && self.silent.len() < SILENT_MAXIMUM
            && self.requests.0.len() < REQUEST_MAXIMUM
            && (version == Version::V5 || !self.is_receive_maximum_reached())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publishes.0.is_empty() && self.requests.0.is_empty() && self.silent.is_empty()
    }
}

#[derive(Debug, Default)]
struct Lane(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    ticket: u64,
    bytes: usize,
    ack: Ack,
    answer: Option<Answer>,
}

impl Lane {
    fn pop(&mut self) -> Option<(Entry, Answer)> {
        let answer = self.0.front_mut()?.answer.take()?;
        self.0.pop_front().map(|entry| (entry, answer))
    }
}
