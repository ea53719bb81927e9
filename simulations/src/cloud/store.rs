//! What the cloud keeps: what of a message matters here is that it came.

use std::collections::BTreeMap;

use bytes::Bytes;
use wayside_actors::cloud::{
    fleet::{DeviceRecord, TwinRecord},
    session::Window,
    wiring::Io,
};
use wayside_config::{document::Release, identity::DeviceId, workload::ModuleId};

use crate::{links::device_index, program, world::Nature};

/// Devices, releases, and how far every route is stored. Messages go to the ledger.
#[derive(Default)]
pub(super) struct Store {
    pub(super) devices: BTreeMap<DeviceId, DeviceRecord>,
    pub(super) releases: BTreeMap<String, (Release, [u8; 32], Bytes)>,
    pub(super) windows: BTreeMap<DeviceId, BTreeMap<String, Window>>,
    pub(super) twins: BTreeMap<(DeviceId, ModuleId), TwinRecord>,
}

impl Store {
    /// Carries out a persist step.
    pub(super) fn commit(&mut self, io: Io, nature: &mut Nature) {
        match io {
            Io::Store { device, route, messages, window, wall_ms: _ } => {
                for (_, message) in &messages {
                    nature.ledger.stored(device_index(&message.origin), program::number_of(message));
                }
                self.windows.entry(device).or_default().insert(route, window);
            }
            Io::SaveDevice(device, record) => {
                self.devices.insert(device, *record);
            }
            Io::SaveRelease { release, sha256, sealed } => {
                self.releases.insert(release.workload.name.clone(), (*release, sha256, sealed));
            }
            Io::SaveTwin(device, module, record) => {
                self.twins.insert((device, module), *record);
            }
            Io::DropTwin(device, module) => {
                self.twins.remove(&(device, module));
            }
            Io::DropRelease { workload } => {
                self.releases.remove(&workload);
            }
            Io::Greet { .. }
            | Io::Send(..)
            | Io::Close { .. }
            | Io::Answered(..)
            | Io::Assign(_)
            | Io::Settled { .. }
            | Io::TwinChanged(..)
            | Io::Changed(..) => unreachable!("not a persist step: {io:?}"),
        }
    }
}
