//! What a device says of itself: full once, then what changed.

mod drift;
mod parts;
mod usage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::{identity::DeviceId, limits};

pub use self::{
    drift::{Drift, MAX_DRIFT, MAX_DRIFT_WORD_BYTES},
    usage::{
        BOOT_STEP_MS, CLOCK_FAR_MS, CLOCK_STEP_MS, CPU_STEP_MILLIS, ClockOffset, FREE_STEP_PER_MILLE,
        LOAD_STEP_MILLIS, MAX_DIGEST_BYTES, MAX_VERSION_BYTES, MEMORY_STEP_BYTES, System, Usage,
    },
};

/// Modules that a device reports.
pub const MAX_MODULES: usize = limits::WORKLOADS * limits::MODULES;
/// Queues that a device reports.
pub const MAX_QUEUES: usize = limits::WORKLOADS * limits::ROUTES;
/// Routes that a device reports.
pub const MAX_ROUTES: usize = limits::WORKLOADS * limits::ROUTES;
/// Workloads that a device reports.
pub const MAX_WORKLOADS: usize = limits::WORKLOADS;
/// Neighbours that a device reports.
pub const MAX_PEERS: usize = limits::MEMBERS;
/// Problems of its own that a device reports.
pub const MAX_PROBLEMS: usize = 100;
/// One problem, of a device or of a module, in bytes.
pub const MAX_PROBLEM_BYTES: usize = 2048;
/// The name of a reported module, queue or route, in bytes.
pub const MAX_REPORTED_NAME_BYTES: usize = 512;

/// About the most that one report is, by [`Report::cost_bytes`]: well below the largest frame. What is more comes in
/// several.
pub const MAX_REPORT_BYTES: usize = 1 << 20;

/// What an entry of a report costs besides its texts, on a wire or in memory.
const ENTRY_BYTES: usize = 96;

/// How a module is doing, as its machine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Where it is in its life.
    pub state: ModuleState,
    /// The image its release names.
    pub image: String,
    /// Starts after the first one, since this specification was wanted.
    pub restarts: u32,
    /// The last exit code, when it has exited.
    pub exit_code: Option<i64>,
    /// The last failure in words, with what to do; empty when all is well.
    pub problem: String,
    /// What its health check says, while it runs and has one.
    #[serde(default)]
    pub health: Option<Health>,
    /// The last that the check wrote, when it is not well.
    #[serde(default)]
    pub output: String,
}

/// The last that a health check wrote is kept in so many bytes.
pub const MAX_OUTPUT_BYTES: usize = 1024;

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nothing yet.
    Starting,
    /// It is well.
    Healthy,
    /// It failed as often in a row as makes it so.
    Unhealthy,
}

impl Health {
    /// The word for it that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Where a module is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleState {
    /// Its container is being made.
    Creating,
    /// Its container is being started.
    Starting,
    /// Its container runs.
    Running,
    /// It ended and will be started again when its back-off is over.
    BackOff,
    /// It ended and its restart policy says to leave it so.
    Ended,
    /// It is being stopped or removed.
    Stopping,
    /// It cannot be run; `problem` says why. It is tried again with back-off.
    Failed,
}

impl ModuleState {
    /// The word for it that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackOff => "back-off",
            Self::Ended => "ended",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// How a workload is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// The version that runs; 0 while the first one is prepared.
    pub version: u64,
    /// The version that is prepared to run in its place.
    pub coming: Option<u64>,
    /// Where it is on its way from one to the next.
    pub phase: Phase,
    /// Why a version waits, was taken back, or fails; empty when all is well.
    pub problem: String,
}

/// Where a workload is on its way from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// What is coming is being got; the version before runs on.
    Preparing,
    /// What changed is stopped, made and started.
    Switching,
    /// What changed runs, and has not run for long enough.
    Probation,
    /// A version was taken back, and the one before does not run whole again yet.
    RollingBack,
    /// It runs.
    Running,
}

impl Phase {
    /// The word for it that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Switching => "switching",
            Self::Probation => "probation",
            Self::RollingBack => "rolling-back",
            Self::Running => "running",
        }
    }
}

/// What one queue holds and has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Messages waiting.
    pub depth: u64,
    /// Bytes waiting.
    pub bytes: u64,
    /// Messages appended since the daemon started.
    pub appended: u64,
    /// Messages dropped because the queue was full, since the daemon started.
    pub dropped: u64,
    /// Messages dropped because they waited longer than their route says, since the daemon started.
    pub expired: u64,
}

/// What one route has left out since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Messages for which its condition did not hold.
    pub refused: u64,
    /// Messages for which its condition had no answer.
    pub failed: u64,
    /// Messages that its sample did not take.
    pub left_out: u64,
    /// Messages that a best-effort route could not deliver: nobody was there to take them, or not fast enough.
    pub lost: u64,
}

