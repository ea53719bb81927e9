//! A message on its way from a module to wherever its routes lead.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{identity::DeviceId, text::Text};

/// One published message. Cheap to clone: what is large or common is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The device whose module published it.
    pub origin: DeviceId,
    /// The publishing module, without its workload: `sensor`.
    pub source: Text,
    /// The topic as the module published it: `observations`.
    pub topic: Text,
    /// What its publisher says of the body, at most [`MAX_PROPERTIES`].
    pub properties: Properties,
    /// The body, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
    /// Wall-clock milliseconds since the Unix epoch, read by the origin when it accepted the message.
    pub accepted_ms: u64,
}

/// What a publisher says of a body, by name: MQTT 5's user properties, and under the names in [`property`] others of
/// its properties. Of a name that comes twice the last one counts.
pub type Properties = BTreeMap<String, String>;

/// Names of properties that MQTT 5 has fields of its own for. No user property begins with `$`.
pub mod property {
    /// What kind of body it is: MQTT 5's content type.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Where an answer is expected.
    pub const RESPONSE_TOPIC: &str = "$response-topic";
    /// What an answer is recognised by, in hexadecimal.
    pub const CORRELATION_DATA: &str = "$correlation-data";
    /// `utf-8` where the body is text.
    pub const PAYLOAD_FORMAT: &str = "$payload-format";
    /// It is the one to be retained of its topic.
    pub const RETAIN: &str = "$retain";
    /// How many seconds after it was accepted it is of no use any more.
    pub const EXPIRY: &str = "$expiry";
}

/// The most properties of one message.
pub const MAX_PROPERTIES: usize = 32;

/// The most bytes of a property's name, or of its value.
pub const MAX_PROPERTY_BYTES: usize = 256;

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
        let properties: usize =
            self.properties.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
        self.payload.len() + self.topic.len() + self.source.len() + properties + 64
    }

    /// How long after it was accepted it is of no use any more, in milliseconds, if it says so.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        let seconds: u32 = self.properties.get(property::EXPIRY)?.parse().ok()?;
        Some(u64::from(seconds) * 1000)
    }

    /// Whether it is to be retained.
    #[must_use]
    pub fn is_to_be_retained(&self) -> bool {
        self.properties.contains_key(property::RETAIN)
    }

    /// The topic under which a module gets it: `device/module/topic`.
    #[must_use]
    pub fn topic_from(&self, device_name: &str) -> String {
        format!("{device_name}/{}/{}", self.source, self.topic)
    }
}

/// Consecutive messages of one queue, as they travel to a device or to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The route they follow: `workload/route`.
    pub route: String,
    /// Which life of the origin's store numbered them; a new store counts from 1 again.
    pub epoch: u64,
    /// The last number of the unconfirmed batch that was sent just before this one; 0 when there is
    /// none, for then everything before `first_seq` is settled: confirmed, or dropped by its queue.
    /// A receiver that has not stored up to here has missed a batch: it stores nothing and confirms
    /// what it has. One that has takes the messages beyond what it has stored. In an epoch that it
    /// does not know it has stored up to 0.
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
