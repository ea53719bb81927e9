//! What actors begin with: their state on the disk.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use wayside_actors::device::{
    reconciler::{Floors, Life, Locks, Pulled},
    twins::Twins,
};

use super::Device;
use crate::{floors, lives, locks, pulled};

/// Who noticed that twins on the disk were damaged: that stays to be said until the daemon ends.
const TWINS_ON_DISK: &str = "twins on the disk";

/// Who noticed that what is known of workloads was damaged on the disk: that stays to be said until the daemon ends.
const LIVES_ON_DISK: &str = "workloads on the disk";

/// Who noticed that the highest versions were damaged: that stays to be said until the daemon ends.
const VERSIONS: &str = "versions";

impl Device {
    /// The highest versions on the disk.
    pub(super) fn load_floors(self: &Rc<Self>) -> Floors {
        let (floors, problem) = floors::load(&self.adapters.state);
        if problem.is_some() {
            self.problem(VERSIONS, problem);
        }
        self.adapters.view.taken(floors.clone());
        floors
    }

    /// What is known of workloads, on the disk.
    pub(super) fn load_lives(self: &Rc<Self>) -> Result<BTreeMap<String, Life>, String> {
        let adapters = &self.adapters;
        let read = lives::load(&adapters.state, adapters.trust.fleet().map(|(fleet, _)| fleet));
        let (lives, problems) =
            read.map_err(|error| format!("the versions of workloads could not be read: {error}"))?;
        if !problems.is_empty() {
            self.problems_of(LIVES_ON_DISK, problems);
        }
        Ok(lives)
    }

    /// Who holds updates back, on the disk.
    pub(super) fn load_locks(self: &Rc<Self>) -> Locks {
        let (locks, problem) = locks::load(&self.adapters.state);
        if problem.is_some() {
            self.problem("locks", problem);
        }
        self.adapters.view.locked_by(locks.clone());
        locks
    }

    /// Which images were got here, on the disk.
    pub(super) fn load_pulled(self: &Rc<Self>) -> Pulled {
        let (pulled, problem) = pulled::load(&self.adapters.state);
        if problem.is_some() {
            self.problem("images", problem);
        }
        pulled
    }

    /// The twins that are on the disk.
    pub(super) async fn load_twins(self: &Rc<Self>) -> Result<Twins, String> {
        let state = Arc::clone(&self.adapters.state);
        let reading = self.adapters.blocking.spawn_blocking(move || crate::twins::load(&state)).await;
        let read = reading.map_err(|error| error.to_string())?;
        let (twins, problems) = read.map_err(|error| format!("the twins could not be read: {error}"))?;
        if !problems.is_empty() {
            self.problems_of(TWINS_ON_DISK, problems);
        }
        // Without randomness a twin that begins anew could take an old change for its own.
        let seed = getrandom::u64().map_err(|error| error.to_string())?;
        Ok(Twins::new(twins, seed))
    }
}
