//! What operators signed for other devices of the site: kept on the disk, so that a device that was away gets it when it
//! is back, from whoever is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    cosign,
    document::{Assignment, ReleaseRef},
    hash::sha256,
    identity::{DeviceId, FleetId},
};

use crate::state::{Found, StateFolder};

const FOLDER: &str = "copies";
const VERSION: u16 = 1;

/// All copies together, on the disk.
const BYTES: u64 = 64 << 20;

/// Devices that keep what is signed for one other, where there are so many.
const KEEPERS: usize = 8;

/// What is signed for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The sealed assignment.
    pub assignment: Bytes,
    /// The sealed releases that it names, as far as they are here: the device has others already.
    pub releases: Vec<Bytes>,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// For whom.
    pub assignment: Assignment,
    /// As it was signed.
    pub sealed: Copy,
}

/// What they take on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesStatus {
    /// For so many devices.
    pub devices: u64,
    /// All together.
    pub bytes: u64,
}

/// All that are kept here.
#[derive(Debug)]
pub struct Copies {
    state: Arc<StateFolder>,
    kept: Mutex<BTreeMap<DeviceId, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    version: u64,
    bytes: u64,
}

/// Why a copy is not kept.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It is older than what is kept.
    #[error("version {0} for the device is kept here, and {1} is not newer: apply again")]
    Older(u64, u64),
    /// There is no room.
    #[error("what is kept here for devices that are away has {0} MiB, the most: apply again when they are back", BYTES >> 20)]
    Full,
    /// The disk.
    #[error("it could not be written: {0}")]
    Keep(#[from] io::Error),
}

impl Copies {
    /// Reads what is kept for this fleet. The texts are problems to show.
    #[must_use]
    pub fn load(state: Arc<StateFolder>, fleet: Option<FleetId>) -> (Self, Vec<String>) {
        let (mut kept, mut problems) = (BTreeMap::new(), Vec::new());
        let names = state.folder(FOLDER).and_then(fs::read_dir).map(|entries| {
            let named = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
            entries.filter_map(named).collect::<Vec<_>>()
        });
        let names = names.unwrap_or_else(|error| {
            problems.push(format!("what is kept for devices that are away cannot be read: {error}"));
            Vec::new()
        });
        for device in names.iter().filter_map(|name| name.parse::<DeviceId>().ok()) {
            match state.read::<Copy>(&file(&device), VERSION) {
                Found::Whole(copy) => match fleet.and_then(|fleet| reopen(&copy, &fleet)) {
                    Some(assignment) if assignment.device == device => {
                        let bytes = copy.bytes();
                        kept.insert(device, Kept { version: assignment.version, bytes });
                    }
                    // Of another fleet.
                    Some(_) | None => {
                        let _ = state.remove(&file(&device));
                    }
                },
                Found::Damaged(problem) => {
                    problems.push(format!("{problem}; it is for {}: apply again", device.short()));
                }
                Found::Nothing => {}
            }
        }
        (Self { state, kept: Mutex::new(kept) }, problems)
    }

    /// The version that is kept for a device.
    #[must_use]
    pub fn version(&self, device: &DeviceId) -> Option<u64> {
        self.kept().get(device).map(|kept| kept.version)
    }

    /// What is kept for a device.
    #[must_use]
    pub fn of(&self, device: &DeviceId) -> Option<Copy> {
        let _kept = self.kept();
        self.read(device)
    }

