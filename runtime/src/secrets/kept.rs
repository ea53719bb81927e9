//! What is kept of secrets: as they were sealed, so that the disk has nothing that its reader could use.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    cosign,
    identity::FleetId,
    secret::{SecretChange, SecretName},
};

use crate::state::{Found, StateFolder};

const FILE: &str = "secrets";
/// The highest version apart from what it is of: it outlives damage of the other file.
const HIGHEST: &str = "secret-version";
const VERSION: u16 = 1;

/// All that is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// The highest version of a change that was taken.
    pub(super) version: u64,
    pub(super) held: BTreeMap<SecretName, Held>,
}

/// A secret as it came.
#[derive(Clone, Debug)]
pub(super) struct Held {
    sealed: Bytes,
    pub(super) change: SecretChange,
    pub(super) fleet: FleetId,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u64,
    changes: Vec<(FleetId, Bytes)>,
}

impl Held {
    pub(super) fn new(sealed: Bytes, change: SecretChange, fleet: FleetId) -> Self {
        Self { sealed, change, fleet }
    }

    /// What its value was bound to.
    pub(super) fn binding(&self) -> Vec<u8> {
        self.change.binding(&self.fleet)
    }
}

impl Kept {
    /// Reads what is kept. The text is a problem to show.
    pub(super) fn load(state: &StateFolder) -> (Self, Option<String>) {
        let (highest, damage) = match state.read::<u64>(HIGHEST, VERSION) {
            Found::Nothing => (0, None),
            Found::Whole(version) => (version, None),
            Found::Damaged(problem) => (0, Some(problem)),
        };
        let again = |problem: String| format!("{problem}; let operators set this device's secrets again");
        let written = match state.read::<Written>(FILE, VERSION) {
            Found::Nothing if highest == 0 => return (Self::default(), damage),
            Found::Nothing => {
                let problem = again(format!("the state file `{FILE}` is missing"));
                return (Self { version: highest, ..Self::default() }, Some(problem));
            }
            Found::Damaged(problem) => {
                return (Self { version: highest, ..Self::default() }, Some(again(problem)));
            }
            Found::Whole(written) => written,
        };
        // Whether enough had signed was asked when they came, and the keys may be others by now.
        let opened = written.changes.into_iter().filter_map(|(fleet, sealed)| {
            let (_, change) = cosign::inspect::<SecretChange>(&fleet, &sealed).ok()?;
            Some((change.secret.clone(), Held::new(sealed, change, fleet)))
        });
        let held = opened.collect();
        // It is still the state file's own if the other one is damaged.
        (Self { version: written.version.max(highest), held }, damage)
    }

    /// Replaces what is kept as a whole.
    pub(super) fn save(&self, state: &StateFolder) -> io::Result<()> {
        let changes = self.held.values().map(|held| (held.fleet, held.sealed.clone())).collect();
        state.write(HIGHEST, VERSION, &self.version)?;
        state.write(FILE, VERSION, &Written { version: self.version, changes })
    }

    /// The secret that modules of a workload have under this name.
    pub(super) fn find(&self, workload: &str, secret: &str) -> Option<&Held> {
        let of = |workload: Option<&str>| SecretName {
            workload: workload.map(Into::into),
            secret: secret.to_owned(),
        };
        self.held.get(&of(Some(workload))).or_else(|| self.held.get(&of(None)))
    }
}
