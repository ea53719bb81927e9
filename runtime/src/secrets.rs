//! The secrets of this device: sealed on its disk, in the clear in memory alone, where the modules see them that their releases name.
//!
//! Who may set one is asked in [`crate::trust`]; here is what was taken, and which module has which.

mod kept;
mod place;
mod sealing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::sync::watch;
use wayside_config::{
    identity::{DeviceId, FleetId},
    limits::SECRETS,
    secret::{SecretChange, SecretMount, SecretName},
    workload::ModuleId,
};

pub(crate) use self::sealing::seal;
use self::{
    kept::{Held, Kept},
    place::Place,
    sealing::Plain,
};
use crate::state::{Identity, StateFolder};

/// All secrets of the device. Its calls block on the disk.
pub struct Secrets {
    device: DeviceId,
    key: SigningKey,
    state: Arc<StateFolder>,
    place: Place,
    inner: Mutex<Inner>,
    /// How often something may have changed for who waits.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    kept: Kept,
    uses: BTreeMap<ModuleId, Use>,
    /// Modules whose containers could not be made, for a secret was missing.
    held_back: BTreeMap<ModuleId, Vec<SecretMount>>,
    /// Why files are not as they should be, by module.
    problems: BTreeMap<ModuleId, String>,
    /// How often something was made.
    count: u64,
    /// Whether the engine has said which containers there are: before, no folder is known to be nobody's.
    is_listed: bool,
    /// Whether what was given up may be on the disk still.
    is_owed: bool,
}

/// What a module's container has.
#[derive(Debug)]
struct Use {
    mounts: Vec<SecretMount>,
    /// When it was made, counted by this daemon; 0 before this daemon, [`MAKING`] until it is known.
    order: u64,
}

/// A list that the engine gives meanwhile may not have it.
const MAKING: u64 = u64::MAX;

/// Why a change of a secret is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Somebody sent an old one again, or set another one meanwhile.
    #[error("the change has version {0}, and version {1} was taken already: set it again")]
    Older(u64, u64),
    /// There is no room for one more.
    #[error("this device has {SECRETS} secrets already: remove one first")]
    TooMany,
    /// It was made for something else.
    #[error("the value does not open for this device and this secret: set it again")]
    Closed,
    /// There is nothing to remove.
    #[error("this device has no secret {0}")]
    Unknown(SecretName),
    /// It is as it was before.
    #[error("the secrets could not be written: {0}; make room on the disk")]
    Keep(#[from] std::io::Error),
}

impl Secrets {
    /// Reads what is kept; `folder` is in memory. The text is a problem to show.
    #[must_use]
    pub fn load(identity: &Identity, folder: &Path, state: Arc<StateFolder>) -> (Self, Option<String>) {
        let (kept, problem) = Kept::load(&state);
        let secrets = Self {
            device: identity.device(),
            key: identity.key().clone(),
            state,
            place: Place::new(folder, &identity.device()),
            inner: Mutex::new(Inner { kept, ..Inner::default() }),
            changed: watch::Sender::new(0),
        };
        (secrets, problem)
    }

