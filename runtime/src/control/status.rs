//! How a device is, as it tells operators.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};
use wayside_actors::{
    device::{membership::Role, reconciler::Lock},
    report::Report,
};
use wayside_config::{
    identity::{DeviceId, FleetId, PublicKey},
    leaf::Fingerprint,
};
use wayside_mesh::mqtt::Counted;

use crate::copies::CopiesStatus;

/// How a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its key.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The daemon's version.
    pub version: String,
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// The fleet it belongs to; absent when it obeys the first who hands it a release.
    pub fleet: Option<FleetStatus>,
    /// The cloud, when it has one.
    pub cloud: Option<CloudStatus>,
    /// Its part in the mesh.
    pub mesh: MeshStatus,
    /// What its queues take on the disk; absent until they are open.
    pub store: Option<StoreStatus>,
    /// Who is connected over MQTT, and what was turned away.
    #[serde(default)]
    pub mqtt: MqttStatus,
    /// Who holds updates back now.
    #[serde(default)]
    pub locks: Vec<LockStatus>,
    /// What it keeps for devices that are away, or may be.
    #[serde(default)]
    pub copies: CopiesStatus,
    /// Modules, queues, neighbours, problems: a full report.
    pub report: Report,
}

/// Somebody holds updates back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockStatus {
    /// `operator`, or `workload/module`.
    pub owner: String,
    /// Until when, by the device's wall clock in milliseconds.
    pub until_ms: u64,
    /// For a person; may be empty.
    pub reason: String,
}

impl From<&Lock> for LockStatus {
    fn from(Lock { owner, until_ms, reason }: &Lock) -> Self {
        Self { owner: owner.to_string(), until_ms: *until_ms, reason: reason.clone() }
    }
}

/// The fleet that a device belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// Which.
    pub id: FleetId,
    /// The version of its root that the device knows; 0 when it knows none yet.
    pub root: u64,
    /// The keys that may ask the device.
    pub operators: Vec<PublicKey>,
}

/// A device's part in the mesh. Counts are since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// Where neighbours reach it now; none while it is not on the mesh, or reached through a router.
    pub addresses: Vec<SocketAddr>,
    /// How it takes part: `peer`, and on a large site `router` or `client`.
    #[serde(default)]
    pub role: Role,
    /// Batches of messages, confirmations and best-effort messages that were sent.
    pub sent: u64,
    /// Not sent, for the link had no room or was not there: they are sent again.
    pub send_dropped: u64,
    /// Received and taken.
    pub received: u64,
    /// Received and not taken, for the device was too busy: they come again.
    pub receive_dropped: u64,
    /// Received and not understood.
    pub malformed: u64,
    /// Hellos of the lobby that found no room: somebody floods the LAN, or it has more devices than are heard.
    #[serde(default)]
    pub lobby_dropped: u64,
}

/// What a device's queues take on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// What its segments take.
    pub bytes: u64,
    /// What they may take.
    pub max_bytes: u64,
    /// The segments that there are.
    pub segments: u64,
    /// Commits, each with one sync of the disk, since it was opened.
    pub commits: u64,
    /// Damages found since it was opened; `problems` says which.
    pub damages: u64,
}

/// The MQTT listener. Counts are since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttStatus {
    /// Where leaf devices are listened for: `mqtts://ADDRESS:PORT`.
    pub leaves: Vec<String>,
    /// The certificate that they see there.
    pub certificate: Option<Fingerprint>,
    /// Clients, and what some of them did.
    #[serde(flatten)]
    pub counted: Counted,
}

/// The uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// `HOST:PORT`.
    pub address: String,
    /// Whether the cloud has welcomed the device on the connection there is now.
    pub connected: bool,
}
