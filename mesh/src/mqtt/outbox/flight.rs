//! What is on its way to a client under a packet identifier, and what of that outlives the device.

use std::collections::BTreeMap;

use wayside_actors::queue::Queue;
use wayside_config::hash::sha256;

use super::Parcel;
use crate::mqtt::settings::MAX_SESSION_BYTES;

/// A packet identifier in use.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Its message; `None` where only the identifier is known, from before a restart.
    pub(super) of: Option<(Queue, u64)>,
    /// A retained message, which is in no queue.
    pub(super) old: Option<Box<Parcel>>,
    /// Which publish of the outbox this was, for sending again in the same order.
    pub(super) order: u64,
    pub(super) stage: Stage,
    /// It was sent, on this connection or an earlier one.
    pub(super) is_sent: bool,
}

/// How far a publish is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// QoS 1: it waits for its PUBACK.
    AtLeastOnce,
    /// QoS 2: it is not sent before the store knows its identifier. Else it could come under another one after
    /// a restart, and the client would take it twice.
    Chosen,
    /// QoS 2: it waits for its PUBREC.
    Offered,
    /// The same since before a restart, and its queue is not here again.
    Awaited,
    /// The client has it. Its identifier is not released before the store knows that.
    Received,
    /// It waits for its PUBCOMP.
    Released,
}

/// What is kept of QoS 2 over a restart: by queue how far it is, and which identifiers are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// By the queue's [`name`].
    pub(super) queues: BTreeMap<u64, KeptQueue>,
    /// Identifiers that wait for their PUBCOMP.
    pub(super) released: Vec<u16>,
}

/// What is kept of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptQueue {
    pub(super) acked: u64,
    /// Numbers beyond `acked` that are settled.
    pub(super) settled: Vec<u64>,
    /// What waits for its PUBREC: identifiers by number.
    pub(super) offered: BTreeMap<u64, u16>,
}

/// The form on the disk: version, then for each queue its name, `acked`, and above that what is settled and what
/// is offered; then what is released.
type Stored = (u8, Vec<(u64, u64, Vec<u64>, Vec<(u64, u16)>)>, Vec<u16>);

const VERSION: u8 = 1;

impl Kept {
    /// The bytes of the mark.
    pub(super) fn encode(&self) -> Vec<u8> {
        let queue = |(name, queue): (&u64, &KeptQueue)| {
            let beyond = |seq: &u64| seq.saturating_sub(queue.acked);
            let offered = queue.offered.iter().map(|(seq, id)| (beyond(seq), *id)).collect();
            (*name, queue.acked, queue.settled.iter().map(beyond).collect(), offered)
        };
        let stored: Stored = (VERSION, self.queues.iter().map(queue).collect(), self.released.clone());
        let mut bytes = Vec::new();
        ciborium::into_writer(&stored, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Reads a mark; `None` if this version did not write it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, queues, released): Stored = ciborium::from_reader(bytes).ok()?;
        let queue = |(name, acked, settled, offered): (u64, u64, Vec<u64>, Vec<(u64, u16)>)| {
            let number = |beyond: u64| acked.saturating_add(beyond);
            let offered = offered.into_iter().map(|(beyond, id)| (number(beyond), id)).collect();
            (name, KeptQueue { acked, settled: settled.into_iter().map(number).collect(), offered })
        };
        (version == VERSION).then(|| Self { queues: queues.into_iter().map(queue).collect(), released })
    }
}

/// A queue's name within a session: short, for many are kept in [`MAX_SESSION_BYTES`].
pub(super) fn name(queue: &Queue) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(format!("{queue}").as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Queues with QoS 2 that are kept although nothing of them is under way.
pub(super) const QUEUES: usize = 64;
/// Messages of QoS 2 that are under way or settled before their turn, and so the queues that have such.
pub(super) const MESSAGES: usize = 128;
const _: () = assert!(
    QUEUES < MESSAGES && MESSAGES * (24 + 7) < MAX_SESSION_BYTES,
    "a queue takes no more than 24 bytes, and a message no more than 7"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_the_most_of_it_fits() {
        let queue = |number: u64| {
            let acked = u64::MAX - 500 - number;
            let offered = BTreeMap::from([(acked + 250, u16::MAX)]);
            (u64::MAX - number, KeptQueue { acked, settled: Vec::new(), offered })
        };
        let queues = (0..MESSAGES as u64).map(queue).collect();
        let kept = Kept { queues, released: Vec::new() };
        let bytes = kept.encode();
        assert!(bytes.len() <= MAX_SESSION_BYTES, "{}", bytes.len());
        assert_eq!(Kept::decode(&bytes), Some(kept));
        assert_eq!(Kept::decode(b"\x83\x02\x80\x80"), None);
        assert_eq!(Kept::decode(b"garbage"), None);
    }
}
