//! Reading a queue: from the segment that holds the number asked for, past what is damaged.

use bytes::Bytes;
use wayside_actors::{message::Message, queue::Queue};

use super::{
    Loaded, StoreError,
    folder::{Folder, lock},
    index::{Extent, QueueIndex},
    record,
    restore::failed,
    segment::{Segment, SegmentError},
    shared::Shared,
};

/// How often a read that the system refuses is tried.
const TRIES: u32 = 3;

/// One call's answer as it grows.
struct Reading {
    /// The number that is wanted next.
    next: u64,
    loaded: Loaded,
    /// The queue's newest, which are in memory: what sled has of them meanwhile is not asked for.
    staged: Vec<(u64, Message)>,
    messages_left: usize,
    bytes_left: usize,
}

pub(super) fn load(
    shared: &Shared,
    queue: &Queue,
    from: u64,
    max_messages: usize,
    max_bytes: usize,
) -> Result<Loaded, StoreError> {
    let mut tries = 0;
    loop {
        let messages_left = max_messages.max(1);
        let (index, next, staged) = {
            let view = lock(&shared.view);
            let found = view.index.get(queue).cloned();
            let index = found.ok_or_else(|| StoreError::UnknownQueue(queue.to_string()))?;
            let next = from.max(index.acked + 1);
            let staged = view.staged.range(index.number, next, index.last, messages_left);
            (index, next, staged)
        };
        let loaded = Loaded { first_seq: 0, messages: Vec::new() };
        let mut reading = Reading { next, loaded, staged, messages_left, bytes_left: max_bytes };
        match reading.read(&shared.folder, &index) {
            Ok(()) => return Ok(reading.loaded),
            // Acknowledged and deleted meanwhile, or lost for good: what the index says now tells which.
            Err((segment, SegmentError::Gone)) => shared.gone(segment),
            Err((_, SegmentError::Locked)) => {
                return Err(StoreError::Locked { path: shared.folder.store.display().to_string() });
            }
            Err((segment, error @ SegmentError::Broken(_))) => shared.broken(segment, &error),
            Err((segment, error @ SegmentError::Failed(_))) => {
                tries += 1;
                if tries < TRIES {
                    continue;
                }
                if !shared.folder.is_unreadable(segment) {
                    return Err(failed(&shared.folder, &error));
                }
                shared.broken(segment, &error);
            }
        }
    }
}

impl Reading {
    fn read(&mut self, folder: &Folder, index: &QueueIndex) -> Result<(), (u64, SegmentError)> {
        for extent in &index.extents {
            if extent.last < self.next {
                continue;
            }
            if !self.wants(extent.first) {
                return Ok(());
            }
            self.next = self.next.max(extent.first);
            let broken = |error| (extent.segment, error);
            let lost = self.read_extent(folder, index.number, extent).map_err(broken)?;
            if lost > 0 {
                folder.report(format!(
                    "segment {} of the queues is damaged: {lost} messages from number {} on are lost",
                    extent.segment, extent.first
                ));
            }
            if !self.is_contiguous(extent.last) {
                return Ok(());
            }
        }
        if self.loaded.messages.is_empty() {
            self.loaded.first_seq = self.next.max(index.last + 1);
        }
        Ok(())
    }

    /// Whether a message with this number may follow what was read.
    fn wants(&self, first: u64) -> bool {
        self.loaded.messages.is_empty()
            || (first <= self.next && self.messages_left > 0 && self.bytes_left > 0)
    }

    /// Whether everything up to `last` was read and there is room for more, or nothing was found at all.
    fn is_contiguous(&self, last: u64) -> bool {
        self.loaded.messages.is_empty() || (self.next > last && self.messages_left > 0 && self.bytes_left > 0)
    }

    /// Reads from `next` to the extent's end; gives how many messages are not there any more.
    fn read_extent(&mut self, folder: &Folder, number: u32, extent: &Extent) -> Result<u64, SegmentError> {
        let staged = self.staged.first().map(|(seq, _)| *seq);
        let staged = staged.filter(|seq| (extent.first..=extent.last).contains(seq));
        let mut lost = 0;
        if staged.is_none_or(|seq| self.next < seq) {
            let last = staged.map_or(extent.last, |seq| seq - 1);
            lost = self.read_entries(&*folder.get(extent.segment)?, number, last)?;
        }
        if staged.is_some_and(|seq| self.next >= seq) {
            for (seq, message) in std::mem::take(&mut self.staged) {
                self.take(seq, vec![message], extent.last);
            }
        }
        Ok(lost)
    }

    fn read_entries(&mut self, segment: &Segment, number: u32, last: u64) -> Result<u64, SegmentError> {
        let start = segment
            .at_or_before(&record::entry_key(number, self.next))?
            .filter(|(key, _)| record::parse_entry_key(key).is_some_and(|(queue, _)| queue == number))
            .map_or_else(|| record::entry_key(number, self.next), |(key, _)| key.to_vec());
        let (mut lost, mut ended, mut failed) = (0, false, None);
        segment.each_from(&start, |key, value| {
            let Some((queue, first)) = record::parse_entry_key(key) else { return false };
            if queue != number || first > last {
                return false;
            }
            let messages = match segment.messages(key, value) {
                Ok(body) => body.and_then(record::decode_messages).unwrap_or_default(),
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            if first > self.next || messages.is_empty() {
                // Damaged, or a part before it is.
                if !self.loaded.messages.is_empty() {
                    ended = true;
                    return false;
                }
                if first > self.next {
                    lost += first - self.next;
                    self.next = first;
                }
            }
            self.take(first, messages, last);
            ended = self.messages_left == 0 || self.bytes_left == 0;
            !ended
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !ended && self.next <= last && self.loaded.messages.is_empty() {
            lost += last + 1 - self.next;
            self.next = last + 1;
        }
        Ok(lost)
    }

    fn take(&mut self, first: u64, messages: Vec<Message>, last: u64) {
        for (seq, mut message) in (first..=last).zip(messages) {
            if seq < self.next {
                continue;
            }
            let cost = message.cost_bytes();
            if self.messages_left == 0 || (cost > self.bytes_left && !self.loaded.messages.is_empty()) {
                self.bytes_left = 0;
                return;
            }
            if self.loaded.messages.is_empty() {
                self.loaded.first_seq = seq;
            }
            // A copy of its own: a message that waits long does not hold the whole entry.
            message.payload = Bytes::copy_from_slice(&message.payload);
            self.messages_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub(cost);
            self.loaded.messages.push(message);
            self.next = seq + 1;
        }
    }
}
