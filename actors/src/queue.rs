//! Queues by name, and what their store must be able to do.

use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};
use wayside_config::{identity::DeviceId, workload::ModuleId};

use crate::message::Message;

/// One durable queue: what one route holds for one place. Cheap to clone: every message on its way names its queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "QueueName", into = "QueueName")]
pub struct Queue(Arc<QueueName>);

/// What a [`Queue`] is told by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueName {
    /// `workload/route`.
    pub route: String,
    /// Where its messages go.
    pub to: Endpoint,
}

impl Queue {
    /// What `route`, `workload/route`, holds for `to`.
    #[must_use]
    pub fn new(route: impl Into<String>, to: Endpoint) -> Self {
        Self(Arc::new(QueueName { route: route.into(), to }))
    }
}

/// By name. Clones are known to be equal without a look at their names.
impl Ord for Queue {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Queue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<QueueName> for Queue {
    fn from(name: QueueName) -> Self {
        Self(Arc::new(name))
    }
}

impl From<Queue> for QueueName {
    fn from(queue: Queue) -> Self {
        Arc::unwrap_or_clone(queue.0)
    }
}

impl Deref for Queue {
    type Target = QueueName;

    fn deref(&self) -> &QueueName {
        &self.0
    }
}

/// Where a queue's messages go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// A module on this device.
    Module(ModuleId),
    /// Another device of the site.
    Device(DeviceId),
    /// The cloud.
    Cloud,
}

/// How far a queue has come. Sequence numbers have no gaps. They start at 1, or higher where a
/// queue of the same name was dropped before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The highest number that its destination confirmed; 0 for none.
    pub acked: u64,
    /// The highest number appended; 0 for none.
    pub last: u64,
    /// Bytes between the two, by [`Message::cost_bytes`].
    pub bytes: u64,
}

/// A change to the queue store. Changes committed together are on the disk together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreOp {
    /// Adds `message` as number `seq`: the queue's last plus one, or any number in a new queue.
    Append {
        /// The queue.
        queue: Queue,
        /// Its new last number.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// Everything up to `upto` is confirmed or dropped and may go. Nothing happens when it is gone
    /// already, or the queue is.
    Trim {
        /// The queue.
        queue: Queue,
        /// The highest confirmed number.
        upto: u64,
    },
    /// Removes the queue and what it holds.
    Drop {
        /// The queue.
        queue: Queue,
    },
    /// Keeps a small value under a name: receiver windows, packet identifiers in flight.
    Mark {
        /// At most 512 bytes.
        key: String,
        /// At most 4 KiB.
        value: Vec<u8>,
    },
    /// Forgets a name.
    Unmark {
        /// The name.
        key: String,
    },
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Endpoint::Module(module) => write!(f, "{} to {module}", self.route),
            Endpoint::Device(device) => write!(f, "{} to device {}", self.route, device.short()),
            Endpoint::Cloud => write!(f, "{} to cloud", self.route),
        }
    }
}
