//! Reading a queue: from the segment that holds the number asked for, past what is damaged.

use bytes::Bytes;
use wayside_actors::{message::Message, queue::Queue};

use super::{
    Loaded, StoreError,
    folder::{Folder, lock},
    index::{Extent, QueueIndex},
    record,
    segment::{Segment, SegmentError},
    shared::Shared,
};

/// One call's answer as it grows.
struct Reading {
    /// The number that is wanted next.
    next: u64,
    loaded: Loaded,
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
    loop {
        let found = lock(&shared.view).index.get(queue).cloned();
        let index = found.ok_or_else(|| StoreError::UnknownQueue(queue.to_string()))?;
        let mut reading = Reading {
            next: from.max(index.acked + 1),
            loaded: Loaded { first_seq: 0, messages: Vec::new() },
            messages_left: max_messages.max(1),
            bytes_left: max_bytes,
        };
        match reading.read(&shared.folder, &index) {
            Ok(()) => return Ok(reading.loaded),
            // Acknowledged and deleted meanwhile, or lost for good: what the index says now tells which.
            Err((segment, SegmentError::Gone)) => shared.gone(segment),
            Err((_, SegmentError::Locked)) => {
                return Err(StoreError::Locked { path: shared.folder.store.display().to_string() });
            }
            Err((segment, error @ SegmentError::Broken(_))) => shared.broken(segment, &error),
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
            let segment = folder.get(extent.segment).map_err(broken)?;
            let lost = self.read_extent(&segment, index.number, extent).map_err(broken)?;
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
    fn read_extent(&mut self, segment: &Segment, number: u32, extent: &Extent) -> Result<u64, SegmentError> {
        let start = segment
            .at_or_before(&record::entry_key(number, self.next))?
            .filter(|(key, _)| record::parse_entry_key(key).is_some_and(|(queue, _)| queue == number))
            .map_or_else(|| record::entry_key(number, self.next), |(key, _)| key.to_vec());
        let (mut lost, mut ended) = (0, false);
        segment.each_from(&start, |key, value| {
            let Some((queue, first)) = record::parse_entry_key(key) else { return false };
            if queue != number || first > extent.last {
                return false;
            }
            let body = record::unseal(key, value);
            let messages = body.and_then(record::decode_entry).unwrap_or_default();
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
            self.take(first, messages, extent.last);
            ended = self.messages_left == 0 || self.bytes_left == 0;
            !ended
        })?;
        if !ended && self.next <= extent.last && self.loaded.messages.is_empty() {
            lost += extent.last + 1 - self.next;
            self.next = extent.last + 1;
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
