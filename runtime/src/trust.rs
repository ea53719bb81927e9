//! Whose word counts: which keys this device obeys, and whether desired state was signed by them.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use wayside_actors::{device::reconciler::Assigner, frame::Desired};
use wayside_config::{
    document::{Assignment, Release, TwinChange},
    envelope::{self, EnvelopeError, Kind},
    hash::sha256,
    identity::{DeviceId, PublicKey},
};

use crate::state::{Found, StateFolder};

const FILE: &str = "operators";
const VERSION: u16 = 1;

/// The keys that this device obeys.
#[derive(Debug)]
pub struct Trust {
    device: DeviceId,
    cloud: Option<PublicKey>,
    state: Arc<StateFolder>,
    operators: Mutex<Vec<PublicKey>>,
}

/// Desired state whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// As it was signed, with the releases in the assignment's order.
    pub sealed: Desired,
    /// What it says.
    pub assignment: Assignment,
    /// What it says.
    pub releases: Vec<Release>,
    /// Who signed the assignment.
    pub by: Assigner,
}

/// Why desired state was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The assignment is not signed by the cloud or by an operator, or was changed.
    #[error("the assignment: {0}")]
    Assignment(EnvelopeError),
    /// A release is not signed by an operator, or was changed.
    #[error("a release: {0}; let its operator apply it, or start the device with --operator KEY")]
    Release(EnvelopeError),
    /// For another device.
    #[error("the assignment is for device {}, and this one is {}", .0.short(), .1.short())]
    OtherDevice(DeviceId, DeviceId),
    /// It names a release that did not come with it.
    #[error("the assignment names a release of `{0}` that did not come with it")]
    Missing(String),
    /// The first operator's key could not be kept.
    #[error("the operator's key could not be written: {0}")]
    Keep(#[from] io::Error),
}

impl Trust {
    /// Reads whom this device obeys. `configured` keys replace what was kept before; `holds` is the
    /// desired state on the disk. The text is a problem to show.
    #[must_use]
    pub fn load(
        device: DeviceId,
        cloud: Option<PublicKey>,
        configured: &[PublicKey],
        holds: Option<&Desired>,
        state: Arc<StateFolder>,
    ) -> (Self, Option<String>) {
        let (mut operators, problem) = match state.read::<Vec<PublicKey>>(FILE, VERSION) {
            Found::Nothing => (Vec::new(), None),
            Found::Whole(operators) => (operators, None),
            // Not back to obeying the first who comes: whoever signed what runs here is still obeyed.
            Found::Damaged(problem) => (holds.map(signers).unwrap_or_default(), Some(problem)),
        };
        let mut problems = Vec::from_iter(problem);
        if !configured.is_empty() {
            operators = configured.to_vec();
        }
        if !(configured.is_empty() && problems.is_empty())
            && let Err(error) = state.write(FILE, VERSION, &operators)
        {
            problems.push(format!("the operators' keys could not be written: {error}"));
        }
        if operators.is_empty() && !problems.is_empty() {
            problems.push("this device obeys again the first operator who applies something: name yours with --operator".into());
        }
        let trust = Self { device, cloud, state, operators: Mutex::new(operators) };
        (trust, (!problems.is_empty()).then(|| problems.join("; ")))
    }

