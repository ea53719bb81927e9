//! What a device keeps of its fleet: the chain of roots, and what does not count any more.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_actors::frame::Desired;
use wayside_config::{cosign, document::Revocation, fleet::Fleet};

use super::TrustError;
use crate::state::{Found, StateFolder};

const FILE: &str = "fleet";
const VERSION: u16 = 1;

/// Of the time before there were fleets.
const OLDER: &str = "operators";

/// What is known of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) fleet: Option<Fleet>,
    pub(super) revocation: Option<Revoked>,
}

/// A list of what does not count any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    pub(super) sealed: Bytes,
    pub(super) list: Revocation,
}

#[derive(Serialize, Deserialize)]
struct Written {
    roots: Vec<Bytes>,
    revocation: Option<Bytes>,
}

/// Whether what is kept of the fleet can be read, or is damaged: else a device would obey whoever comes first.
///
/// # Errors
/// The disk does not give it, or a daemon of another version wrote it.
pub(crate) fn can_be_judged(state: &StateFolder) -> io::Result<()> {
    state.can_be_judged(FILE, VERSION)
}

impl Known {
    /// Reads what is kept. Of what is damaged, as much is taken from the desired state as that tells. The text is a problem to show.
    pub(super) fn load(state: &StateFolder, holds: Option<&Desired>) -> (Self, Option<String>) {
        let (written, damage) = match state.read::<Written>(FILE, VERSION) {
            // It is written before anything else is.
            Found::Nothing if holds.is_some() => (None, Some(format!("the state file `{FILE}` is missing"))),
            Found::Nothing => return (Self::default(), None),
            Found::Whole(written) => (Some(written), None),
            Found::Damaged(problem) => (None, Some(problem)),
        };
        let opened = written.map(|written| Self::open(&written.roots, written.revocation));
        match (opened, damage) {
            (Some(Ok(known)), _) => (known, None),
            (Some(Err(error)), _) => Self::from_desired(holds, state.set_aside(FILE, &error.to_string())),
            (None, damage) => Self::from_desired(holds, damage.unwrap_or_default()),
        }
    }

    /// Not back to obeying the first who comes: the fleet of what runs here is still obeyed.
    fn from_desired(holds: Option<&Desired>, problem: String) -> (Self, Option<String>) {
        let known = holds.and_then(|holds| Self::open(&holds.roots, holds.revocation.clone()).ok());
        let lost = "this device obeys again the first who applies something: name its fleet with --fleet";
        match known {
            Some(known) => (known, Some(problem)),
            None => (Self::default(), Some(format!("{problem}; {lost}"))),
        }
    }

    fn open(roots: &[Bytes], revocation: Option<Bytes>) -> Result<Self, TrustError> {
        if roots.is_empty() {
            return Ok(Self::default());
        }
        let fleet = Fleet::open(roots)?;
        let open = |sealed: Bytes| {
            // Whether enough had signed was asked when it came, and the keys may be others by now.
            let (_, list) = cosign::inspect(&fleet.id(), &sealed).map_err(TrustError::Revocation)?;
            Ok::<_, TrustError>(Revoked { sealed, list })
        };
        let revocation = revocation.map(open).transpose()?;
        Ok(Self { fleet: Some(fleet), revocation })
    }

    /// Replaces what is kept as a whole.
    pub(super) fn save(&self, state: &StateFolder) -> io::Result<()> {
        let revocation = self.revocation.as_ref().map(|revoked| revoked.sealed.clone());
        state.write(FILE, VERSION, &Written { roots: self.roots(), revocation })
    }

    /// The chain as it travels.
    pub(super) fn roots(&self) -> Vec<Bytes> {
        self.fleet.iter().flat_map(Fleet::roots).map(|root| Bytes::copy_from_slice(root)).collect()
    }
}

/// Refuses a state directory of the time before there were fleets: what it holds is not understood here, and is left as it is.
///
/// # Errors
/// In words, with what to do.
pub(crate) fn check_age(state: &StateFolder) -> Result<(), String> {
    let path = state.path().join(OLDER);
    if !path.exists() {
        return Ok(());
    }
    Err(format!(
        "{} is of a Wayside without fleets, which this one cannot read: its containers run on. Run that version again; or remove `{OLDER}` and `desired` there, start this one, and apply the workloads again",
        path.display()
    ))
}
