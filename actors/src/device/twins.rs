//! Twins of modules: what operators want of each, and what it says of itself, changed without restarting it.
//!
//! One machine owns all twins of the device. A twin begins when its module, or an operator, first looks, or with its
//! module where the workload says what is desired at the beginning. It ends with its module. What is acknowledged is on the disk before. Both sides are JSON objects, changed by merge patches
//! and counted by versions.
//!
//! A change of desired properties is an operator's signed document for one version of one life of one twin. So it is
//! taken once and in order: not before what it follows, not a second time, and not by a twin that began later,
//! whoever carries it and however late it comes.

mod machine;
mod telling;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{document::TwinChange, patch::Properties, workload::ModuleId};

pub use self::machine::Twins;
pub use self::telling::{TELL_MS, TELL_TWINS};
use crate::frame::ToCloud;

/// The properties of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// Chosen when it began; a twin of the same module that begins later has another one.
    pub life: u64,
    /// What operators want.
    pub desired: Side,
    /// What the module says of itself.
    pub reported: Side,
    /// SHA-256 of the sealed change that made `desired` what it is; zeros before the first one.
    pub changed_by: [u8; 32],
}

/// One side of a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Counts changes, from 0.
    pub version: u64,
    /// A JSON object of at most [`wayside_config::limits::TWIN_BYTES`].
    pub properties: String,
}

impl Default for Side {
    fn default() -> Self {
        Self { version: 0, properties: "{}".into() }
    }
}

impl Twin {
    /// One that has just begun.
    #[must_use]
    pub fn new(life: u64) -> Self {
        Self { life, desired: Side::default(), reported: Side::default(), changed_by: [0; 32] }
    }

    /// One that begins with what its workload desires.
    #[must_use]
    pub fn desiring(life: u64, properties: Properties) -> Self {
        let desired = Side { version: 0, properties: properties.into() };
        Self { desired, ..Self::new(life) }
    }

    /// Its texts and a fixed overhead.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.desired.properties.len() + self.reported.properties.len() + 256
    }
}

/// What can happen to twins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The modules that the device runs, and what their workloads desire of them at the beginning. Others have no
    /// twins any more.
    Modules(Vec<(ModuleId, Option<Properties>)>),
    /// The module's client wants the desired properties: it has just connected or subscribed.
    Wanted {
        /// Whose.
        module: ModuleId,
    },
    /// The module says what of itself is different now.
    Reported {
        /// Answered by `Refuse` with the same ticket, or by the router, for which it goes into `Publish`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// A JSON merge patch.
        patch: Bytes,
        /// Wall clock at arrival, milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// An operator looks. Answered by `Shown`.
    Look {
        /// The question's number.
        question: u64,
        /// At whose twin.
        module: ModuleId,
    },
    /// An operator changes what is desired. The adapter has checked the signature.
    Change {
        /// Answered by `Shown` with the same number; `None` where nobody waits.
        question: Option<u64>,
        /// What.
        change: Box<TwinChange>,
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
    },
    /// A change that the cloud brought is nobody's whom the device obeys, or for another device.
    Unverified {
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
        /// Why, and what to do.
        reason: String,
    },
    /// The cloud can be reached: it is told of all twins.
    CloudUp,
    /// The cloud cannot be reached.
    CloudDown,
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The uplink had no room for what one `Tell` said: it is said again, after a pause.
    Untold(Vec<ToCloud>),
    /// The time asked for has come.
    Woken,
}

/// What twins want done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Keep a module's twin: a persist step.
    Save(ModuleId, Box<Twin>),
    /// Forget a module's twin: a persist step.
    Drop(ModuleId),
    /// See [`crate::device::io::Mqtt::Desired`].
    Deliver {
        /// To whom.
        module: ModuleId,
        /// JSON: `{"version": 3, "desired": {...}}`.
        body: Bytes,
    },
    /// What the module reports goes where routes lead, as if it had published the whole to
    /// [`wayside_config::topic::TWIN_REPORTED`]; the router answers the ticket.
    Publish {
        /// From `Reported`.
        ticket: u64,
        /// Whose.
        module: ModuleId,
        /// JSON: `{"version": 12, "reported": {...}}`.
        body: Bytes,
        /// From `Reported`.
        wall_ms: u64,
    },
    /// See [`crate::device::io::Mqtt::Refuse`].
    Refuse {
        /// The ticket.
        ticket: u64,
        /// For a person.
        reason: String,
    },
    /// For the operator who asked.
    Shown {
        /// The question's number.
        question: u64,
        /// The twin, after the change if there was one; or why not, and what to do.
        result: Result<Box<Twin>, String>,
    },
    /// Tell the cloud these frames, which belong together: all, in this order, or none. Where the uplink has no room now,
    /// nobody waits, and `Untold` brings them back.
    Tell(Vec<ToCloud>),
    /// Changes that came through the cloud and were not taken, the last one for each module; empty when there is none.
    Problems(Vec<String>),
}
