//! One write to a segment: packs for its log, and what sled is told, which names them.

use std::collections::BTreeMap;

use wayside_actors::queue::Queue;

use super::{
    entry::{Place, encode_place},
    index::{Index, QueueIndex},
    record::{self, QueueRecord},
};

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) sled: sled::Batch,
    /// Packs, the first of them for `log_at`.
    pub(super) log: Vec<u8>,
    log_at: u64,
}

impl Batch {
    /// For a segment whose log ends at `log_at`.
    pub(super) fn new(log_at: u64) -> Self {
        Self { log_at, ..Self::default() }
    }

    pub(super) const fn log_at(&self) -> u64 {
        self.log_at
    }

    /// Where the log ends once this is written.
    pub(super) fn log_end(&self) -> u64 {
        self.log_at + self.log.len() as u64
    }

    pub(super) fn put(&mut self, key: Vec<u8>, body: &[u8]) {
        let value = record::seal(&key, body);
        self.sled.insert(key, value);
    }

    /// Messages go to the log, and where they are to sled.
    pub(super) fn put_pack(&mut self, key: Vec<u8>, messages: &[u8]) {
        let at = self.log_end();
        self.log.extend(record::seal(&key, messages));
        let len = (self.log_end() - at) as u32;
        self.put(key, &encode_place(Place { at, len }));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.sled.remove(key);
    }

    /// A queue's record; its older extents too when they changed, or when `all` is to be written.
    pub(super) fn put_queue(&mut self, queue: &Queue, index: &QueueIndex, all: bool) {
        let tail = index.extents.back().copied();
        let record = QueueRecord { queue: queue.clone(), acked: index.acked, last: index.last, tail };
        self.put(record::queue_key(index.number), &record::encode_queue(&record));
        if index.extents_changed || (all && index.extents.len() > 1) {
            self.put(record::extents_key(index.number), &record::encode_extents(index.older_extents()));
        }
    }

    /// Everything that a new segment must say of what is in the others.
    pub(super) fn put_all(&mut self, index: &Index, marks: &BTreeMap<String, Vec<u8>>) {
        for (queue, index) in index {
            self.put_queue(queue, index, true);
        }
        for (name, value) in marks {
            self.put(record::mark_key(name), value);
        }
    }
}
