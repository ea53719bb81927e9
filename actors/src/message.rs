//! A message on its way from a module to wherever its routes lead.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

/// One published message. Cheap to clone: the payload is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The device whose module published it.
    pub origin: DeviceId,
    /// The publishing module, without its workload: `sensor`.
    pub source: String,
    /// The topic as the module published it: `observations`.
    pub topic: String,
    /// The body, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
    /// Wall-clock milliseconds since the Unix epoch, read by the origin when it accepted the message.
    pub accepted_ms: u64,
}

/// The largest payload a device accepts. Larger publishes are refused at the MQTT listener.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The most messages in one batch on a wire.
pub const MAX_BATCH_MESSAGES: usize = 1024;

/// The most payload bytes in one batch on a wire (one message may exceed it and then goes alone).
pub const MAX_BATCH_BYTES: usize = 1 << 20;

impl Message {
    /// What this message costs a queue or a window: payload, names and a fixed overhead.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.payload.len() + self.topic.len() + self.source.len() + 64
    }
}

/// Consecutive messages of one queue, as they travel to a device or to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The route they follow: `workload/route`.
    pub route: String,
    /// Which life of the origin's store numbered them; a new store counts from 1 again.
    pub epoch: u64,
    /// The number that comes before `first_seq` in what is sent: usually `first_seq - 1`, less where
    /// the queue dropped or lost a part. A receiver that has not stored up to here has missed a batch.
    pub after: u64,
    /// Sequence number of the first message; the rest follow without gaps.
    pub first_seq: u64,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

/// Everything up to and including `upto` is stored where it was going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// The route that is confirmed.
    pub route: String,
    /// The epoch of the batches that are confirmed.
    pub epoch: u64,
    /// The highest sequence number stored without a gap; 0 when nothing is.
    pub upto: u64,
}
