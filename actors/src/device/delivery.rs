//! One queue's way out: a window of unconfirmed messages, sent again when nothing is heard.

mod machine;
#[cfg(test)]
mod tests;
mod window;

use serde::{Deserialize, Serialize};
use wayside_config::workload::{BatchRule, Route};

pub use self::machine::{Delivery, REFUSED, SILENCE, WINDOW_BYTES, WINDOW_MESSAGES};
use crate::{message::Message, queue::StoreOp};

/// How a route wants its messages sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// 0 to 9: its share of a link.
    pub priority: u8,
    /// How long a message may wait, in milliseconds of its origin's clock.
    pub ttl_ms: Option<u64>,
    /// Messages of other devices are among them: no clock of this device says how old they are.
    pub has_come: bool,
    /// When a batch is full.
    pub batch: Option<BatchRule>,
}

impl Terms {
    /// Of a route that says nothing.
    pub const USUAL: Self = Self { priority: Route::PRIORITY, ttl_ms: None, has_come: false, batch: None };
}

/// What can happen to a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The queue holds messages up to `last`.
    Appended {
        /// Everything up to this number is confirmed or dropped.
        acked: u64,
        /// The queue's last number.
        last: u64,
        /// How they are to be sent.
        terms: Terms,
    },
    /// Messages up to this number are no longer there.
    Skipped {
        /// The highest dropped number.
        upto: u64,
    },
    /// The destination can be reached.
    Up,
    /// The destination cannot be reached.
    Down,
    /// Messages that were asked for.
    Loaded {
        /// The number that was asked for.
        from: u64,
        /// Number of the first one. Higher than `from` where the store lost a part.
        first_seq: u64,
        /// Consecutive messages. Empty when the store has none to give: then everything before
        /// `first_seq` is lost, and with `first_seq` equal to `from` it may be asked again later.
        messages: Vec<Message>,
        /// Wall clock when they were read, milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// The destination has stored everything up to this number.
    Acked {
        /// The epoch that the confirmation names; `None` from a module's session.
        epoch: Option<u64>,
        /// The highest number stored.
        upto: u64,
    },
    /// The time asked for has come.
    Woken,
}

/// What a delivery wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// See [`crate::device::io::Store::Load`].
    Load {
        /// First number wanted.
        from: u64,
        /// At most this many.
        max_messages: usize,
        /// At most about this many bytes.
        max_bytes: usize,
    },
    /// Say whether the destination can be reached: answered by `Up` or `Down`.
    AskUp,
    /// Send to the queue's endpoint.
    Send {
        /// The store's epoch.
        epoch: u64,
        /// See [`crate::message::Batch::after`].
        after: u64,
        /// Number of the first one.
        first_seq: u64,
        /// The messages.
        messages: Vec<Message>,
    },
    /// Trim the store: a persist step.
    Store(StoreOp),
    /// The router may count the room as free.
    Trimmed {
        /// The highest confirmed number.
        upto: u64,
        /// How many messages were left out since the last time, for they had waited too long.
        expired: u64,
    },
}
