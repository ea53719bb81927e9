//! A group of commits on its way to the disk: what the queues become, and the one write that makes it so.

use std::collections::{BTreeMap, BTreeSet};

use wayside_actors::{
    message::Message,
    queue::{Queue, StoreOp},
};

use super::{
    StoreError,
    index::{Index, QueueIndex},
    record::{self, QueueRecord},
    shared::View,
};

/// Messages of one entry at most, and their cost. sled keeps up to sixteen entries in a page, and makes a
/// file of its own of a page above 128 KiB: slower, and twice as much on the disk.
const ENTRY_MESSAGES: usize = 256;
const ENTRY_BYTES: usize = 8 << 10;

/// Bytes of a mark's name and of its value at most, and marks at most: they are held in memory.
const MARK_KEY_BYTES: usize = 512;
const MARK_VALUE_BYTES: usize = 4 << 10;
const MARKS: usize = 1 << 16;

/// What a group changes, over what is committed.
#[derive(Debug)]
pub(super) struct Group {
    /// Where new messages go.
    segment: u64,
    next_queue: u32,
    /// `None` for a queue that was dropped.
    queues: BTreeMap<Queue, Option<QueueIndex>>,
    marks: BTreeMap<String, Option<Vec<u8>>>,
    dropped: BTreeSet<u32>,
    appended: BTreeMap<u32, Vec<(u64, Message)>>,
    /// Some segment may be needed no more.
    pub(super) freed: bool,
}

impl Group {
    pub(super) fn new(segment: u64, next_queue: u32) -> Self {
        Self {
            segment,
            next_queue,
            queues: BTreeMap::new(),
            marks: BTreeMap::new(),
            dropped: BTreeSet::new(),
            appended: BTreeMap::new(),
            freed: false,
        }
    }

    pub(super) const fn next_queue(&self) -> u32 {
        self.next_queue
    }

    /// Adds one commit, whole or not at all.
    pub(super) fn add(&mut self, view: &View, changes: Vec<StoreOp>) -> Result<(), StoreError> {
        self.check(view, &changes)?;
        for change in changes {
            match change {
                StoreOp::Append { queue, seq, message } => self.append(view, queue, seq, message),
                StoreOp::Trim { queue, upto } => {
                    if let Some(index) = self.queue(view, &queue) {
                        self.freed |= index.trim(upto);
                    }
                }
                StoreOp::Drop { queue } => self.drop_queue(view, queue),
                StoreOp::Mark { key, value } => {
                    self.marks.insert(key, Some(value));
                }
                StoreOp::Unmark { key } => {
                    self.marks.insert(key, None);
                }
            }
        }
        Ok(())
    }

    /// Refuses what would leave a gap or is too large, before anything of it is taken in.
    fn check(&self, view: &View, changes: &[StoreOp]) -> Result<(), StoreError> {
        let mut lasts: BTreeMap<&Queue, Option<u64>> = BTreeMap::new();
        let mut marks = view.marks.len() + self.marks.len();
        for change in changes {
            match change {
                StoreOp::Append { queue, seq, .. } => {
                    let last =
                        lasts.entry(queue).or_insert_with(|| self.peek(view, queue).map(|index| index.last));
                    if *seq == 0 || *seq == u64::MAX || last.is_some_and(|last| last + 1 != *seq) {
                        return Err(StoreError::Invalid(format!("{queue}: number {seq} after {last:?}")));
                    }
                    *last = Some(*seq);
                }
                StoreOp::Drop { queue } => {
                    lasts.insert(queue, None);
                }
                StoreOp::Mark { key, value } => {
                    marks += 1;
                    if key.len() > MARK_KEY_BYTES || value.len() > MARK_VALUE_BYTES || marks > MARKS {
                        return Err(StoreError::Invalid(format!(
                            "the mark `{}` of {} bytes, or {MARKS} marks",
                            key.chars().take(64).collect::<String>(),
                            value.len()
                        )));
                    }
                }
                StoreOp::Trim { .. } | StoreOp::Unmark { .. } => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, view: &View, queue: Queue, seq: u64, message: Message) {
        let segment = self.segment;
        if self.queue(view, &queue).is_none() {
            self.next_queue += 1;
            self.queues.insert(queue.clone(), Some(QueueIndex::new(self.next_queue, seq - 1)));
        }
        if let Some(index) = self.queue(view, &queue) {
            index.append(segment, message.cost_bytes() as u64);
            let number = index.number;
            self.appended.entry(number).or_default().push((seq, message));
        }
    }

    fn drop_queue(&mut self, view: &View, queue: Queue) {
        if let Some(index) = self.queue(view, &queue) {
            let number = index.number;
            self.appended.remove(&number);
            self.dropped.insert(number);
            self.freed = true;
            self.queues.insert(queue, None);
        }
    }

    fn peek<'a>(&'a self, view: &'a View, queue: &Queue) -> Option<&'a QueueIndex> {
        self.queues.get(queue).map_or_else(|| view.index.get(queue), Option::as_ref)
    }

    /// The queue as this group leaves it so far.
    fn queue(&mut self, view: &View, queue: &Queue) -> Option<&mut QueueIndex> {
        if !self.queues.contains_key(queue) {
            let index = view.index.get(queue)?.clone();
            self.queues.insert(queue.clone(), Some(index));
        }
        self.queues.get_mut(queue)?.as_mut()
    }

    /// The write.
    pub(super) fn write_to(&mut self, batch: &mut Batch) {
        for number in &self.dropped {
            batch.remove(record::queue_key(*number));
            batch.remove(record::extents_key(*number));
        }
        for (queue, index) in &mut self.queues {
            if let Some(index) = index {
                batch.put_queue(queue, index, false);
                index.extents_changed = false;
            }
        }
        for (name, value) in &self.marks {
            match value {
                Some(value) => batch.put(record::mark_key(name), value),
                None => batch.remove(record::mark_key(name)),
            }
        }
        for (number, messages) in &self.appended {
            for_each_entry(messages, |first, messages| {
                batch.put(record::entry_key(*number, first), &record::encode_entry(messages));
            });
        }
    }

    /// The write is durable: this is what holds now.
    pub(super) fn apply_to(self, view: &mut View) {
        for (queue, index) in self.queues {
            match index {
                Some(index) => view.index.insert(queue, index),
                None => view.index.remove(&queue),
            };
        }
        for (name, value) in self.marks {
            match value {
                Some(value) => view.marks.insert(name, value),
                None => view.marks.remove(&name),
            };
        }
    }
}

/// One write to a segment.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) sled: sled::Batch,
    pub(super) bytes: u64,
}

impl Batch {
    pub(super) fn put(&mut self, key: Vec<u8>, body: &[u8]) {
        self.bytes += (key.len() + body.len()) as u64;
        let value = record::seal(&key, body);
        self.sled.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) {
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

/// Cuts consecutive messages into entries.
pub(super) fn for_each_entry(messages: &[(u64, Message)], mut put: impl FnMut(u64, &[Message])) {
    let mut rest = messages;
    while let Some((first, _)) = rest.first() {
        let (mut entry, mut bytes) = (Vec::new(), 0);
        for (_, message) in rest {
            bytes += message.cost_bytes();
            if !entry.is_empty() && (bytes > ENTRY_BYTES || entry.len() == ENTRY_MESSAGES) {
                break;
            }
            entry.push(message.clone());
        }
        put(*first, &entry);
        rest = &rest[entry.len()..];
    }
}
