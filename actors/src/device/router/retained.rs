//! Retained messages: the last one of each source and topic, for clients that subscribe later.
//!
//! They are kept where they were published and where a route brought them. On the disk each is a few marks,
//! `retain/<name>/<part>`, for a mark has little room.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use wayside_config::{cbor, hash::hex, identity::DeviceId, text::Text, workload::ModuleId};

use crate::{message::Message, queue::StoreOp};

/// The most bytes of one retained message, by [`Message::cost_bytes`].
pub const RETAINED_MESSAGE_BYTES: usize = 64 << 10;
/// The most bytes of all retained messages of a device.
pub const RETAINED_BYTES: usize = 1 << 20;

/// What one mark holds.
const PART_BYTES: usize = 4096;

/// All that a device retains.
#[derive(Clone, Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<Name, Message>,
    bytes: usize,
}

/// Whose message it is, and its topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    source: ModuleId,
    origin: DeviceId,
    topic: Text,
}

/// Whether a message could be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is what is retained of its topic now; or nothing is, where it has no body.
    Kept,
    /// There is no room for it: nothing is retained of its topic.
    NoRoom,
}

/// Gathers marks until all are there.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(BTreeMap<String, BTreeMap<usize, Vec<u8>>>);

impl Parts {
    /// One mark; `rest` is its name without `retain/`.
    pub(super) fn add(&mut self, rest: &str, value: &[u8]) -> Option<()> {
        let (name, part) = rest.split_once('/')?;
        self.0.entry(name.to_owned()).or_default().insert(part.parse().ok()?, value.to_vec());
        Some(())
    }

    /// What they are. Those that are not readable stay where they are.
    pub(super) fn messages(self) -> Retained {
        let mut retained = Retained::default();
        for parts in self.0.into_values() {
            let bytes: Vec<u8> = parts.into_values().flatten().collect();
            if let Ok((workload, message)) = cbor::decode::<(String, Message)>(&bytes) {
                let source = ModuleId::new(workload, message.source.clone());
                retained
                    .insert(Name { source, origin: message.origin, topic: message.topic.clone() }, message);
            }
        }
        retained
    }
}

impl Retained {
    /// Takes a message that is to be retained, published by `source`; gives what to change on the disk.
    pub(super) fn keep(&mut self, source: &ModuleId, message: &Message) -> (Outcome, Vec<StoreOp>) {
        let name = Name { source: source.clone(), origin: message.origin, topic: message.topic.clone() };
        let before = self.remove(&name);
        let parts_before = before.map_or(0, |before| parts(&name, &before).len());
        if message.payload.is_empty() {
            return (Outcome::Kept, unmark(&name, 0, parts_before));
        }
        let cost = message.cost_bytes();
        if cost > RETAINED_MESSAGE_BYTES || self.bytes + cost > RETAINED_BYTES {
            return (Outcome::NoRoom, unmark(&name, 0, parts_before));
        }
        let parts = parts(&name, message);
        let gone = unmark(&name, parts.len(), parts_before);
        let mark = |(part, value)| StoreOp::Mark { key: key(&name, part), value };
        let ops = parts.into_iter().enumerate().map(mark).chain(gone).collect();
        self.insert(name, message.clone());
        (Outcome::Kept, ops)
    }

    /// Forgets what is of no use any more; gives what to change on the disk.
    pub(super) fn retain(&mut self, keep: impl Fn(&ModuleId, &Message) -> bool) -> Vec<StoreOp> {
        let gone: BTreeSet<Name> = self
            .messages
            .iter()
            .filter(|(name, message)| !keep(&name.source, message))
            .map(|(name, _)| name.clone())
            .collect();
        let gone = gone.into_iter().filter_map(|name| self.remove(&name).map(|message| (name, message)));
        gone.collect::<Vec<_>>()
            .into_iter()
            .flat_map(|(name, message)| unmark(&name, 0, parts(&name, &message).len()))
            .collect()
    }

