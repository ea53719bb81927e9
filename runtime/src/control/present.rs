//! Who is there: on the mesh, and in the lobby.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, SocketAddrV4},
};

use serde::{Deserialize, Serialize};
use wayside_config::{
    hello::Hello,
    identity::{DeviceId, FleetId},
};
use wayside_mesh::lobby::Heard;

use super::Sealed;

/// A device on the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its key.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
}

/// Who says to be on a LAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InLobby {
    /// The device asked.
    pub own: Box<Present>,
    /// Others that it hears.
    pub devices: Vec<Present>,
}

/// A device that says to be on a LAN. Only the key is proven, and the grant proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Its key.
    pub device: DeviceId,
    /// What it calls itself.
    pub name: String,
    /// The labels that it gives itself.
    pub labels: BTreeMap<String, String>,
    /// The fleet that it belongs to, or waits for.
    pub fleet: Option<FleetId>,
    /// The version of the newest root that it knows.
    pub root: u64,
    /// The version of the newest list of what is revoked that it knows.
    pub revocation: u64,
    /// Its sealed grant.
    pub grant: Option<Sealed>,
    /// Where it takes grants on the LAN; `None` for the device asked.
    pub door: Option<SocketAddr>,
    /// Where members reach it.
    pub mesh: Vec<SocketAddrV4>,
    /// Whether two devices have its key.
    pub is_cloned: bool,
}

impl From<Heard> for Present {
    fn from(Heard { hello, grant, from, is_cloned }: Heard) -> Self {
        let Hello { device, name, labels, fleet, root, revocation, port, mesh, .. } = hello;
        let (grant, door) = (grant.map(Sealed), Some(SocketAddr::from((from, port))));
        Self { device, name, labels, fleet, root, revocation, grant, door, mesh, is_cloned }
    }
}