    /// The devices for which something is kept.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceId> {
        self.kept().keys().copied().collect()
    }

    /// Keeps what was verified, with what is here already of the releases that it names.
    ///
    /// # Errors
    /// See [`CopyError`]; what was kept before is.
    pub fn keep(&self, copied: Copied) -> Result<(), CopyError> {
        let Copied { assignment: Assignment { device, version, releases }, mut sealed } = copied;
        let mut kept = self.kept();
        let before = self.read(&device);
        if let Some(older) = kept.get(&device) {
            match &before {
                Some(copy) if copy.assignment == sealed.assignment => return Ok(()),
                Some(_) | None if older.version >= version => {
                    return Err(CopyError::Older(older.version, version));
                }
                Some(_) | None => {}
            }
        }
        sealed.releases = named(
            &releases,
            sealed.releases.into_iter().chain(before.into_iter().flat_map(|copy| copy.releases)),
        );
        let bytes = sealed.bytes();
        let others = kept.iter().filter(|(other, _)| **other != device).map(|(_, kept)| kept.bytes);
        if others.sum::<u64>() + bytes > BYTES {
            return Err(CopyError::Full);
        }
        self.state.write(&file(&device), VERSION, &sealed)?;
        kept.insert(device, Kept { version, bytes });
        Ok(())
    }

    /// Forgets those for devices that are of the site no more.
    pub fn retain(&self, mut belongs: impl FnMut(&DeviceId) -> bool) {
        let mut kept = self.kept();
        kept.retain(|device, _| {
            let stays = belongs(device);
            if !stays && let Err(error) = self.state.remove(&file(device)) {
                tracing::warn!(%error, device = %device.short(), "what was kept for a device that has left is still on the disk");
            }
            stays
        });
    }

    /// What they take.
    #[must_use]
    pub fn status(&self) -> CopiesStatus {
        let kept = self.kept();
        CopiesStatus { devices: kept.len() as u64, bytes: kept.values().map(|kept| kept.bytes).sum() }
    }

    fn read(&self, device: &DeviceId) -> Option<Copy> {
        match self.state.read(&file(device), VERSION) {
            Found::Whole(copy) => Some(copy),
            Found::Nothing | Found::Damaged(_) => None,
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copy {
    fn bytes(&self) -> u64 {
        (self.assignment.len() + self.releases.iter().map(Bytes::len).sum::<usize>()) as u64
    }
}

/// It was verified when it came, so whether who signed it still may is not asked again; that it is unchanged is.
fn reopen(copy: &Copy, fleet: &FleetId) -> Option<Assignment> {
    cosign::inspect(fleet, &copy.assignment).ok().map(|(_, assignment)| assignment)
}

/// Who of those that are here keeps what is signed for a device: those after it in the order of their keys.
pub(crate) fn keepers(device: DeviceId, here: &BTreeSet<DeviceId>) -> impl Iterator<Item = DeviceId> {
    let others = here.range(device..).chain(here.range(..device));
    others.copied().filter(move |other| *other != device).take(KEEPERS)
}

/// Of these releases those that are named, each once.
fn named(references: &[ReleaseRef], sealed: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let by_hash: BTreeMap<[u8; 32], Bytes> = sealed.map(|sealed| (sha256(&sealed), sealed)).collect();
    references.iter().filter_map(|reference| by_hash.get(&reference.sha256).cloned()).collect()
}

fn file(device: &DeviceId) -> String {
    format!("{FOLDER}/{device}")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::fleet::Fleet;

    use super::*;

    fn operator() -> (SigningKey, Fleet) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let fleet = Fleet::of_one(&key).unwrap();
        (key, fleet)
    }

    fn copied(device: u8, version: u64, named: &[&'static str], with: &[&'static str]) -> Copied {
        let reference = |text: &&'static str| ReleaseRef {
            workload: (*text).into(),
            version,
            sha256: sha256(text.as_bytes()),
            members: Vec::new(),
        };
        let device = DeviceId::from_bytes([device; 32]);
        let assignment = Assignment { device, version, releases: named.iter().map(reference).collect() };
        let (key, fleet) = operator();
        let sealed = cosign::seal(&fleet.id(), &assignment, &key).unwrap();
        let releases = with.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        Copied { assignment, sealed: Copy { assignment: sealed.into(), releases } }
    }

    #[test]
    fn the_newest_is_kept_with_the_releases_that_it_names_and_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFolder::open(folder.path()).unwrap());
        let fleet = operator().1.id();
        let (copies, problems) = Copies::load(Arc::clone(&state), Some(fleet));
        assert!(problems.is_empty() && copies.devices().is_empty());
        copies.keep(copied(1, 3, &["a", "b"], &["a", "b", "not named"])).unwrap();
        assert!(matches!(copies.keep(copied(1, 2, &[], &[])), Err(CopyError::Older(3, 2))));
        copies.keep(copied(1, 3, &["a", "b"], &[])).unwrap();
        // One that it missed is still needed; one that is taken off is not.
        copies.keep(copied(1, 4, &["b", "c"], &["c"])).unwrap();
        copies.keep(copied(2, 9, &["a"], &[])).unwrap();
        let (again, problems) = Copies::load(Arc::clone(&state), Some(fleet));
        assert!(problems.is_empty());
        let device = |number| DeviceId::from_bytes([number; 32]);
        assert_eq!((again.version(&device(1)), again.version(&device(2))), (Some(4), Some(9)));
        assert_eq!(
            again.of(&device(1)).unwrap().releases,
            [Bytes::from_static(b"b"), Bytes::from_static(b"c")]
        );
        assert_eq!(again.status(), copies.status());
        again.retain(|kept| *kept == device(2));
        assert_eq!((again.devices(), again.of(&device(1))), (vec![device(2)], None));
        let (other, problems) = Copies::load(state, Some(FleetId::from_bytes([1; 32])));
        assert!(problems.is_empty() && other.devices().is_empty());
    }

    #[test]
    fn the_next_ones_keep_it() {
        let id = |number| DeviceId::from_bytes([number; 32]);
        let here: BTreeSet<DeviceId> = (1..=12).map(id).collect();
        let numbers =
            |device, here| keepers(id(device), here).map(|other| other.as_bytes()[0]).collect::<Vec<_>>();
        assert_eq!(numbers(2, &here), [3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(numbers(10, &here), [11, 12, 1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(20, &here), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(numbers(1, &BTreeSet::from([id(1)])), [0; 0]);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFolder::open(folder.path()).unwrap());
        let (copies, _) = Copies::load(state, Some(operator().1.id()));
        let large = || {
            let mut large = copied(1, 3, &[], &[]);
            let release = Bytes::from(vec![0; BYTES as usize / 2]);
            let sha256 = sha256(&release);
            large.assignment.releases =
                vec![ReleaseRef { workload: "w".into(), version: 1, sha256, members: Vec::new() }];
            large.sealed.releases = vec![release];
            large
        };
        copies.keep(large()).unwrap();
        let mut second = large();
        second.assignment.device = DeviceId::from_bytes([2; 32]);
        assert!(matches!(copies.keep(second), Err(CopyError::Full)));
    }
}
