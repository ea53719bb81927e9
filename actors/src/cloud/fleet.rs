//! All devices: what each should run, what each said last, and who has fallen silent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
};

use crate::{frame::Hello, report::Report};

/// What the cloud keeps of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// For people.
    pub name: String,
    /// Of its configuration.
    pub labels: BTreeMap<String, String>,
    /// Of the daemon.
    pub version: String,
    /// Everything it reported, merged.
    pub reported: Report,
    /// The assignment it should have; its version is the highest ever made for it.
    pub assigned: Option<Assignment>,
    /// Wall-clock milliseconds of its last word.
    pub last_seen_ms: u64,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a device is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Connected and talking.
    Online,
    /// Not connected, for less than the silence limit.
    Away,
    /// Not heard of for longer than the silence limit.
    #[default]
    Silent,
}

/// What can happen to the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A device greets. `token_ok` says whether its join token is good (checked by the adapter in constant time).
    Greeted {
        /// Who.
        device: DeviceId,
        /// With what words.
        hello: Hello,
        /// Whether its token is good.
        token_ok: bool,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// A device reported.
    Reported {
        /// Who.
        device: DeviceId,
        /// What.
        report: Report,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// A device's session ended.
    Gone {
        /// Who.
        device: DeviceId,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// An operator applied a release; the adapter checked its signature.
    Applied {
        /// What it says.
        release: Box<Release>,
        /// SHA-256 of the sealed bytes.
        sha256: [u8; 32],
        /// The bytes, to persist and to pass on.
        sealed: bytes::Bytes,
    },
    /// An operator removed a workload.
    Removed {
        /// Its name.
        workload: String,
    },
    /// The time asked for has come; the adapter adds the wall clock by `Clock` events.
    Woken,
    /// The cloud's clock, once a second.
    Clock {
        /// Milliseconds since the Unix epoch.
        wall_ms: u64,
    },
}

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Keep what is known of a device: a persist step.
    SaveDevice(DeviceId, Box<DeviceRecord>),
    /// Keep a release: a persist step.
    SaveRelease {
        /// What it says.
        release: Box<Release>,
        /// SHA-256 of the bytes.
        sha256: [u8; 32],
        /// The bytes.
        sealed: bytes::Bytes,
    },
    /// Forget a workload's releases: a persist step.
    DropRelease {
        /// Its name.
        workload: String,
    },
    /// Tell the session whether the device may in.
    Admit(DeviceId, Result<(), String>),
    /// Sign this assignment with the cloud's key, gather its releases, and send both.
    Assign(Box<Assignment>),
    /// What is known of a device changed: for the page.
    Changed(DeviceId, Box<DeviceRecord>),
}
