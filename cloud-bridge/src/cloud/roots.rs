//! The fleet whose operators this cloud obeys: its roots, and what is revoked.
//!
//! They are kept twice, for without them the cloud can sign no assignment. Without a file no fleet was ever known, and the first that
//! an operator introduces is taken. Where both copies are damaged, none is until `--fleet` or `--operator` names one:
//! damage is no way in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_actors::cloud::fleet::Granted;
use wayside_config::{
    cosign::{self, CosignError},
    document::Revocation,
    fleet::{Fleet, FleetError, Pinned},
    identity::{DeviceId, FleetId},
    rule::verify_grant,
    statefile,
};

use super::state::{StateError, write};

const KIND: &str = "fleet";
const VERSION: u16 = 1;

/// The fleet that this cloud serves.
#[derive(Debug)]
pub(super) struct Roots {
    copies: [PathBuf; 2],
    pinned: Option<FleetId>,
    known: Mutex<Known>,
}

/// What is known of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The fleet, once an operator has introduced it.
    pub fleet: Option<Fleet>,
    /// The sealed list of what does not count any more, and its version.
    pub revocation: Option<(Bytes, u64)>,
    /// The sealed list before it, where there is none: those who count now did not sign it, and no device would take it.
    pub before: Option<Bytes>,
    /// What does not count any more, by either list.
    pub list: Option<Arc<Revocation>>,
    /// Whether there was a fleet, and its roots are lost.
    pub is_damaged: bool,
}

#[derive(Serialize, Deserialize)]
struct Written {
    roots: Vec<Bytes>,
    revocation: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Bytes>,
}

