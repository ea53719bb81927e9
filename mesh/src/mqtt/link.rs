//! What a session has of its present connection: answers that wait, bytes to write, and how it ends.

use bytes::BytesMut;

use super::{
    alias::Aliases,
    encode::Encoder,
    fault::{Fault, Refusal},
    packet::{Connect, Version, Will},
    pending::{Ack, Answer, Pending},
    window::INFLIGHT,
};

/// A client that takes smaller packets only gets no reason strings.
const MIN_REASON_PACKET: usize = 1024;

/// What belongs to one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) encoder: Encoder,
    pub(super) pending: Pending,
    /// Answers that are not yet written.
    pub(super) out: BytesMut,
    pub(super) will: Option<Will>,
    pub(super) aliases: Aliases,
    server_keep_alive: Option<u16>,
    pub(super) is_connected: bool,
    /// `Online` was told.
    pub(super) is_online: bool,
    /// It was logged that messages wait for a subscription.
    pub(super) has_told_of_waiting: bool,
    pub(super) end: Option<End>,
    pub(super) window: usize,
    pub(super) max_packet: usize,
}

/// Why a connection is to be closed once its last bytes are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client said so.
    Disconnected,
    /// Something is wrong with the connection.
    Fault(Fault),
    /// The client was not let in.
    Refused(Refusal),
}

impl Link {
    pub(super) fn new(id: u64, connect: &Connect) -> Self {
        let max_packet = usize::try_from(connect.max_packet).unwrap_or(usize::MAX);
        let reasons = connect.reasons && max_packet > MIN_REASON_PACKET;
        Self {
            id,
            encoder: Encoder { version: connect.version, reasons },
            pending: Pending::default(),
            out: BytesMut::new(),
            will: connect.will.clone(),
            aliases: Aliases::new(connect.topic_aliases),
            server_keep_alive: connect.server_keep_alive(),
            is_connected: false,
            is_online: false,
            has_told_of_waiting: false,
            end: None,
            window: usize::from(connect.receive_maximum).min(INFLIGHT),
            max_packet,
        }
    }

    /// Whether what the client sends next can be kept until it is answered.
    pub(super) fn has_room(&self) -> bool {
        self.pending.has_room(self.encoder.version)
    }

    /// Begins the end, with a DISCONNECT where the client may get one.
    pub(super) fn fail(&mut self, fault: Fault) {
        if self.end.is_none() {
            if self.is_connected {
                self.encoder.disconnect(&fault, &mut self.out);
            }
            self.end = Some(End::Fault(fault));
        }
    }

    /// Writes the answers to requests whose turn has come.
    pub(super) fn answer_requests(&mut self) {
        while self.end.is_none() {
            let Some((_, ack, answer)) = self.pending.next_request() else { return };
            match (ack, answer) {
                (Ack::Connack { .. }, Answer::Refused(reason)) => {
                    let refusal = Refusal::Unavailable(reason);
                    self.encoder.refusal(&refusal, &mut self.out);
                    self.end = Some(End::Refused(refusal));
                }
                (Ack::Connack { session_present, assigned }, Answer::Accepted) => {
                    let keep_alive_s = self.server_keep_alive;
                    self.encoder.connack(session_present, assigned.as_deref(), keep_alive_s, &mut self.out);
                    self.is_connected = true;
                }
                (_, Answer::Refused(reason)) => self.fail(Fault::Refused(reason)),
                // Only publishes are denied.
                (_, Answer::Denied) => {}
                (Ack::Pubcomp(id), Answer::Accepted) => self.encoder.pubcomp(id, &mut self.out),
                (Ack::Suback(id, codes), Answer::Accepted) => {
                    self.encoder.suback(id, &codes, &mut self.out);
                }
                (Ack::Unsuback(id, existed), Answer::Accepted) => {
                    self.encoder.unsuback(id, &existed, &mut self.out);
                }
                (Ack::Puback(_) | Ack::Pubrec(_) | Ack::Nothing, Answer::Accepted) => {}
            }
        }
    }

    /// The same for publishes.
    pub(super) fn answer_publishes(&mut self) {
        while self.is_connected && self.end.is_none() {
            let Some((ack, answer)) = self.pending.next_publish() else { return };
            match (self.encoder.version, ack, answer) {
                (Version::V4, _, Answer::Refused(reason)) => self.fail(Fault::Refused(reason)),
                (_, Ack::Puback(id), answer) => self.encoder.puback(id, &answer, &mut self.out),
                (_, Ack::Pubrec(id), answer) => self.encoder.pubrec(id, &answer, &mut self.out),
                (
                    _,
                    Ack::Connack { .. }
                    | Ack::Pubcomp(_)
                    | Ack::Suback(..)
                    | Ack::Unsuback(..)
                    | Ack::Nothing,
                    _,
                ) => {}
            }
        }
    }
}
