//! The durable queues of a device.
//!
//! Callers know [`QueueStore`]; behind it, [`SledStore`] keeps a queue of segments, each a sled database and
//! a log of messages that it names: the newest is written by one thread, many commits as one; it also says what
//! is in the others, so that opening does not depend on how much is queued. A segment that nobody needs is deleted as a
//! whole, and damage costs one segment at most.

mod batch;
mod compact;
mod entry;
mod folder;
mod group;
mod index;
mod load;
mod log;
mod record;
mod restore;
mod rouser;
mod segment;
mod shared;
mod sled_store;
mod staged;
mod steps;
#[cfg(test)]
mod tests;
mod writer;

use std::{future::Future, pin::Pin, sync::Arc};

use wayside_actors::{
    message::Message,
    queue::{Queue, QueueState, StoreOp},
};

pub use self::sled_store::{SledStore, StoreSettings};

/// A commit under way: ready when everything of it is on stable storage.
pub type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Durable queues and marks.
pub trait QueueStore: Send + Sync {
    /// Stores `changes` together or not at all. Commits are done in the order in which they were asked
    /// for, many waiting ones as one write. The work begins at once, not with the first poll.
    fn commit(&self, changes: Arc<Vec<StoreOp>>) -> Commit;

    /// Reads consecutive messages from number `from` on: at most `max_messages`, and about `max_bytes`
    /// of [`Message::cost_bytes`], but at least one message if there is one. Blocks on the disk.
    ///
    /// # Errors
    /// When the queue is not known or the disk fails. Damage is no error: see [`Loaded::first_seq`].
    fn load(
        &self,
        queue: &Queue,
        from: u64,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Loaded, StoreError>;

    /// What it holds now, as if it were opened now: for a router that is made again after a failure.
    /// After a write failed it is opened again underneath, if the disk allows. Blocks on the disk.
    ///
    /// # Errors
    /// When it was to be opened again and could not.
    fn restored(&self) -> Result<Restored, StoreError>;

    /// How full it is.
    fn stats(&self) -> StoreStats;

    /// What was found damaged since the store was opened, for a person.
    fn problems(&self) -> Vec<String>;
}

/// Messages of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Number of the first message. Higher than asked for where a part was lost or trimmed; when nothing
    /// is left from there on, it is the queue's last number plus one and `messages` is empty.
    pub first_seq: u64,
    /// Consecutive messages.
    pub messages: Vec<Message>,
}

/// What a store held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Which life of the store this is: random, made with it.
    pub epoch: u64,
    /// The queues, in order. `bytes` is exact but for the segment in which the acknowledged position lies.
    pub queues: Vec<(Queue, QueueState)>,
    /// Marks by name, in order.
    pub marks: Vec<(String, Vec<u8>)>,
    /// What was damaged and moved aside, for a person.
    pub problems: Vec<String>,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes written to the segments that still exist.
    pub disk_bytes: u64,
    /// The limit of that.
    pub max_bytes: u64,
    /// Segments, the one that is written among them.
    pub segments: usize,
    /// Group commits since it was opened.
    pub commits: u64,
}

/// Why the store did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room within the store's own limit. Nothing was stored; trims and marks still go through.
    #[error(
        "the queues hold {used_bytes} bytes, their limit is {max_bytes}: reconnect what they wait for, or raise `store.max_bytes`"
    )]
    Full {
        /// What the segments take.
        used_bytes: u64,
        /// What they may take.
        max_bytes: u64,
    },
    /// The disk is full.
    #[error("the disk is full: free space under {path}, then restart the daemon")]
    DiskFull {
        /// The store's directory.
        path: String,
    },
    /// The disk failed. The store takes no more changes until it is opened again.
    #[error("writing the queues failed: {0}; check the disk, then restart the daemon")]
    Failed(String),
    /// An earlier write failed: what is on the disk is not known, so nothing more is accepted.
    #[error(
        "the queues take no more changes since a write failed ({0}); check the disk, then restart the daemon"
    )]
    Poisoned(String),
    /// There is no such queue.
    #[error("no queue {0}")]
    UnknownQueue(String),
    /// Another daemon has the store open.
    #[error("the queues under {path} are in use by another process: stop it first")]
    Locked {
        /// The store's directory.
        path: String,
    },
    /// The change makes no sense: an append that leaves a gap, a mark that is too large.
    #[error("refused a change to the queues: {0}")]
    Invalid(String),
}
