//! What the device says of itself: gathers, and reports what changed, at most once a second.

mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::{identity::DeviceId, workload::ModuleId};

pub use self::machine::{Health, IDLE_MS, REPORT_MS};
use crate::{
    device::reconciler::Lag,
    queue::Queue,
    report::{ClockOffset, ModuleStatus, QueueStatus, Report, RouteStatus, System, Usage, WorkloadStatus},
};

/// What can happen to health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A module's status.
    Module(ModuleId, ModuleStatus),
    /// A module is gone.
    ModuleGone(ModuleId),
    /// A queue's status.
    Queue(Queue, QueueStatus),
    /// A queue is gone.
    QueueGone(Queue),
    /// What a route, `workload/route`, has left out.
    Route(String, RouteStatus),
    /// A route is gone.
    RouteGone(String),
    /// How a workload is doing.
    Workload(String, WorkloadStatus),
    /// A workload is gone.
    WorkloadGone(String),
    /// The neighbours.
    Peers(Vec<DeviceId>),
    /// The assignment's version.
    Assignment(u64),
    /// Publishes since the daemon started that no route wanted.
    Unrouted(u64),
    /// Batches of neighbours since the daemon started that they may not send here.
    Refused(u64),
    /// What the modules use whose containers run.
    Usage(BTreeMap<ModuleId, Usage>),
    /// How the machine is.
    System {
        /// How.
        system: System,
        /// The device's clock.
        wall_ms: u64,
    },
    /// How far the clock is from the cloud's.
    Clock(ClockOffset),
    /// What is not as it should be, or, with `None`, is again: `workload` or `workload/module`.
    Drift(String, Option<Lag>),
    /// What is wrong, by who noticed it; an empty list clears that source.
    Problems {
        /// `engine`, `mesh`, `uplink`, `store`, ...
        source: String,
        /// In words, with what to do.
        problems: Vec<String>,
    },
    /// Somebody new listens: the next report is full.
    FullWanted,
    /// The time asked for has come.
    Woken,
}

/// What health wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Tell the uplink and the device's own status.
    Report(Box<Report>),
}