    /// Takes a change that enough operators have signed, and gives modules what follows from it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn take(&self, sealed: Bytes, change: SecretChange, fleet: FleetId) -> Result<(), SecretError> {
        let mut inner = self.lock();
        if change.device != self.device {
            return Err(SecretError::Closed);
        }
        if change.version <= inner.kept.version {
            return Err(SecretError::Older(change.version, inner.kept.version));
        }
        let name = change.secret.clone();
        let mut next = inner.kept.clone();
        next.version = change.version;
        if change.value.is_some() {
            let held = Held::new(sealed, change, fleet);
            if self.open(&held).is_none() {
                return Err(SecretError::Closed);
            }
            next.held.insert(name, held);
        } else if next.held.remove(&name).is_none() {
            return Err(SecretError::Unknown(name));
        }
        if next.held.len() > SECRETS {
            return Err(SecretError::TooMany);
        }
        next.save(&self.state)?;
        inner.kept = next;
        self.hand_out(&mut inner);
        Ok(())
    }

    /// Gives up those of other fleets: what the operators of one set is not for modules of another.
    ///
    /// # Errors
    /// Those on the disk are still there.
    pub fn only_of(&self, fleet: FleetId) -> std::io::Result<()> {
        let mut inner = self.lock();
        let before = inner.kept.held.len();
        inner.kept.held.retain(|_, held| held.fleet == fleet);
        if inner.kept.held.len() == before {
            return Ok(());
        }
        tracing::info!("secrets of another fleet are removed");
        self.hand_out(&mut inner);
        self.save_rest(&mut inner)
    }

    /// Gives up all of them: this device is out of its fleet.
    ///
    /// # Errors
    /// Those on the disk are still there.
    pub fn wipe(&self) -> std::io::Result<()> {
        let mut inner = self.lock();
        if inner.kept.held.is_empty() && !inner.is_owed {
            return Ok(());
        }
        tracing::info!("this device is revoked: its secrets are removed");
        // Those in the clear go in any case.
        inner.kept.held.clear();
        self.place.clear();
        self.hand_out(&mut inner);
        self.save_rest(&mut inner)
    }

    /// Has on the disk only what is left. What cannot be written now is owed until it can.
    fn save_rest(&self, inner: &mut Inner) -> std::io::Result<()> {
        inner.is_owed = true;
        inner.kept.save(&self.state)?;
        inner.is_owed = false;
        Ok(())
    }

    /// The highest version that was taken, and which secrets there are, with their versions.
    #[must_use]
    pub fn list(&self) -> (u64, Vec<(SecretName, u64)>) {
        let inner = self.lock();
        let list = inner.kept.held.iter().map(|(name, held)| (name.clone(), held.change.version));
        (inner.kept.version, list.collect())
    }

    /// A container is about to be made that has these: where they are for it.
    ///
    /// # Errors
    /// When one is missing, or there is no place for them. In words, with what to do.
    pub fn prepare(&self, module: &ModuleId, mounts: &[SecretMount]) -> Result<PathBuf, String> {
        let mut inner = self.lock();
        if let Some(problem) = self.missing(&inner.kept, module, mounts) {
            inner.held_back.insert(module.clone(), mounts.to_vec());
            return Err(problem);
        }
        inner.held_back.remove(module);
        let folder = self.place.put(module, &self.files(&inner.kept, module, mounts))?;
        inner.uses.insert(module.clone(), Use { mounts: mounts.to_vec(), order: MAKING });
        inner.problems.remove(module);
        Ok(folder)
    }

    /// What [`Self::prepare`] was for is done, or was not possible.
    pub fn made(&self, module: &ModuleId) {
        let mut inner = self.lock();
        inner.count += 1;
        let order = inner.count;
        if let Some(used) = inner.uses.get_mut(module) {
            used.order = order;
        }
    }

    /// What has happened so far: what happens later is not on a list that begins now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The engine has containers of these modules, by a list that began when so much had happened. After a start of the machine, the
    /// files that they need are made anew.
    pub fn listed(&self, modules: Vec<(ModuleId, Vec<SecretMount>)>, count: u64) {
        let mut inner = self.lock();
        inner.is_listed = true;
        inner.uses.retain(|_, used| used.order > count);
        for (module, mounts) in modules {
            inner.uses.entry(module).or_insert(Use { mounts, order: 0 });
        }
        self.hand_out(&mut inner);
    }

    /// What is wrong, for a person.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        let missing =
            inner.uses.iter().filter_map(|(module, used)| self.missing(&inner.kept, module, &used.mounts));
        missing
            .map(|problem| format!("{problem}; it runs without"))
            .chain(inner.problems.values().cloned())
            .collect()
    }

    /// Modules that were held back and now need not be.
    #[must_use]
    pub fn freed(&self) -> Vec<ModuleId> {
        let mut inner = self.lock();
        let held_back = std::mem::take(&mut inner.held_back);
        let (still, freed): (BTreeMap<_, _>, BTreeMap<_, _>) = held_back
            .into_iter()
            .partition(|(module, mounts)| self.missing(&inner.kept, module, mounts).is_some());
        inner.held_back = still;
        freed.into_keys().collect()
    }

    /// Counts what may have changed for who waits.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Brings the files of all modules to what is kept.
    fn hand_out(&self, inner: &mut Inner) {
        let Inner { kept, uses, problems, is_listed, .. } = inner;
        problems.clear();
        for (module, used) in uses.iter().filter(|(_, used)| !used.mounts.is_empty()) {
            if let Err(problem) = self.place.put(module, &self.files(kept, module, &used.mounts)) {
                problems.insert(module.clone(), format!("{module}: {problem}"));
            }
        }
        if *is_listed {
            self.place.keep_only(&uses.keys().collect::<BTreeSet<_>>());
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// What there is of these, in the clear.
    fn files<'a>(
        &self,
        kept: &Kept,
        module: &ModuleId,
        mounts: &'a [SecretMount],
    ) -> Vec<(&'a SecretMount, Plain)> {
        let file =
            |mount: &'a SecretMount| Some((mount, self.open(kept.find(&module.workload, &mount.secret)?)?));
        mounts.iter().filter_map(file).collect()
    }

    fn missing(&self, kept: &Kept, module: &ModuleId, mounts: &[SecretMount]) -> Option<String> {
        let is_missing = |mount: &&SecretMount| {
            kept.find(&module.workload, &mount.secret).is_none_or(|held| self.open(held).is_none())
        };
        let secret = &mounts.iter().find(is_missing)?.secret;
        Some(format!(
            "{module} has the secret `{secret}`, which was not set on this device: `wayside secret set {secret} --device NAME`"
        ))
    }

    fn open(&self, held: &Held) -> Option<Plain> {
        sealing::open(held.change.value.as_ref()?, &self.key, &held.binding())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without anything of them.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("held", &self.lock().kept.held.len()).finish_non_exhaustive()
    }
}
