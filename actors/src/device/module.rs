//! One module: from wanted to running, and back when it ends.

mod machine;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wayside_config::workload::ModuleSpec;

pub use self::machine::{BACKOFF, Module, STABLE_MS, STOP_SLACK_MS};
use crate::report::{Health, ModuleStatus};

/// What can happen to a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It should run like this. A changed specification replaces the container.
    Wanted {
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// Of the specification and what the daemon adds; a container carries it as a label.
        spec_hash: String,
    },
    /// It should not be here.
    Unwanted,
    /// The engine already has a container for it, made from the specification with this hash.
    Found {
        /// The container.
        container: String,
        /// The hash that its label carries.
        spec_hash: String,
        /// Whether it runs.
        running: bool,
        /// How it ended; `None` while it runs or when it was never started.
        exit_code: Option<i64>,
        /// What its health check says; `None` without one.
        health: Option<Health>,
    },
    /// Its health check says something new.
    Health {
        /// The container.
        container: String,
        /// What.
        health: Health,
        /// The last that the check wrote, at most [`crate::report::MAX_OUTPUT_BYTES`].
        output: String,
    },
    /// The engine has no container for it.
    Missing,
    /// The engine made it.
    Created {
        /// The container.
        container: String,
        /// From the request.
        spec_hash: String,
    },
    /// The engine started it.
    Started {
        /// The container.
        container: String,
    },
    /// Its main process ended.
    Exited {
        /// The container.
        container: String,
        /// The exit code.
        code: i64,
    },
    /// The container is gone, by our request or by somebody else's.
    Removed {
        /// The container.
        container: String,
    },
    /// The engine could not do what was asked.
    Failed {
        /// The container that something was asked of; `None` when one could not be made.
        container: Option<String>,
        /// In words, with what to do.
        problem: String,
    },
    /// An operator wants it to be started again, whatever its restart policy says.
    Restart,
    /// The time asked for has come.
    Woken,
}

/// What a module wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// See [`crate::device::io::Engine::Create`].
    Create {
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// For its label.
        spec_hash: String,
    },
    /// See [`crate::device::io::Engine::Prepare`].
    Prepare {
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// For its label.
        spec_hash: String,
        /// What the one that runs has to end, in milliseconds.
        grace_ms: u64,
    },
    /// See [`crate::device::io::Engine::Start`].
    Start {
        /// The container.
        container: String,
    },
    /// See [`crate::device::io::Engine::Stop`].
    Stop {
        /// The container.
        container: String,
        /// Milliseconds between the stop signal and the kill.
        grace_ms: u64,
    },
    /// See [`crate::device::io::Engine::Remove`].
    Remove {
        /// The container.
        container: String,
    },
    /// How it is doing, and the hash of the specification that it was told last; empty when it is not wanted.
    Report(ModuleStatus, String),
    /// It is gone for good; its actor may end.
    Gone,
}