/// A report: everything (`full`), or what changed since the report before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// 1 for a full report, then up by one with each delta. A connection begins with a full one.
    pub number: u64,
    /// Whether this replaces all that was reported before.
    pub full: bool,
    /// Modules that are new or changed, by `workload/module`.
    pub modules: BTreeMap<String, ModuleStatus>,
    /// Modules that are gone.
    pub modules_gone: Vec<String>,
    /// Queues that are new or changed, by their display name.
    pub queues: BTreeMap<String, QueueStatus>,
    /// Queues that are gone.
    pub queues_gone: Vec<String>,
    /// Routes that have left out more, by `workload/route`.
    pub routes: BTreeMap<String, RouteStatus>,
    /// Routes that are gone.
    pub routes_gone: Vec<String>,
    /// Workloads that are new or changed, by name.
    #[serde(default)]
    pub workloads: BTreeMap<String, WorkloadStatus>,
    /// Workloads that are gone.
    #[serde(default)]
    pub workloads_gone: Vec<String>,
    /// Neighbours on the mesh, when they changed.
    pub peers: Option<Vec<DeviceId>>,
    /// The version of the assignment that the device holds, when it changed.
    pub assignment: Option<u64>,
    /// Publishes since the daemon started that a leaf may make and no route wanted, when that changed.
    pub unrouted: Option<u64>,
    /// Batches of neighbours since the daemon started that they may not send here, when that changed.
    pub refused: Option<u64>,
    /// What is wrong with the device itself (no engine, disk full, ...), when it changed.
    pub problems: Option<Vec<String>>,
    /// What modules use that is new or changed, by `workload/module`. It goes with its module.
    #[serde(default)]
    pub usage: BTreeMap<String, Usage>,
    /// How the machine is, when it changed.
    #[serde(default)]
    pub system: Option<System>,
    /// How far its clock is from the cloud's, when that changed.
    #[serde(default)]
    pub clock: Option<ClockOffset>,
    /// What is not as it should be, new or changed: `workload` or `workload/module`.
    #[serde(default)]
    pub drift: BTreeMap<String, Drift>,
    /// What is as it should be again, or is not wanted any more.
    #[serde(default)]
    pub drift_gone: Vec<String>,
}

impl Report {
    /// About what it costs to keep: its texts and a fixed overhead an entry.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| queue_cost_bytes(text)).sum::<usize>();
        self.modules.iter().map(|(name, status)| module_cost_bytes(name, status)).sum::<usize>()
            + self.queues.keys().map(|name| queue_cost_bytes(name)).sum::<usize>()
            + texts(&self.modules_gone)
            + texts(&self.queues_gone)
            + self.routes.keys().map(|name| queue_cost_bytes(name)).sum::<usize>()
            + texts(&self.routes_gone)
            + self.workloads.iter().map(|(name, status)| workload_cost_bytes(name, status)).sum::<usize>()
            + texts(&self.workloads_gone)
            + texts(self.problems.as_deref().unwrap_or_default())
            + self.usage.iter().map(|(name, usage)| usage_cost_bytes(name, usage)).sum::<usize>()
            + self.drift.iter().map(|(name, drift)| drift_cost_bytes(name, drift)).sum::<usize>()
            + texts(&self.drift_gone)
            + self.system.as_ref().map_or(0, |system| system.engine.len() + system.kernel.len() + ENTRY_BYTES)
            + self.peers.as_ref().map_or(0, |peers| size_of_val(peers.as_slice()))
    }

    /// Brings what was known so far up to date with a newer report.
    pub fn merge(&mut self, newer: Self) {
        if newer.full {
            *self = newer;
            return;
        }
        self.number = newer.number;
        for gone in &newer.modules_gone {
            self.modules.remove(gone);
            self.usage.remove(gone);
        }
        for gone in &newer.drift_gone {
            self.drift.remove(gone);
        }
        for gone in &newer.queues_gone {
            self.queues.remove(gone);
        }
        for gone in &newer.routes_gone {
            self.routes.remove(gone);
        }
        for gone in &newer.workloads_gone {
            self.workloads.remove(gone);
        }
        self.workloads.extend(newer.workloads);
        self.routes.extend(newer.routes);
        self.modules.extend(newer.modules);
        self.queues.extend(newer.queues);
        self.peers = newer.peers.or_else(|| self.peers.take());
        self.assignment = newer.assignment.or(self.assignment);
        self.unrouted = newer.unrouted.or(self.unrouted);
        self.refused = newer.refused.or(self.refused);
        self.problems = newer.problems.or_else(|| self.problems.take());
        self.usage.extend(newer.usage);
        self.drift.extend(newer.drift);
        self.system = newer.system.or_else(|| self.system.take());
        self.clock = newer.clock.or(self.clock);
    }
}

/// What a reported module costs to keep.
pub(crate) fn module_cost_bytes(name: &str, status: &ModuleStatus) -> usize {
    name.len() + status.image.len() + status.problem.len() + status.output.len() + ENTRY_BYTES
}

/// What a reported workload costs to keep.
pub(crate) fn workload_cost_bytes(name: &str, status: &WorkloadStatus) -> usize {
    name.len() + status.problem.len() + ENTRY_BYTES
}

/// What a reported queue or route, or another text alone, costs to keep.
pub(crate) const fn queue_cost_bytes(name: &str) -> usize {
    name.len() + ENTRY_BYTES
}

/// What the usage of a module costs to keep.
pub(crate) const fn usage_cost_bytes(name: &str, usage: &Usage) -> usize {
    name.len() + usage.digest.len() + ENTRY_BYTES
}

/// What a reported drift costs to keep.
pub(crate) const fn drift_cost_bytes(name: &str, drift: &Drift) -> usize {
    name.len() + drift.desired.len() + drift.reported.len() + drift.why.len() + ENTRY_BYTES
}
