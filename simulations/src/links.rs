//! The LAN and the uplinks: who reaches whom, how long it takes, and what gets lost.

use wayside_config::identity::{DeviceId, PublicKey};

/// The state of all links. A pair's latency does not change, so a link keeps its order.
#[derive(Debug)]
pub(crate) struct Links {
    seed: u64,
    /// One message in a thousand that the LAN loses.
    pub(crate) lan_loss_per_mille: u64,
    /// Whether each device's daemon runs.
    pub(crate) running: Vec<bool>,
    /// On which side of the parted LAN each device is, while it is parted.
    pub(crate) sides: Option<Vec<bool>>,
    /// Whether each device's uplink is cut.
    pub(crate) cut: Vec<bool>,
    /// Each device's connection to the cloud as it stands; what belongs to another one is lost.
    pub(crate) connection: Vec<Option<u64>>,
    /// The life of the cloud's service, while it runs.
    pub(crate) cloud: Option<u32>,
    connections: u64,
}

impl Links {
    pub(crate) fn new(seed: u64, devices: usize, lan_loss_per_mille: u64) -> Self {
        Self {
            seed,
            lan_loss_per_mille,
            running: vec![false; devices],
            sides: None,
            cut: vec![false; devices],
            connection: vec![None; devices],
            cloud: None,
            connections: 0,
        }
    }

    pub(crate) fn new_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// Whether one device can talk to another now.
    pub(crate) fn reaches(&self, from: u32, to: u32) -> bool {
        let (from, to) = (from as usize, to as usize);
        self.running[from]
            && self.running[to]
            && self.sides.as_ref().is_none_or(|sides| sides[from] == sides[to])
    }

    /// Milliseconds from one device to another: 1 to 4.
    pub(crate) fn lan_ms(&self, from: u32, to: u32) -> u64 {
        1 + self.mix(u64::from(from) << 32 | u64::from(to)) % 4
    }

    /// Milliseconds from a device to the cloud and from there to it: 10 to 89 each.
    pub(crate) fn uplink_ms(&self, device: u32) -> u64 {
        10 + self.mix(u64::from(device)) % 80
    }

    /// A number that the seed and `value` decide (splitmix64).
    const fn mix(&self, value: u64) -> u64 {
        let mut z = (self.seed ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The key of a simulated device. It is never used to sign.
pub(crate) fn device_id(index: u32) -> DeviceId {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&index.to_be_bytes());
    PublicKey::from_bytes(key)
}

/// The device that has this key.
pub(crate) fn device_index(id: &DeviceId) -> u32 {
    let [a, b, c, d, ..] = *id.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}
