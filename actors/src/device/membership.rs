//! Who is on the mesh.

use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

/// What can happen to the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A liveliness token appeared.
    TokenSeen {
        /// Whose.
        device: DeviceId,
        /// Its name.
        name: String,
    },
    /// A liveliness token went away.
    TokenGone {
        /// Whose.
        device: DeviceId,
    },
    /// A delivery asks whether its device is there: answered by `Up` or `Down`.
    Asked {
        /// Which.
        device: DeviceId,
    },
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The time asked for has come.
    Woken,
}

/// What the membership wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// The device is there: deliveries to it start.
    Up(DeviceId),
    /// The device has been gone for longer than a link takes to flap.
    Down(DeviceId),
    /// Everyone who is there, when that changed.
    Peers(Vec<Peer>),
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
}