    /// The keys it obeys; empty when it obeys the first that hands it a release.
    #[must_use]
    pub fn operators(&self) -> Vec<PublicKey> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks every signature. A device that obeys nobody yet obeys from now on whoever signed.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn verify(&self, desired: Desired) -> Result<Verified, TrustError> {
        let operators = self.operators();
        let first = operators.is_empty().then(|| first_signer(&desired)).flatten();
        let obeyed: Vec<_> =
            operators.iter().copied().chain(first.filter(|key| Some(*key) != self.cloud)).collect();
        let for_assignment: Vec<_> = obeyed.iter().copied().chain(self.cloud).collect();
        let (mut verified, signers) = open(desired, &for_assignment, &obeyed)?;
        let signer = envelope::claimed_signer(&verified.sealed.assignment).map_err(TrustError::Assignment)?;
        if !obeyed.contains(&signer) {
            verified.by = Assigner::Cloud;
        }
        if verified.assignment.device != self.device {
            return Err(TrustError::OtherDevice(verified.assignment.device, self.device));
        }
        if operators.is_empty() && !signers.is_empty() {
            self.state.write(FILE, VERSION, &signers)?;
            tracing::info!(operator = %signers[0], "from now on this device obeys the first operator who applied something");
            *self.operators.lock().unwrap_or_else(PoisonError::into_inner) = signers;
        }
        Ok(verified)
    }
}

impl Trust {
    /// Checks who signed a change of a twin, and for whom: `name` is what this device is called.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn verify_twin(&self, sealed: &[u8], name: &str) -> Result<TwinChange, String> {
        let opened = envelope::open::<TwinChange>(sealed, Kind::TwinChange, &self.operators());
        let (_, change) = opened.map_err(|error| {
            format!("the change: {error}; let an operator make it whom the device obeys: `--operator KEY`")
        })?;
        if change.device != self.device {
            let (theirs, ours) = (change.device.short(), self.device.short());
            return Err(format!("the change is for device {theirs}, and this one is {ours}"));
        }
        match &change.name {
            Some(meant) if meant != name => {
                Err(format!("the change is for {meant}, and this device is called {name}"))
            }
            Some(_) | None => Ok(change),
        }
    }
}

/// What desired state from this device's own disk says. It was verified when it came, so whoever
/// signed it is not asked again; that it is unchanged is.
///
/// # Errors
/// See [`TrustError`].
pub fn reopen(desired: Desired) -> Result<Verified, TrustError> {
    let mut all = signers(&desired);
    all.extend(envelope::claimed_signer(&desired.assignment));
    open(desired, &all, &all).map(|(verified, _)| verified)
}

/// Also gives who signed the releases that the assignment names.
fn open(
    desired: Desired,
    assigners: &[PublicKey],
    operators: &[PublicKey],
) -> Result<(Verified, Vec<PublicKey>), TrustError> {
    let (_, assignment) = envelope::open::<Assignment>(&desired.assignment, Kind::Assignment, assigners)
        .map_err(TrustError::Assignment)?;
    let (mut releases, mut sealed, mut signers) = (Vec::new(), Vec::new(), Vec::new());
    for reference in &assignment.releases {
        let bytes = desired.releases.iter().find(|bytes| sha256(bytes) == reference.sha256);
        let bytes = bytes.ok_or_else(|| TrustError::Missing(reference.workload.clone()))?;
        let (signer, release) =
            envelope::open::<Release>(bytes, Kind::Release, operators).map_err(TrustError::Release)?;
        if !signers.contains(&signer) {
            signers.push(signer);
        }
        releases.push(release);
        sealed.push(bytes.clone());
    }
    let sealed = Desired { assignment: desired.assignment, releases: sealed };
    Ok((Verified { sealed, assignment, releases, by: Assigner::Operator }, signers))
}

/// Who claims to have signed what a device that obeys nobody would run. Counts only where that is
/// verified, of a release that the assignment names.
fn first_signer(desired: &Desired) -> Option<PublicKey> {
    envelope::claimed_signer(desired.releases.first()?).ok()
}

