//! Desired against observed: which modules should be here, and which containers should not.

mod check;
mod course;
mod floors;
mod images;
mod life;
mod locks;
mod machine;
mod ports;
mod preparing;
mod room;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
    patch::Properties,
    workload::{ModuleId, ModuleSpec},
};

pub use self::{
    course::STARTS,
    floors::Floors,
    images::Pulled,
    life::{Life, TakenBack, Version},
    locks::{LOCK_MAX_MS, Lock, Locks, Owner, REASON_BYTES},
    machine::{LIST_MS, Reconciler, SWEEP_MS},
    preparing::{NotPulled, RETRY},
    room::{Disk, FREE_MIN_BYTES, FREE_MIN_PERCENT},
    trial::FAILURES,
};
use crate::{
    device::{access::Client, router::RouteTable},
    frame::Desired,
    report::{Health, ModuleStatus, WorkloadStatus},
    time::Time,
};

/// What can happen to the reconciler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Signatures were checked by the adapter; the machine decides on versions and target.
    /// At start, the persisted desired state comes in the same way.
    Desired {
        /// The bytes, to persist and to pass on.
        sealed: Desired,
        /// What they say.
        assignment: Box<Assignment>,
        /// What they say.
        releases: Vec<Release>,
        /// Who signed the assignment.
        by: Assigner,
        /// Whether this was read from this device's own disk.
        restored: bool,
    },
    /// The engine's answer to `List`.
    Observed {
        /// What the daemon adds to every container (network, broker address, ...), as text. A part
        /// of the specification hash, so a container made with other additions is replaced.
        additions: String,
        /// The containers that carry this device's label.
        containers: Vec<Observed>,
    },
    /// The engine's answer to `Look`.
    Looked {
        /// From the request.
        workload: String,
        /// From the request.
        images: Vec<String>,
        /// What it has, or why that is not known.
        found: Result<Images, String>,
    },
    /// An image that was missing was got. Told of each as it comes, for a pull may be given up.
    Got {
        /// By its name in releases.
        image: String,
    },
    /// The engine's answer to `Pull`.
    Pulled {
        /// From the request.
        workload: String,
        /// From the request.
        images: Vec<String>,
        /// Whether all are there.
        result: Result<(), NotPulled>,
    },
    /// The engine's answer to `Space`.
    Space {
        /// Where its images are, when that is known.
        disk: Option<Disk>,
        /// The wall clock, in milliseconds.
        wall_ms: u64,
    },
    /// An image that was to go is gone, or is in use by others.
    ImageGone {
        /// From the request.
        image: String,
    },
    /// The answer to `AskTime`.
    Time {
        /// The wall clock, in milliseconds.
        wall_ms: u64,
    },
    /// Somebody holds updates back, or lets them go on.
    Lock {
        /// Who.
        owner: Owner,
        /// From now on for so long, at most [`LOCK_MAX_MS`]; 0 to let them go on.
        for_ms: u64,
        /// For a person; what is longer than [`REASON_BYTES`] is cut.
        reason: String,
        /// The wall clock, in milliseconds.
        wall_ms: u64,
        /// Answered by `LockTaken` or `LockRefused`, for a module.
        ticket: Option<u64>,
    },
    /// A module said how it is doing.
    Module {
        /// Which.
        module: ModuleId,
        /// Of the specification that it was told last.
        spec_hash: String,
        /// How it is.
        status: ModuleStatus,
    },
    /// What this device was granted for labels is otherwise than it was.
    Labels(BTreeMap<String, String>),
    /// The engine's event stream (re)connected: look again.
    EngineBack,
    /// The engine does not answer.
    EngineLost {
        /// In words, with what to do.
        problem: String,
    },
    /// A module machine was restarted and has forgotten what it was told.
    ModuleRestarted(ModuleId),
    /// A module is gone for good.
    ModuleGone(ModuleId),
    /// The router was restarted: it and the MQTT listener want the routes and modules again.
    RouterRestarted,
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The time asked for has come.
    Woken,
}

/// Whose word an assignment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assigner {
    /// The cloud's: it cannot begin a new numbering.
    Cloud,
    /// An operator's, whom this device obeys.
    Operator,
}

