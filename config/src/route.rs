//! A route: which messages of a module go where, and how.

use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// Where messages of a module go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name within the workload.
    pub name: String,
    /// The publishing module, a service of the same workload.
    pub module: String,
    /// MQTT topic filter over what that module publishes.
    pub filter: String,
    /// Where to.
    pub to: Destination,
    /// Which of these messages; all without one. What cannot be evaluated does not go this way, and is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// 0 to [`crate::limits::PRIORITY_MAX`]: how much of a scarce link it gets. A low one gets less, never nothing.
    #[serde(default = "default_priority", skip_serializing_if = "is_default_priority")]
    pub priority: u8,
    /// Milliseconds after which a message that still waits is dropped, and counted; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Whether its messages are kept until they have arrived.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivery: Delivery,
    /// The most bytes that one queue of this route holds.
    pub buffer_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenFull,
    /// When to send: at once without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRule>,
    /// Which of the messages that match: all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// What becomes of what waits when the route is taken away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when_removed: WhenRemoved,
}

impl Route {
    /// The bound of a queue when the file does not say.
    pub const BUFFER_BYTES: u64 = 256 << 20;
    /// The priority when the file does not say.
    pub const PRIORITY: u8 = 4;

    /// A route with everything else as it is when the file does not say.
    #[must_use]
    pub fn new(name: &str, module: &str, filter: &str, to: Destination) -> Self {
        Self {
            name: name.into(),
            module: module.into(),
            filter: filter.into(),
            to,
            condition: None,
            priority: Self::PRIORITY,
            ttl_ms: None,
            delivery: Delivery::default(),
            buffer_bytes: Self::BUFFER_BYTES,
            when_full: WhenFull::default(),
            batch: None,
            sample: None,
            when_removed: WhenRemoved::default(),
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// A module of the same workload on the same device.
    Module(String),
    /// That module on every device that runs the workload, this one among them.
    Site(String),
    /// That module on one device of the workload.
    Device {
        /// Its name.
        device: String,
        /// The module.
        module: String,
    },
    /// That module on the devices of the workload for which the condition on `labels` and `name` holds.
    Where {
        /// Over a device's labels and name.
        condition: Condition,
        /// The module.
        module: String,
    },
    /// The cloud.
    Cloud,
}

/// Whether messages are kept until they have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Stored before the publisher hears that they are, sent until they are confirmed.
    #[default]
    AtLeastOnce,
    /// Sent once, not stored: what cannot go now is dropped. The mesh counts it; a module's session does not.
    BestEffort,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenFull {
    /// Does not acknowledge the publisher until there is room: nothing is lost, the publisher waits.
    #[default]
    PushBack,
    /// Drops the oldest message, counted.
    DropOldest,
    /// Drops the new message, counted.
    DropNewest,
}

/// When the messages of a queue are sent: when there are so many, or the first has waited so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRule {
    /// 2 to [`crate::limits::BATCH_MESSAGES`].
    pub messages: u32,
    /// 1 to [`crate::limits::BATCH_WAIT_MS`].
    pub within_ms: u64,
}

/// Which of the messages that match are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sample {
    /// The first and then each so-many-th.
    Every(u32),
    /// The first, and then the first after each so many milliseconds.
    IntervalMs(u64),
}

/// What becomes of the messages that wait when a route is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenRemoved {
    /// They are dropped.
    #[default]
    Drop,
    /// They are still delivered, as long as there is somewhere to deliver them to.
    Drain,
}

const fn default_priority() -> u8 {
    Route::PRIORITY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_default_priority(priority: &u8) -> bool {
    *priority == Route::PRIORITY
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