    /// All of it, with who published it.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&ModuleId, &Message)> {
        self.messages.iter().map(|(name, message)| (&name.source, message))
    }

    fn insert(&mut self, name: Name, message: Message) {
        self.bytes += message.cost_bytes();
        self.messages.insert(name, message);
    }

    fn remove(&mut self, name: &Name) -> Option<Message> {
        let message = self.messages.remove(name)?;
        self.bytes -= message.cost_bytes();
        Some(message)
    }
}

fn parts(name: &Name, message: &Message) -> Vec<Vec<u8>> {
    let bytes = cbor::encode(&(&name.source.workload, message));
    bytes.chunks(PART_BYTES).map(<[u8]>::to_vec).collect()
}

fn unmark(name: &Name, from: usize, to: usize) -> Vec<StoreOp> {
    (from..to).map(|part| StoreOp::Unmark { key: key(name, part) }).collect()
}

/// Topics are longer than names of marks may be.
fn key(name: &Name, part: usize) -> String {
    let digest = Sha256::new()
        .chain_update(name.source.to_string())
        .chain_update([0])
        .chain_update(name.origin.as_bytes())
        .chain_update(name.topic.as_bytes())
        .finalize();
    format!("retain/{}/{part:02}", hex(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, size: usize) -> Message {
        Message {
            origin: DeviceId::from_bytes([1; 32]),
            source: "sensor".into(),
            topic: topic.into(),
            properties: Default::default(),
            payload: vec![7; size].into(),
            accepted_ms: 5,
        }
    }

    fn sensor() -> ModuleId {
        ModuleId::new("plant", "sensor")
    }

    /// A disk of marks.
    fn apply(disk: &mut BTreeMap<String, Vec<u8>>, ops: Vec<StoreOp>) {
        for op in ops {
            match op {
                StoreOp::Mark { key, value } => drop(disk.insert(key, value)),
                StoreOp::Unmark { key } => assert!(disk.remove(&key).is_some(), "{key}"),
                StoreOp::Append { .. } | StoreOp::Trim { .. } | StoreOp::Drop { .. } => panic!("{op:?}"),
            }
        }
    }

    fn restored(disk: &BTreeMap<String, Vec<u8>>) -> Vec<Message> {
        let mut parts = Parts::default();
        for (key, value) in disk {
            assert!(value.len() <= PART_BYTES && key.len() <= 512);
            parts.add(key.strip_prefix("retain/").unwrap(), value).unwrap();
        }
        parts.messages().messages().map(|(_, message)| message.clone()).collect()
    }

    #[test]
    fn the_last_message_of_a_topic_is_on_the_disk_whatever_its_size() {
        let (mut retained, mut disk) = (Retained::default(), BTreeMap::new());
        for size in [10, 60_000, 5_000, 4_096, 1] {
            let (outcome, ops) = retained.keep(&sensor(), &message("t", size));
            assert_eq!(outcome, Outcome::Kept);
            apply(&mut disk, ops);
            assert_eq!(restored(&disk), [message("t", size)]);
        }
        apply(&mut disk, retained.keep(&sensor(), &message("t", 0)).1);
        assert!(disk.is_empty() && retained.messages().next().is_none());
    }

    #[test]
    fn what_has_no_room_leaves_nothing_old_behind() {
        let (mut retained, mut disk) = (Retained::default(), BTreeMap::new());
        apply(&mut disk, retained.keep(&sensor(), &message("t", 10)).1);
        let (outcome, ops) = retained.keep(&sensor(), &message("t", RETAINED_MESSAGE_BYTES));
        apply(&mut disk, ops);
        assert_eq!((outcome, disk.len()), (Outcome::NoRoom, 0));
        let kept = (0..100)
            .filter(|n| retained.keep(&sensor(), &message(&n.to_string(), 60_000)).0 == Outcome::Kept);
        assert_eq!(kept.count(), RETAINED_BYTES / message("00", 60_000).cost_bytes());
        assert!(retained.bytes <= RETAINED_BYTES);
        assert!(!retained.retain(|_, message| message.topic != "3").is_empty());
        assert_eq!(retained.keep(&sensor(), &message("new", 60_000)).0, Outcome::Kept);
    }
}
