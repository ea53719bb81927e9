//! What the fleet hears and what it wants done.

use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{Assignment, Release, TwinChange},
    identity::DeviceId,
    workload::ModuleId,
};

use super::{DeviceRecord, Granted, TwinRecord};
use crate::{device::twins::Twin, frame::Hello, report::Report};

/// What can happen to the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The first event of a fleet made from what was stored.
    Started,
    /// A device greets. The adapter checked its join token, in constant time, and its grant. Either lets a device in that is not known.
    Greeted {
        /// Who.
        device: DeviceId,
        /// With what words.
        hello: Hello,
        /// Whether its token is good.
        token_ok: bool,
        /// Its grant, where it showed one that counts now.
        granted: Option<Box<Granted>>,
        /// Whether what it was granted before is revoked, or the rule of that.
        is_void: bool,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// A device sent something.
    Seen {
        /// Who.
        device: DeviceId,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// A device reported.
    Reported {
        /// Who.
        device: DeviceId,
        /// What.
        report: Box<Report>,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// A device says which modules have twins: its connection begins, or that changed.
    TwinNames {
        /// Who.
        device: DeviceId,
        /// Which.
        modules: Vec<ModuleId>,
    },
    /// A device says how a twin is.
    TwinReported {
        /// Who.
        device: DeviceId,
        /// Whose.
        module: ModuleId,
        /// How.
        twin: Box<Twin>,
    },
    /// A device does not take a change.
    TwinRefused {
        /// Who.
        device: DeviceId,
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
        /// For a person.
        reason: String,
    },
    /// An operator changes what is desired of a module; the adapter checked the signature.
    TwinSet {
        /// Answered by `Settled` with the same ticket.
        ticket: u64,
        /// What it says.
        change: Box<TwinChange>,
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
        /// The bytes, to persist and to pass on.
        sealed: bytes::Bytes,
    },
    /// A device's session ended.
    Gone {
        /// Who.
        device: DeviceId,
    },
    /// An operator applied a release; the adapter checked its signature.
    Applied {
        /// Answered by `Settled` with the same ticket.
        ticket: u64,
        /// What it says.
        release: Box<Release>,
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
        /// The bytes, to persist and to pass on.
        sealed: bytes::Bytes,
    },
    /// An operator removed a workload.
    Removed {
        /// Answered by `Settled` with the same ticket.
        ticket: u64,
        /// Its name.
        workload: String,
    },
    /// The time asked for has come.
    Woken,
}

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Keep what is known of a device: a persist step.
    SaveDevice(DeviceId, Box<DeviceRecord>),
    /// Keep a release in place of the workload's older one: a persist step.
    SaveRelease {
        /// What it says.
        release: Box<Release>,
        /// SHA-256 of the bytes.
        sha256: [u8; 32],
        /// The bytes.
        sealed: bytes::Bytes,
    },
    /// Forget a workload's release: a persist step.
    DropRelease {
        /// Its name.
        workload: String,
    },
    /// Tell the session whether the device may in.
    Admit(DeviceId, Result<(), String>),
    /// The device's reports have a gap: its next connection begins with a full one.
    Hangup {
        /// Whose connection.
        device: DeviceId,
        /// For the log and the peer.
        reason: String,
    },
    /// Sign this assignment with the cloud's key, gather its releases, and send both.
    Assign(Box<Assignment>),
    /// What the operator asked for is stored, or refused with what to do.
    Settled {
        /// From the event.
        ticket: u64,
        /// How many devices get another assignment by it.
        result: Result<u64, String>,
    },
    /// Keep what is known of a twin: a persist step.
    SaveTwin(DeviceId, ModuleId, Box<TwinRecord>),
    /// Forget a twin: a persist step.
    DropTwin(DeviceId, ModuleId),
    /// Hand a sealed change to the device.
    SendTwin(DeviceId, bytes::Bytes),
    /// What is known of a twin changed; `None` when it is gone.
    TwinChanged(DeviceId, ModuleId, Option<Box<TwinRecord>>),
    /// What is known of a device changed: for the page.
    Changed(DeviceId, Box<DeviceRecord>),
}
