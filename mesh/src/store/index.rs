//! Where a queue's messages are. Small: one extent a queue and segment, however deep the queue is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wayside_actors::queue::{Queue, QueueState};

/// Consecutive messages of one queue in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) segment: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    /// By [`wayside_actors::message::Message::cost_bytes`].
    pub(super) bytes: u64,
}

impl Extent {
    /// What is left of it behind `acked`. Even, as if all its messages were of one size.
    fn bytes_after(&self, acked: u64) -> u64 {
        let all = u128::from(self.last - self.first + 1);
        let left = u128::from(self.last.saturating_sub(acked.max(self.first - 1)));
        u64::try_from(u128::from(self.bytes) * left / all).unwrap_or(self.bytes)
    }
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueIndex {
    /// In the keys of its records. Never used twice.
    pub(super) number: u32,
    pub(super) acked: u64,
    pub(super) last: u64,
    /// In ascending order; what lies between two was lost. None of them is acknowledged as a whole.
    pub(super) extents: VecDeque<Extent>,
    /// The extents but for the newest are not on the disk as they are here.
    pub(super) extents_changed: bool,
}

impl QueueIndex {
    pub(super) const fn new(number: u32, acked: u64) -> Self {
        Self { number, acked, last: acked, extents: VecDeque::new(), extents_changed: false }
    }

    pub(super) fn state(&self) -> QueueState {
        let bytes = self.extents.iter().map(|extent| extent.bytes_after(self.acked)).sum();
        QueueState { acked: self.acked, last: self.last, bytes }
    }

    /// Counts the next message, which goes to `segment`.
    pub(super) fn append(&mut self, segment: u64, bytes: u64) {
        self.last += 1;
        let last = self.last;
        match self.extents.back_mut() {
            Some(tail) if tail.segment == segment && tail.last + 1 == last => {
                tail.last = last;
                tail.bytes += bytes;
            }
            Some(_) | None => {
                self.extents_changed |= !self.extents.is_empty();
                self.extents.push_back(Extent { segment, first: last, last, bytes });
            }
        }
    }

    /// Moves the acknowledged position; `true` when an extent is no longer needed.
    pub(super) fn trim(&mut self, upto: u64) -> bool {
        self.acked = self.acked.max(upto.min(self.last));
        let before = self.extents.len();
        while self.extents.front().is_some_and(|extent| extent.last <= self.acked) {
            self.extents.pop_front();
        }
        self.extents.len() < before
    }

    /// Forgets what `segment` held; `true` when that was something.
    pub(super) fn lose(&mut self, segment: u64) -> bool {
        let before = self.extents.len();
        self.extents.retain(|extent| extent.segment != segment);
        let lost = self.extents.len() < before;
        self.extents_changed |= lost;
        lost
    }

    /// Everything but the newest extent.
    pub(super) fn older_extents(&self) -> impl ExactSizeIterator<Item = &Extent> {
        self.extents.iter().take(self.extents.len().saturating_sub(1))
    }
}

/// All queues.
pub(super) type Index = BTreeMap<Queue, QueueIndex>;

/// The segments that hold something not acknowledged, and how much.
pub(super) fn live_bytes(index: &Index) -> BTreeMap<u64, u64> {
    let mut live = BTreeMap::new();
    for queue in index.values() {
        for extent in &queue.extents {
            *live.entry(extent.segment).or_default() += extent.bytes_after(queue.acked);
        }
    }
    live
}

/// The segments that hold something not acknowledged.
pub(super) fn live_segments(index: &Index) -> BTreeSet<u64> {
    index.values().flat_map(|queue| queue.extents.iter().map(|extent| extent.segment)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_counts_what_it_holds() {
        let mut queue = QueueIndex::new(1, 0);
        for segment in [1, 1, 1, 1, 2, 2] {
            queue.append(segment, 100);
        }
        assert_eq!(queue.extents.len(), 2);
        assert!(!queue.trim(2));
        assert_eq!(queue.state(), QueueState { acked: 2, last: 6, bytes: 400 });
        assert!(queue.trim(4));
        assert!(!queue.trim(3), "a position does not go back");
        assert!(queue.trim(99));
        assert_eq!(queue.state(), QueueState { acked: 6, last: 6, bytes: 0 });
    }

    #[test]
    fn what_a_segment_held_is_lost_with_it_and_nothing_else() {
        let mut queue = QueueIndex::new(1, 0);
        for segment in [1, 2, 2, 3] {
            queue.append(segment, 10);
        }
        assert!(queue.lose(2));
        assert_eq!(queue.extents.iter().map(|extent| extent.first).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(queue.state().bytes, 20);
    }
}
