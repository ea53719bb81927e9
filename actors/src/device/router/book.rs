//! What one queue holds, counted without remembering every message.

use std::collections::VecDeque;

use crate::{queue::QueueState, report::QueueStatus};

/// Messages whose sizes are kept as one sum.
const BLOCK_MESSAGES: u64 = 64;

/// The account of one queue.
///
/// Sizes are kept a block of messages at a time, so the account of a deep queue stays small. Within a
/// block a message counts as the block's mean; what is counted for all blocks is exact, and an
/// empty queue counts 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    acked: u64,
    last: u64,
    bytes: u64,
    blocks: VecDeque<Block>,
    appended: u64,
    dropped: u64,
    expired: u64,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    messages: u64,
    bytes: u64,
}

impl Book {
    /// A queue as the store has it.
    pub(super) fn restored(state: QueueState) -> Self {
        let messages = state.last.saturating_sub(state.acked);
        let blocks = (messages > 0).then_some(Block { messages, bytes: state.bytes });
        Self {
            acked: state.acked,
            last: state.last.max(state.acked),
            bytes: if messages > 0 { state.bytes } else { 0 },
            blocks: blocks.into_iter().collect(),
            ..Self::default()
        }
    }

    /// An empty queue that goes on counting after `floor`.
    pub(super) fn new(floor: u64) -> Self {
        Self { acked: floor, last: floor, ..Self::default() }
    }

    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.acked == self.last
    }

    /// Whether a message of this cost fits. An empty queue takes any one message, so that none is stuck.
    pub(super) const fn has_room(&self, cost: u64, buffer_bytes: u64) -> bool {
        self.is_empty() || self.bytes.saturating_add(cost) <= buffer_bytes
    }

    /// Counts one more message and gives its number.
    pub(super) fn append(&mut self, cost: u64) -> u64 {
        self.last += 1;
        self.appended += 1;
        self.bytes = self.bytes.saturating_add(cost);
        match self.blocks.back_mut() {
            Some(block) if block.messages < BLOCK_MESSAGES => {
                block.messages += 1;
                block.bytes = block.bytes.saturating_add(cost);
            }
            Some(_) | None => self.blocks.push_back(Block { messages: 1, bytes: cost }),
        }
        self.last
    }

    /// Everything up to `upto` is settled. Numbers that the queue does not hold change nothing.
    pub(super) fn trim(&mut self, upto: u64) {
        let mut messages = upto.min(self.last).saturating_sub(self.acked);
        self.acked += messages;
        while messages > 0 {
            let Some(block) = self.blocks.front_mut() else { break };
            let taken = messages.min(block.messages);
            let bytes = share(block.bytes, taken, block.messages);
            block.messages -= taken;
            block.bytes -= bytes;
            self.bytes -= bytes;
            messages -= taken;
            if block.messages == 0 {
                self.blocks.pop_front();
            }
        }
    }

    /// Drops the oldest messages until one of this cost fits, and gives the highest number dropped.
    pub(super) fn drop_oldest(&mut self, cost: u64, buffer_bytes: u64) -> u64 {
        while !self.has_room(cost, buffer_bytes) {
            self.trim(self.acked + 1);
            self.dropped += 1;
        }
        self.acked
    }

    /// Counts a message that found no room.
    pub(super) const fn drop_newest(&mut self) {
        self.dropped += 1;
    }

    /// Counts messages that waited longer than they may.
    pub(super) const fn expire(&mut self, messages: u64) {
        self.expired += messages;
    }

    pub(super) const fn status(&self) -> QueueStatus {
        QueueStatus {
            depth: self.last - self.acked,
            bytes: self.bytes,
            appended: self.appended,
            dropped: self.dropped,
            expired: self.expired,
        }
    }
}

/// `part` of `whole` parts of `bytes`. The last part takes the rest.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_empty_queue_counts_nothing_and_equal_messages_count_exactly(
            costs in prop::collection::vec(1u64..1000, 1..300),
            steps in prop::collection::vec(0u64..40, 1..100),
            equal in any::<bool>(),
        ) {
            let mut book = Book::new(7);
            for cost in &costs {
                book.append(if equal { costs[0] } else { *cost });
            }
            for step in steps {
                book.trim(book.acked() + step);
                if equal {
                    prop_assert_eq!(book.status().bytes, book.status().depth * costs[0]);
                }
            }
            book.trim(u64::MAX);
            prop_assert!(book.is_empty());
            prop_assert_eq!((book.status().bytes, book.blocks.len()), (0, 0));
            prop_assert_eq!(book.acked(), 7 + costs.len() as u64);
        }
    }

    #[test]
    fn a_restored_queue_counts_down_to_zero() {
        let mut book = Book::restored(QueueState { acked: 10, last: 20, bytes: 1005 });
        book.trim(15);
        assert_eq!((book.status().depth, book.status().bytes), (5, 503));
        assert!(!book.has_room(500, 1000));
        assert_eq!(book.drop_oldest(500, 1000), 16);
        book.trim(20);
        assert_eq!((book.status().bytes, book.status().dropped), (0, 1));
    }
}