fn signers(desired: &Desired) -> Vec<PublicKey> {
    let mut signers: Vec<_> =
        desired.releases.iter().filter_map(|sealed| envelope::claimed_signer(sealed).ok()).collect();
    signers.sort_unstable();
    signers.dedup();
    signers
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::{
        document::ReleaseRef,
        workload::{Target, Workload},
    };

    use super::*;

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
        (key, public)
    }

    const DEVICE: u8 = 9;

    fn desired(assigner: u8, operator: u8, device: u8) -> Desired {
        let workload = Workload {
            name: "w".into(),
            target: Target::default(),
            modules: Default::default(),
            leaves: Default::default(),
            twins: Default::default(),
            routes: Vec::new(),
        };
        let release =
            envelope::seal(&key(operator).0, Kind::Release, &Release { version: 1, workload }).unwrap();
        let reference =
            ReleaseRef { workload: "w".into(), version: 1, sha256: sha256(&release), members: Vec::new() };
        let assignment = Assignment { device: key(device).1, version: 1, releases: vec![reference] };
        let assignment = envelope::seal(&key(assigner).0, Kind::Assignment, &assignment).unwrap();
        Desired { assignment: assignment.into(), releases: vec![release.into()] }
    }

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn trust(&self, configured: &[PublicKey], holds: Option<&Desired>) -> Trust {
            let state = Arc::new(StateFolder::open(self.0.path()).unwrap());
            Trust::load(key(DEVICE).1, Some(key(3).1), configured, holds, state).0
        }
    }

    #[test]
    fn the_first_operator_is_obeyed_from_then_on() {
        let fixture = Fixture::new();
        let trust = fixture.trust(&[], None);
        assert_eq!(trust.operators(), []);
        trust.verify(desired(1, 1, DEVICE)).unwrap();
        assert!(matches!(trust.verify(desired(2, 2, DEVICE)), Err(TrustError::Assignment(_))));
        drop(trust);
        assert_eq!(fixture.trust(&[], None).operators(), [key(1).1]);
    }

    #[test]
    fn who_signed_nothing_that_runs_is_not_obeyed() {
        let fixture = Fixture::new();
        let trust = fixture.trust(&[], None);
        let empty = Assignment { device: key(DEVICE).1, version: 1, releases: Vec::new() };
        let seal = |signer| envelope::seal(&key(signer).0, Kind::Assignment, &empty).unwrap();
        let by_cloud = Desired { assignment: seal(3).into(), releases: desired(1, 1, DEVICE).releases };
        trust.verify(by_cloud).unwrap();
        let by_stranger = Desired { assignment: seal(1).into(), releases: Vec::new() };
        assert!(matches!(trust.verify(by_stranger), Err(TrustError::Assignment(_))));
        assert_eq!(trust.operators(), []);
    }

    #[test]
    fn the_cloud_assigns_but_does_not_release() {
        let fixture = Fixture::new();
        let trust = fixture.trust(&[key(1).1], None);
        assert_eq!(trust.verify(desired(3, 1, DEVICE)).unwrap().by, Assigner::Cloud);
        assert_eq!(trust.verify(desired(1, 1, DEVICE)).unwrap().by, Assigner::Operator);
        assert!(matches!(trust.verify(desired(3, 3, DEVICE)), Err(TrustError::Release(_))));
        assert!(matches!(trust.verify(desired(1, 1, 8)), Err(TrustError::OtherDevice(..))));
        let fresh = Fixture::new();
        assert!(matches!(fresh.trust(&[], None).verify(desired(3, 3, DEVICE)), Err(TrustError::Release(_))));
    }

    #[test]
    fn a_release_that_did_not_come_is_missed() {
        let fixture = Fixture::new();
        let mut incomplete = desired(1, 1, DEVICE);
        incomplete.releases.clear();
        let refused = fixture.trust(&[key(1).1], None).verify(incomplete);
        assert!(matches!(refused, Err(TrustError::Missing(workload)) if workload == "w"));
    }

    #[test]
    fn damage_does_not_open_the_door() {
        let fixture = Fixture::new();
        std::fs::write(fixture.0.path().join(FILE), "x").unwrap();
        let holds = desired(3, 1, DEVICE);
        assert_eq!(fixture.trust(&[], Some(&holds)).operators(), [key(1).1]);
        assert_eq!(fixture.trust(&[], None).operators(), [key(1).1]);
        assert_eq!(reopen(holds.clone()).unwrap().sealed, holds);
    }
}