/// Why a fleet was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its roots do not hold, or it is another one.
    #[error("{0}")]
    Fleet(#[from] FleetError),
    /// What is revoked is not said by enough of those who may.
    #[error("the list of what is revoked: {0}")]
    Revocation(CosignError),
    /// The fleet was lost, and nobody has named one since.
    #[error("the fleet's roots were damaged, and no fleet has been named since")]
    Damaged,
    /// It could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Roots {
    /// Reads what is kept. Damaged copies are moved to the folder `damaged`. A `pinned` fleet replaces another.
    pub(super) fn open(folder: &Path, damaged: &Path, pinned: Option<Pinned>) -> Result<Self, StateError> {
        let older = folder.join("operators");
        if older.exists() {
            return Err(StateError::Older(older));
        }
        let copies = ["fleet", "fleet.copy"].map(|name| folder.join(name));
        let mut known = Known::default();
        for path in &copies {
            match read(path)? {
                None => {}
                Some(Ok(found)) if known.fleet.is_none() => known = found,
                Some(Ok(_)) => {}
                Some(Err(reason)) => {
                    set_aside(path, damaged, &reason)?;
                    known.is_damaged = known.fleet.is_none();
                }
            }
        }
        let pinned = pinned.map(|pinned| pinned.id());
        let is_other = |fleet: &Fleet| pinned.is_some_and(|id| id != fleet.id());
        if known.fleet.as_ref().is_some_and(is_other) {
            known = Known::default();
        }
        known.is_damaged &= pinned.is_none();
        let roots = Self { copies, pinned, known: Mutex::new(known) };
        // What one copy lost it gets back from the other; what both lost stays lost after the next start.
        let known = roots.known();
        if known.fleet.is_some() || known.is_damaged {
            roots.save(&known)?;
        }
        Ok(roots)
    }

    /// What is known.
    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Whether a device is out of the fleet.
    pub(super) fn is_revoked(&self, device: &DeviceId) -> bool {
        self.lock().list.as_ref().is_some_and(|list| list.is_out(device))
    }

    /// What this device shows to be granted to it, where that counts by those who may admit now.
    pub(super) fn granted(&self, device: &DeviceId, sealed: &[u8], now_ms: u64) -> Option<Granted> {
        let Known { fleet, list, .. } = self.known();
        let (grant, signed) = verify_grant(fleet.as_ref()?, sealed)
            .inspect_err(|error| tracing::debug!(device = %device.short(), %error, "a grant is not taken"))
            .ok()?;
        let is_theirs = grant.device == *device && !grant.has_expired(now_ms);
        let granted = Granted::new(grant, signed.map(|signed| (signed.id, signed.rule.by)));
        (is_theirs && !granted.is_void(device, list.as_deref())).then_some(granted)
    }

    /// Whether what was granted to this device does not count any more.
    pub(super) fn is_void(&self, device: &DeviceId, granted: &Granted) -> bool {
        granted.is_void(device, self.lock().list.as_deref())
    }

    /// What is wrong with it, for people.
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.lock().is_damaged.then_some(
            "the fleet's roots were damaged: nothing is assigned and no release is taken until wayside-cloud is started with --fleet FLEET or --operator KEY and an operator applies something",
        )
    }

    /// Takes newer roots and a newer list in, durably. Gives what is known now.
    pub(super) fn introduce(&self, roots: &[Bytes], revocation: Option<Bytes>) -> Result<Known, Refused> {
        let mut known = self.lock();
        let mut next = known.clone();
        match &known.fleet {
            Some(fleet) => {
                if let Some(newer) = fleet.follow(roots)? {
                    // Signed by those who might before, no new device would take it. Who is out by it stays out.
                    let counts = |(sealed, _): &mut (Bytes, u64)| versioned(&newer, sealed.clone()).is_ok();
                    if next.revocation.as_mut().is_some_and(|list| !counts(list)) {
                        next.before = next.revocation.take().map(|(sealed, _)| sealed);
                    }
                    next.fleet = Some(newer);
                }
            }
            None if known.is_damaged => return Err(Refused::Damaged),
            None => {
                let fleet = Fleet::open(roots)?;
                if let Some(ours) = self.pinned.filter(|ours| *ours != fleet.id()) {
                    return Err(FleetError::Other { theirs: fleet.id(), ours }.into());
                }
                tracing::info!(fleet = %fleet.id(), "serving this fleet from now on");
                next.fleet = Some(fleet);
            }
        }
        if let (Some(fleet), Some(sealed)) = (&next.fleet, revocation) {
            let (_, list) = fleet.verify::<Revocation>(&sealed).map_err(Refused::Revocation)?;
            let counts = next.revocation.is_some();
            if next.list.as_ref().is_none_or(|known| fleet.replaces(known, counts, &list)) {
                (next.revocation, next.before) = (Some((sealed, list.version)), None);
                next.list = Some(Arc::new(list));
            }
        }
        if next != *known {
            self.save(&next)?;
            known.clone_from(&next);
        }
        Ok(next)
    }

    fn save(&self, known: &Known) -> Result<(), StateError> {
        let roots = known.fleet.iter().flat_map(Fleet::roots).map(|root| Bytes::copy_from_slice(root));
        let revocation = known.revocation.as_ref().map(|(sealed, _)| sealed.clone());
        let written = Written { roots: roots.collect(), revocation, before: known.before.clone() };
        let bytes = statefile::encode(KIND, VERSION, &written);
        self.copies.iter().try_for_each(|path| write(path, &bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sealed list with its version, and what it says.
type Listed = ((Bytes, u64), Arc<Revocation>);

/// Verifies a list.
fn versioned(fleet: &Fleet, sealed: Bytes) -> Result<Listed, CosignError> {
    let (_, list) = fleet.verify::<Revocation>(&sealed)?;
    Ok(((sealed, list.version), Arc::new(list)))
}

/// A list that was verified when it came; who may sign has changed since.
fn inspected(fleet: &Fleet, sealed: &[u8]) -> Option<Revocation> {
    cosign::inspect::<Revocation>(&fleet.id(), sealed).ok().map(|(_, list)| list)
}

/// What a file says, or what is wrong with it; `None` when there is none.
fn read(path: &Path) -> Result<Option<Result<Known, String>>, StateError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| StateError::Io { path: path.to_owned(), source })?,
    };
    let written = statefile::decode::<Written>(KIND, VERSION, &bytes).map_err(|error| error.to_string());
    Ok(Some(written.and_then(|Written { roots, revocation, before }| {
        // Lost before, and not found since.
        if roots.is_empty() {
            return Ok(Known { is_damaged: true, ..Known::default() });
        }
        let fleet = Fleet::open(&roots).map_err(|error| error.to_string())?;
        let list = revocation.and_then(|sealed| versioned(&fleet, sealed).ok());
        let (revocation, list) = list.unzip();
        let before_says = before.as_ref().and_then(|sealed| inspected(&fleet, sealed)).map(Arc::new);
        let list = before_says.or(list);
        Ok(Known { fleet: Some(fleet), revocation, before, list, is_damaged: false })
    })))
}

