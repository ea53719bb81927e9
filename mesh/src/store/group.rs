//! A group of commits on its way to the disk: what the queues become, and the one write that makes it so.

use std::collections::{BTreeMap, BTreeSet};

use wayside_actors::{
    message::Message,
    queue::{Queue, StoreOp},
};

use super::{
    StoreError,
    batch::Batch,
    index::QueueIndex,
    record,
    shared::View,
    staged::{Messages, Staging, acked},
};

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
    appended: Messages,
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
    pub(super) fn add(&mut self, view: &View, changes: &[StoreOp]) -> Result<(), StoreError> {
        self.check(view, changes)?;
        for change in changes {
            match change {
                StoreOp::Append { queue, seq, message } => self.append(view, queue, *seq, message),
                StoreOp::Trim { queue, upto } => {
                    if let Some(index) = self.queue(view, queue) {
                        self.freed |= index.trim(*upto);
                    }
                }
                StoreOp::Drop { queue } => self.drop_queue(view, queue),
                StoreOp::Mark { key, value } => {
                    self.marks.insert(key.clone(), Some(value.clone()));
                }
                StoreOp::Unmark { key } => {
                    self.marks.insert(key.clone(), None);
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

    fn append(&mut self, view: &View, queue: &Queue, seq: u64, message: &Message) {
        let segment = self.segment;
        if self.queue(view, queue).is_none() {
            self.next_queue += 1;
            self.queues.insert(queue.clone(), Some(QueueIndex::new(self.next_queue, seq - 1)));
        }
        if let Some(index) = self.queue(view, queue) {
            index.append(segment, message.cost_bytes() as u64);
            let number = index.number;
            self.appended.entry(number).or_default().push((seq, message.clone()));
        }
    }

    fn drop_queue(&mut self, view: &View, queue: &Queue) {
        if let Some(index) = self.queue(view, queue) {
            let number = index.number;
            self.appended.remove(&number);
            self.dropped.insert(number);
            self.freed = true;
            self.queues.insert(queue.clone(), None);
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

    /// The write as number `commit`. Gives what becomes of what is staged.
    pub(super) fn write_to(&mut self, view: &View, commit: u64, batch: &mut Batch) -> Staging {
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
        let appended = std::mem::take(&mut self.appended);
        view.staged.stage(appended, commit, || self.acked(view), batch)
    }

    /// How far each queue is acknowledged with this group.
    fn acked(&self, view: &View) -> BTreeMap<u32, u64> {
        let mut all = acked(&view.index);
        for number in &self.dropped {
            all.remove(number);
        }
        all.extend(self.queues.values().flatten().map(|index| (index.number, index.acked)));
        all
    }

    /// The write is durable: this is what holds now.
    pub(super) fn apply_to(self, staging: Staging, view: &mut View) {
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
        view.staged.apply(staging);
    }
}