/// A container that carries this device's label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its id.
    pub container: String,
    /// The module its label names; `None` when the label is not readable.
    pub module: Option<ModuleId>,
    /// The specification hash that its label carries.
    pub spec_hash: String,
    /// Whether it runs.
    pub running: bool,
    /// How it ended; `None` while it runs or when it was never started.
    pub exit_code: Option<i64>,
    /// What its health check says; `None` without one.
    pub health: Option<Health>,
}

/// Something that is not as it should be: see [`crate::report::Drift`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// What should be.
    pub desired: String,
    /// What is.
    pub reported: String,
    /// Since when.
    pub since: Time,
    /// Why, where that is known.
    pub why: String,
}

/// What the engine has of the images that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// Those that it does not have.
    pub missing: Vec<String>,
    /// Where it would put them, when that is known.
    pub disk: Option<Disk>,
}

/// What the reconciler wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Persist the highest versions, before the desired state that they are of.
    SaveFloors(Floors),
    /// Persist the desired state.
    Save(Desired),
    /// Persist what is known of a workload, in place of what was.
    SaveLife(String, Box<Life>),
    /// Forget what is known of a workload.
    DropLife(String),
    /// Persist who holds updates back, in place of who did.
    SaveLocks(Locks),
    /// Persist which images were got, in place of what was.
    SavePulled(Pulled),
    /// See [`crate::device::io::Engine::Space`].
    Space,
    /// See [`crate::device::io::Engine::RemoveImage`].
    RemoveImage {
        /// The image.
        image: String,
    },
    /// The lock with this ticket is held, or was let go.
    LockTaken {
        /// From the event.
        ticket: u64,
    },
    /// The lock with this ticket is not taken.
    LockRefused {
        /// From the event.
        ticket: u64,
        /// For a person.
        reason: String,
    },
    /// See [`crate::device::io::Io::AskTime`].
    AskTime,
    /// See [`crate::device::io::Io::TakenBack`].
    TakenBack {
        /// Of this workload.
        workload: String,
        /// The version that does not run any more.
        version: u64,
        /// In words.
        why: String,
    },
    /// See [`crate::device::io::Engine::List`].
    List,
    /// See [`crate::device::io::Engine::Look`].
    Look {
        /// For this workload.
        workload: String,
        /// The images.
        images: Vec<String>,
    },
    /// See [`crate::device::io::Engine::Pull`].
    Pull {
        /// For this workload.
        workload: String,
        /// The images.
        images: Vec<String>,
        /// All that may be downloaded for them, in bytes.
        max_bytes: u64,
    },
    /// The module should run like this.
    Want {
        /// Which.
        module: ModuleId,
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// Of the specification and what the daemon adds.
        spec_hash: String,
    },
    /// The module should not be here.
    Unwant(ModuleId),
    /// What the module depends on was replaced, and it wants to be started again then.
    Restart(ModuleId),
    /// The engine has a container for the module.
    Found(ModuleId, Observed),
    /// The engine has no container for the module.
    Missing(ModuleId),
    /// See [`crate::device::io::Engine::RemoveOrphan`].
    RemoveOrphan {
        /// The container.
        container: String,
    },
    /// The routes that hold now.
    Routes(Box<RouteTable>),
    /// The modules and leaves that may connect over MQTT.
    Clients(Vec<Client>),
    /// All modules, and what is desired of each when its twin begins.
    Twins(Vec<(ModuleId, Option<Properties>)>),
    /// The version of the assignment that holds now.
    Assigned(u64),
    /// Desired state with an assignment of this version is not taken.
    NotTaken {
        /// The version.
        version: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// How a workload is doing.
    Workload(String, WorkloadStatus),
    /// A workload is not on the device any more.
    WorkloadGone(String),
    /// What is not as it should be, `workload` or `workload/module`; `None` when it is again.
    Drift(String, Option<Lag>),
    /// The names of devices in the topics that modules see.
    Names(BTreeMap<DeviceId, String>),
    /// Something is wrong with the device as a whole; an empty list clears it.
    Problems(Vec<String>),
}
