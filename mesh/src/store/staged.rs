//! Messages of small commits: they stay in sled, which takes one sync, until there are enough of them for the log,
//! which takes another. What is acknowledged before that never goes to the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use wayside_actors::message::Message;

use super::{
    batch::Batch,
    entry::{Run, encode_staged, for_each_pack},
    index::Index,
    record,
};

/// What a commit may stage, by [`Message::cost_bytes`]. sled keeps up to sixteen records in a page, and makes a file of
/// its own of a page above 128 KiB: slower, and not synced by sled.
const COMMIT_BYTES: usize = 6 << 10;

/// What is staged at most, in bytes and in commits. It is in memory too.
const BYTES: usize = 64 << 10;
const COMMITS: u32 = 256;

/// By the queue's number, consecutive.
pub(super) type Messages = BTreeMap<u32, Vec<(u64, Message)>>;

/// What is staged in the segment that is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    messages: Messages,
    commits: u32,
    bytes: usize,
}

/// What becomes of [`Staged`] with a commit.
#[derive(Debug)]
pub(super) enum Staging {
    /// These are staged too.
    Added(Messages),
    /// Everything is in the log, or needed no more.
    Packed,
}

impl Staged {
    /// What a commit's messages become. `commit` is its number, `acked` says how far a queue is acknowledged.
    pub(super) fn stage(
        &self,
        appended: Messages,
        commit: u64,
        acked: impl FnOnce() -> BTreeMap<u32, u64>,
        batch: &mut Batch,
    ) -> Staging {
        if appended.is_empty() {
            return Staging::Added(appended);
        }
        let bytes = cost(&appended);
        if bytes <= COMMIT_BYTES && self.bytes + bytes <= BYTES && self.commits < COMMITS {
            let queues = appended.iter().map(|(number, messages)| (*number, messages.as_slice()));
            batch.put(record::staged_key(self.commits), &encode_staged(commit, queues));
            return Staging::Added(appended);
        }
        self.pack(appended, acked, batch);
        Staging::Packed
    }

    /// Puts everything that is still needed into the log.
    pub(super) fn pack(
        &self,
        mut appended: Messages,
        acked: impl FnOnce() -> BTreeMap<u32, u64>,
        batch: &mut Batch,
    ) {
        if !self.messages.is_empty() {
            let acked = acked();
            for (number, staged) in &self.messages {
                // A queue that is not there any more was dropped.
                let Some(acked) = acked.get(number) else { continue };
                let mut all: Vec<_> = staged.iter().filter(|(seq, _)| seq > acked).cloned().collect();
                all.extend(appended.remove(number).unwrap_or_default());
                appended.insert(*number, all);
            }
        }
        for (number, messages) in &appended {
            for_each_pack(messages, |first, pack| batch.put_pack(record::entry_key(*number, first), pack));
        }
    }

    /// The commit is durable.
    pub(super) fn apply(&mut self, staging: Staging) {
        match staging {
            Staging::Packed => *self = Self::default(),
            Staging::Added(messages) => {
                self.bytes += cost(&messages);
                self.commits += u32::from(!messages.is_empty());
                for (number, messages) in messages {
                    let staged = self.messages.entry(number).or_default();
                    staged.extend(messages.into_iter().map(|(seq, mut message)| {
                        // A copy of its own: it does not hold the whole packet that it came in.
                        message.payload = Bytes::copy_from_slice(&message.payload);
                        (seq, message)
                    }));
                }
            }
        }
    }

    /// From what a segment says; in the order of their commits. `next` is the next record to write.
    pub(super) fn restored(runs: Vec<Run>, next: u32) -> Self {
        let mut staged = Self::default();
        for (number, first, messages) in runs {
            staged.apply(Staging::Added(BTreeMap::from([(number, (first..).zip(messages).collect())])));
        }
        staged.commits = next;
        staged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commits == 0
    }

    /// Those of a queue from number `first` to `last`, in order, at most `count`.
    pub(super) fn range(&self, number: u32, first: u64, last: u64, count: usize) -> Vec<(u64, Message)> {
        let Some(messages) = self.messages.get(&number) else { return Vec::new() };
        let from = messages.partition_point(|(seq, _)| *seq < first);
        messages[from..].iter().take_while(|(seq, _)| *seq <= last).take(count).cloned().collect()
    }
}

/// How far each queue is acknowledged, by number.
pub(super) fn acked(index: &Index) -> BTreeMap<u32, u64> {
    index.values().map(|queue| (queue.number, queue.acked)).collect()
}

fn cost(messages: &Messages) -> usize {
    messages.values().flatten().map(|(_, message)| message.cost_bytes()).sum()
}