fn set_aside(path: &Path, damaged: &Path, reason: &str) -> Result<(), StateError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StateError::Io { path, source }
    };
    fs::create_dir_all(damaged).map_err(at(damaged))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let to = damaged.join(format!("{name}-{}", super::clock::wall_ms()));
    // A copy: a crash in between leaves the damaged file, not none.
    fs::copy(path, &to).and_then(|_| fs::File::open(&to)?.sync_all()).map_err(at(&to))?;
    tracing::error!(
        file = %path.display(), reason, saved = %to.display(),
        "the roots of the fleet are damaged and saved aside"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ed25519_dalek::SigningKey;
    use wayside_config::{cosign::Kind, document::Grant, fleet::Roles, quorum::Quorum, signer::Signer};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn chain(fleet: &Fleet) -> Vec<Bytes> {
        fleet.roots().iter().cloned().map(Bytes::from).collect()
    }

    fn open(folder: &Path, pinned: Option<Pinned>) -> Roots {
        Roots::open(folder, &folder.join("damaged"), pinned).unwrap()
    }

    #[test]
    fn the_first_fleet_is_taken_and_then_only_its_newer_roots() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (Fleet::of_one(&key(1)).unwrap(), Fleet::of_one(&key(2)).unwrap());
        let roots = open(folder.path(), None);
        assert_eq!(roots.introduce(&chain(&ours), None).unwrap().fleet, Some(ours.clone()));
        assert!(matches!(
            roots.introduce(&chain(&other), None),
            Err(Refused::Fleet(FleetError::Other { .. }))
        ));
        let next = ours.next(Roles::all(&Quorum::one(key(3).key())), 7, None);
        let next = cosign::seal(&ours.id(), &next, &key(1)).unwrap();
        let next: Bytes = cosign::add(Kind::Root, &ours.id(), &next, &key(3)).unwrap().into();
        let longer = [chain(&ours), vec![next]].concat();
        assert_eq!(roots.introduce(&longer, None).unwrap().fleet.unwrap().root().version, 2);
        // An older chain is no news.
        assert_eq!(roots.introduce(&chain(&ours), None).unwrap().fleet.unwrap().root().version, 2);
        assert_eq!(open(folder.path(), None).known(), roots.known());
    }

    #[test]
    fn what_is_revoked_is_said_by_those_who_may_and_never_less_than_before() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Fleet::of_one(&key(1)).unwrap();
        let roots = open(folder.path(), None);
        let list = |version, seed| -> Option<Bytes> {
            let list = Revocation { version, issued_ms: 0, devices: Vec::new(), documents: Vec::new() };
            Some(cosign::seal(&ours.id(), &list, &key(seed)).unwrap().into())
        };
        for (version, known) in [(2, 2), (1, 2), (3, 3)] {
            let now = roots.introduce(&chain(&ours), list(version, 1)).unwrap();
            assert_eq!(now.revocation.unwrap().1, known);
        }
        assert!(matches!(roots.introduce(&chain(&ours), list(4, 2)), Err(Refused::Revocation(_))));
    }

    #[test]
    fn who_was_put_out_stays_out_over_a_rotation_and_no_older_list_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, out) = (Fleet::of_one(&key(1)).unwrap(), [key(9).key()]);
        let list = |version, issued_ms, devices: &[DeviceId], seed| -> Option<Bytes> {
            let list = Revocation { version, issued_ms, devices: devices.to_vec(), documents: Vec::new() };
            Some(cosign::seal(&ours.id(), &list, &key(seed)).unwrap().into())
        };
        open(folder.path(), None).introduce(&chain(&ours), list(5, 500, &out, 1)).unwrap();
        // Key 3 takes the place of key 1 at 1000, and had signed a list before.
        let next = ours.next(Roles::all(&Quorum::one(key(3).key())), 1000, None);
        let next = cosign::seal(&ours.id(), &next, &key(1)).unwrap();
        let next: Bytes = cosign::add(Kind::Root, &ours.id(), &next, &key(3)).unwrap().into();
        let longer = [chain(&ours), vec![next]].concat();
        for old in [None, list(3, 300, &[], 3)] {
            let known = open(folder.path(), None).introduce(&longer, old).unwrap();
            let listed = known.list.map(|list| list.devices.clone());
            assert_eq!((known.revocation, listed.as_deref()), (None, Some(&out[..])));
        }
        let known = open(folder.path(), None).introduce(&longer, list(1, 1000, &[], 3)).unwrap();
        let listed = known.list.map(|list| list.devices.clone());
        assert_eq!((known.revocation.unwrap().1, known.before, listed), (1, None, Some(vec![])));
    }

    #[test]
    fn a_grant_counts_for_its_device_by_those_who_may_now_and_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, device) = (Fleet::of_one(&key(1)).unwrap(), key(9).key());
        let grant = |seed, expires_ms| {
            let grant = Grant {
                device,
                version: 3,
                issued_ms: 100,
                expires_ms,
                name: "ewr".into(),
                labels: BTreeMap::from([("plant".into(), "p7".into())]),
                site: None,
                under: None,
            };
            cosign::seal(&ours.id(), &grant, &key(seed)).unwrap()
        };
        let roots = open(folder.path(), None);
        assert_eq!(roots.granted(&device, &grant(1, None), 200), None, "no fleet is known");
        roots.introduce(&chain(&ours), None).unwrap();
        let granted = roots.granted(&device, &grant(1, None), 200).unwrap();
        assert_eq!(
            (granted.version, granted.name.as_str(), granted.labels["plant"].as_str()),
            (3, "ewr", "p7")
        );
        assert_eq!(roots.granted(&key(8).key(), &grant(1, None), 200), None, "of another device");
        assert_eq!(roots.granted(&device, &grant(2, None), 200), None, "signed by a stranger");
        assert!(roots.granted(&device, &grant(1, Some(201)), 200).is_some());
        assert_eq!(roots.granted(&device, &grant(1, Some(200)), 200), None, "over");
        let list = Revocation { version: 1, issued_ms: 0, devices: vec![device], documents: Vec::new() };
        let list = cosign::seal(&ours.id(), &list, &key(1)).unwrap();
        assert!(!roots.is_void(&device, &granted));
        roots.introduce(&chain(&ours), Some(list.into())).unwrap();
        assert_eq!(roots.granted(&device, &grant(1, None), 200), None, "revoked");
        assert!(roots.is_void(&device, &granted));
    }

    #[test]
    fn one_damaged_copy_is_mended_and_two_let_nobody_in_until_a_fleet_is_named() {
        let (ours, other) = (Fleet::of_one(&key(1)).unwrap(), Fleet::of_one(&key(2)).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path(), None).introduce(&chain(&ours), None).unwrap();
        for copy in ["fleet", "fleet.copy"] {
            fs::write(folder.path().join(copy), "damaged").unwrap();
            assert_eq!(open(folder.path(), None).known(), known);
            assert_eq!(open(folder.path(), None).problem(), None);
        }
        for copy in ["fleet", "fleet.copy"] {
            fs::write(folder.path().join(copy), "damaged").unwrap();
        }
        // Also at the next start, when the damaged files are no longer there.
        for _ in 0..2 {
            let roots = open(folder.path(), None);
            assert!(matches!(roots.introduce(&chain(&ours), None), Err(Refused::Damaged)));
            assert!(roots.problem().is_some_and(|problem| problem.contains("--operator KEY")));
        }
        let roots = open(folder.path(), Some(Pinned::Operator(key(1).key())));
        assert!(matches!(roots.introduce(&chain(&other), None), Err(Refused::Fleet(_))));
        assert_eq!(roots.introduce(&chain(&ours), None).unwrap(), known);
        assert_eq!(roots.problem(), None);
    }

    #[test]
    fn a_state_of_the_time_before_fleets_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let older = folder.path().join("operators");
        fs::write(&older, "").unwrap();
        let refused = Roots::open(folder.path(), &folder.path().join("damaged"), None);
        assert!(matches!(refused, Err(StateError::Older(path)) if path == older));
        assert!(older.exists());
    }
}
