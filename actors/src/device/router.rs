//! Which queues a message goes to, what it is numbered there, and what has been seen before.
//!
//! `compiled` turns routes into what a publish needs, `filters` finds them by topic, `book` counts what a
//! queue holds, `marks` names what is remembered besides messages, `machine` decides.

mod book;
mod compiled;
mod filters;
mod machine;
mod marks;
mod retained;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    identity::DeviceId,
    text::Text,
    workload::{ModuleId, Route},
};

pub use self::machine::{Router, STATUS_MS, WAITING_BYTES, WAITING_PUBLISHES};
pub use self::retained::{RETAINED_BYTES, RETAINED_MESSAGE_BYTES};
use crate::{
    device::{delivery::Terms, io::Members},
    message::{Batch, Confirm, Message, Properties},
    queue::{Queue, StoreOp},
    report::{QueueStatus, RouteStatus},
};

/// The routes of all workloads on this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// By workload.
    pub workloads: BTreeMap<String, WorkloadRoutes>,
}

/// The routes of one workload and the devices that run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRoutes {
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// This device is one of them.
    pub members: Members,
    /// Who publishes and is delivered to here: its modules and leaves. What is remembered of others is forgotten.
    #[serde(default)]
    pub clients: BTreeSet<String>,
    /// Filters of what leaves may publish besides what routes take from them, by leaf.
    #[serde(default)]
    pub granted: BTreeMap<String, Vec<String>>,
}

/// What can happen to the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The routes that hold from now on.
    Routes(Box<RouteTable>),
    /// A module published.
    Published {
        /// Answered by `Accept`, `Deny` or `Refuse` with the same ticket.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// Its topic.
        topic: Text,
        /// What it says of the body.
        properties: Properties,
        /// The body.
        payload: Bytes,
        /// Wall clock at arrival, milliseconds since the Unix epoch.
        wall_ms: u64,
        /// For QoS 2: the packet identifier, remembered in the same commit so that a
        /// redelivery after a crash is no second message.
        packet_id: Option<u16>,
    },
    /// For QoS 2: the module released the identifier; it is forgotten before `Accept`.
    Released {
        /// Answered by `Accept` with the same ticket.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// The identifier.
        packet_id: u16,
    },
    /// The module began a clean session: its identifiers are forgotten.
    SessionCleared {
        /// Who.
        module: ModuleId,
    },
    /// What the listener wants to find again after a restart under [`session_mark`]: who the client
    /// is and what it subscribes to. A client is told of its session only once it is kept.
    Session {
        /// Answered by `Accept` (or `Refuse`, where it cannot be kept) with the same ticket.
        ticket: u64,
        /// Whose.
        module: ModuleId,
        /// The mark's value, at most 4 KiB; `None` removes the mark.
        kept: Option<Vec<u8>>,
    },
    /// What the listener wants to find again after a restart under [`flights_mark`]: the QoS 2 messages that are on
    /// their way to the client. They go no further before it is kept. Gone with the session.
    Flights {
        /// Answered by `Accept` with the same ticket.
        ticket: u64,
        /// Whose.
        module: ModuleId,
        /// The mark's value, at most 4 KiB.
        kept: Vec<u8>,
    },
    /// The module subscribed to something new: what is retained of what routes bring to it is wanted.
    Subscribed {
        /// Who.
        module: ModuleId,
        /// Wall clock, milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// The module's connection ended: its publishes that wait for room are forgotten unanswered,
    /// for it sends them again when it is back.
    Disconnected {
        /// Who.
        module: ModuleId,
    },
    /// Messages came from a neighbour.
    Arrived {
        /// The neighbour, by its key.
        from: DeviceId,
        /// What.
        batch: Batch,
    },
    /// A message of a best-effort route came from a neighbour.
    Forwarded {
        /// The neighbour, by its key.
        from: DeviceId,
        /// `workload/route`.
        route: String,
        /// What.
        message: Message,
    },
    /// Messages of a best-effort route did not reach whom they were for.
    Lost {
        /// `workload/route`.
        route: String,
        /// How many, since this was told last.
        messages: u64,
    },
    /// A delivery machine confirmed: the queue has room again.
    Trimmed {
        /// The queue.
        queue: Queue,
        /// The highest confirmed number.
        upto: u64,
        /// How many messages were left out on the way, for they had waited too long.
        expired: u64,
    },
    /// A delivery machine was restarted and has forgotten how far its queue is.
    DeliveryRestarted(Queue),
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The time asked for has come.
    Woken,
}

/// The name of the mark that holds a module's MQTT session.
#[must_use]
pub fn session_mark(module: &ModuleId) -> String {
    format!("session/{module}")
}

/// The name of the mark that holds what is on its way to a module at QoS 2.
#[must_use]
pub fn flights_mark(module: &ModuleId) -> String {
    format!("flights/{module}")
}

/// What the router wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Change the store: always a persist step.
    Store(StoreOp),
    /// See [`crate::device::io::Mqtt::Accept`].
    Accept {
        /// The ticket.
        ticket: u64,
    },
    /// See [`crate::device::io::Mqtt::Deny`].
    Deny {
        /// The ticket.
        ticket: u64,
    },
    /// See [`crate::device::io::Mqtt::Refuse`].
    Refuse {
        /// The ticket.
        ticket: u64,
        /// For a person.
        reason: String,
    },
    /// See [`crate::device::io::Mqtt::Retained`]. Answers each `Subscribed`.
    Retained {
        /// Whose.
        module: ModuleId,
        /// All that a route would bring to it.
        messages: Vec<Message>,
    },
    /// Tell the origin how far its messages are stored here.
    Confirm {
        /// The origin.
        to: DeviceId,
        /// How far.
        confirm: Confirm,
    },
    /// The queue holds messages up to `last`. Starts its delivery machine if there is none.
    Appended {
        /// The queue.
        queue: Queue,
        /// Everything up to this number is confirmed or dropped.
        acked: u64,
        /// Its last number.
        last: u64,
        /// How they are to be sent.
        terms: Terms,
    },
    /// Messages up to this number were dropped (queue full): its delivery machine skips them.
    Skipped {
        /// The queue.
        queue: Queue,
        /// The highest dropped number.
        upto: u64,
    },
    /// No route leads to this queue any more; its delivery machine ends.
    Closed(Queue),
    /// Send this now to the queue's endpoint, or not at all: its route keeps nothing.
    Forward {
        /// Of this name and endpoint; it is not in the store.
        queue: Queue,
        /// What.
        message: Message,
    },
    /// What a queue holds, when it changed.
    Status(Queue, QueueStatus),
    /// A queue is gone.
    StatusGone(Queue),
    /// What a route has left out, when that changed. Routes that took everything are not named.
    RouteStatus(String, RouteStatus),
    /// A route of which something was told is gone.
    RouteGone(String),
    /// Publishes since the daemon started that a leaf may make and no route wanted, when that changed.
    Unrouted(u64),
    /// Messages since the daemon started that were to be retained and had no room, when that changed.
    NotRetained(u64),
    /// Batches of neighbours since the daemon started that they may not send here, when that changed.
    Refused(u64),
}
