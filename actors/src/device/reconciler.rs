//! Desired against observed: which modules should be here, and which containers should not.

mod check;
mod course;
mod floors;
mod life;
mod machine;
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
    life::{Life, TakenBack, Version},
    machine::{LIST_MS, Reconciler},
    preparing::RETRY,
    room::{Disk, FREE_MIN_BYTES, FREE_MIN_PERCENT},
    trial::FAILURES,
};
use crate::{
    device::{access::Client, router::RouteTable},
    frame::Desired,
    report::{Health, ModuleStatus, WorkloadStatus},
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
    /// The engine's answer to `Pull`.
    Pulled {
        /// From the request.
        workload: String,
        /// From the request.
        images: Vec<String>,
        /// In words what went wrong, with what to do.
        result: Result<(), String>,
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
    /// How a workload is doing.
    Workload(String, WorkloadStatus),
    /// A workload is not on the device any more.
    WorkloadGone(String),
    /// The names of devices in the topics that modules see.
    Names(BTreeMap<DeviceId, String>),
    /// Something is wrong with the device as a whole; an empty list clears it.
    Problems(Vec<String>),
}
