//! Devices and releases, and the windows of routes that have been at rest since their part of the log
//! was full.
//!
//! ```text
//! d device       -> its record
//! r workload     -> SHA-256 and the sealed release
//! t device module -> what is known of its twin
//! w device route -> as in the log
//! p id           -> nothing; the windows of this part of the log are here
//! x              -> messages dropped
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bytes::Bytes;
use wayside_actors::cloud::fleet::{DeviceRecord, TwinRecord};
use wayside_config::{
    cosign::peek, document::Release, hash::sha256, identity::DeviceId, statefile, workload::ModuleId,
};

use super::{
    Aside, StoreError, StoredRelease, StoredTwin,
    database::{Database, OpenError},
    record::{self, RouteState, decode_state, encode_state},
};

const KIND: &str = "device";
const TWIN: &str = "twin";
const VERSION: u16 = 1;

pub(super) struct FleetStore {
    database: Database,
}

impl FleetStore {
    pub(super) fn open(path: &Path, aside: &Aside) -> Result<Self, StoreError> {
        let failed =
            |error: OpenError| StoreError::Folder { path: path.to_owned(), reason: error.to_string() };
        let database = match Database::open(path) {
            Err(OpenError::Damaged(reason)) => {
                aside.save(path, "the database of devices and releases", &reason)?;
                Database::open(path)
            }
            other => other,
        };
        Ok(Self { database: database.map_err(failed)? })
    }

    /// Applies a batch and brings it to stable storage.
    pub(super) fn write(&self, batch: sled::Batch) -> sled::Result<()> {
        self.database.tree().apply_batch(batch)?;
        self.database.sync()
    }

    pub(super) fn put_device(batch: &mut sled::Batch, device: &DeviceId, record: &DeviceRecord) {
        batch.insert(device_key(device), statefile::encode(KIND, VERSION, record));
    }

    pub(super) fn put_release(batch: &mut sled::Batch, release: &StoredRelease) {
        batch.insert(release_key(&release.release.workload.name), release.sealed.as_ref());
    }

    pub(super) fn drop_release(batch: &mut sled::Batch, workload: &str) {
        batch.remove(release_key(workload));
    }

    pub(super) fn put_twin(
        batch: &mut sled::Batch,
        device: &DeviceId,
        module: &ModuleId,
        record: &TwinRecord,
    ) {
        batch.insert(twin_key(device, module), statefile::encode(TWIN, VERSION, record));
    }

    pub(super) fn drop_twin(batch: &mut sled::Batch, device: &DeviceId, module: &ModuleId) {
        batch.remove(twin_key(device, module));
    }

    pub(super) fn put_dropped(batch: &mut sled::Batch, dropped: u64) {
        batch.insert(b"x", &dropped.to_be_bytes());
    }

    /// Takes over the windows of part `first` of the log, which is full.
    pub(super) fn take_over(
        &self,
        first: u64,
        states: &BTreeMap<(DeviceId, String), RouteState>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for ((device, route), state) in states {
            batch.insert(record::window_key(device, route), encode_state(state));
        }
        batch.insert(part_key(first), &[]);
        self.write(batch).map_err(|error| StoreError::Write(error.to_string()))
    }

    /// Makes all windows unknown, as newer ones are lost: devices go on after what they know to be
    /// confirmed.
    pub(super) fn forget_windows(&self) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for ((device, route), state) in self.states(None)? {
            let state = RouteState { window: None, ..state };
            batch.insert(record::window_key(&device, &route), encode_state(&state));
        }
        self.write(batch).map_err(|error| StoreError::Write(error.to_string()))
    }

    /// The parts of the log whose windows are here.
    pub(super) fn parts(&self) -> Result<BTreeSet<u64>, StoreError> {
        let keys = self.database.tree().scan_prefix(b"p").keys();
        keys.filter_map(|key| key.map(|key| record::id_of_key(&key)).transpose())
            .collect::<Result<_, _>>()
            .map_err(read_error)
    }

    pub(super) fn forget_part(batch: &mut sled::Batch, first: u64) {
        batch.remove(part_key(first));
    }

    pub(super) fn state(&self, device: &DeviceId, route: &str) -> Result<Option<RouteState>, StoreError> {
        let found = self.database.tree().get(record::window_key(device, route)).map_err(read_error)?;
        Ok(found.and_then(|bytes| decode_state(&bytes).ok()))
    }

    pub(super) fn states(
        &self,
        device: Option<&DeviceId>,
    ) -> Result<BTreeMap<(DeviceId, String), RouteState>, StoreError> {
        super::log::states(&self.database, device)
    }

    pub(super) fn dropped(&self) -> u64 {
        let found = self.database.tree().get(b"x").ok().flatten();
        found.and_then(|bytes| record::id_of_key(&bytes)).unwrap_or(0)
    }

    pub(super) fn devices(&self) -> Result<Vec<(DeviceId, DeviceRecord)>, StoreError> {
        let mut devices = Vec::new();
        for found in self.database.tree().scan_prefix(b"d") {
            let (key, value) = found.map_err(read_error)?;
            let Some(device) = key.last_chunk().map(|bytes| DeviceId::from_bytes(*bytes)) else { continue };
            match statefile::decode(KIND, VERSION, &value) {
                Ok(record) => devices.push((device, record)),
                Err(error) => {
                    tracing::error!(%device, %error, "what was known of a device cannot be read; it has to join again");
                }
            }
        }
        Ok(devices)
    }

    pub(super) fn twins(&self) -> Result<Vec<StoredTwin>, StoreError> {
        let mut twins = Vec::new();
        for found in self.database.tree().scan_prefix(b"t") {
            let (key, value) = found.map_err(read_error)?;
            let Some((device, module)) = key[1..].split_first_chunk::<32>() else { continue };
            let device = DeviceId::from_bytes(*device);
            let Some(module) = std::str::from_utf8(module).ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match statefile::decode(TWIN, VERSION, &value) {
                Ok(record) => twins.push(((device, module), record)),
                Err(error) => {
                    tracing::error!(%device, %module, %error, "what was known of a twin cannot be read; changes that waited have to be set again");
                }
            }
        }
        Ok(twins)
    }

    pub(super) fn releases(&self) -> Result<Vec<StoredRelease>, StoreError> {
        let mut releases = Vec::new();
        for found in self.database.tree().scan_prefix(b"r") {
            let (key, value) = found.map_err(read_error)?;
            // Its signatures were checked when it was applied, and devices do so again.
            match peek::<Release>(&value) {
                Ok(release) => releases.push(StoredRelease {
                    release: Box::new(release),
                    sha256: sha256(&value),
                    sealed: Bytes::copy_from_slice(&value),
                }),
                Err(error) => {
                    let workload = String::from_utf8_lossy(&key[1..]).into_owned();
                    tracing::error!(workload, %error, "a stored release cannot be read; apply the workload again");
                }
            }
        }
        Ok(releases)
    }
}

fn device_key(device: &DeviceId) -> Vec<u8> {
    [&b"d"[..], device.as_bytes()].concat()
}

fn twin_key(device: &DeviceId, module: &ModuleId) -> Vec<u8> {
    [&b"t"[..], device.as_bytes(), module.to_string().as_bytes()].concat()
}

fn release_key(workload: &str) -> Vec<u8> {
    [&b"r"[..], workload.as_bytes()].concat()
}

fn part_key(first: u64) -> Vec<u8> {
    [&b"p"[..], &first.to_be_bytes()].concat()
}

fn read_error(error: sled::Error) -> StoreError {
    StoreError::Read(error.to_string())
}
