//! Whose word counts: which fleet this device belongs to, and whether desired state was signed by its operators.

mod admission;
#[cfg(test)]
mod attacks;
mod changes;
mod copies;
mod grants;
mod kept;
mod lived;
mod refusal;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::watch;
use wayside_actors::{device::reconciler::Assigner, frame::Desired};
use wayside_config::{
    cosign::{self, CosignError, Kind},
    document::{Assignment, DocumentId, Release, Revocation},
    fleet::{Fleet, FleetError, Pinned},
    hash::sha256,
    identity::{DeviceId, FleetId, PublicKey},
    quorum::Quorum,
};

pub use self::{
    admission::{Circle, News, Standing},
    grants::Granted,
    refusal::TrustError,
    rules::{Newcomer, RuleView},
};
use self::{
    grants::Grants,
    kept::{Known, Revoked},
    lived::Lived,
    refusal::not_expired,
    rules::Rules,
};
pub(crate) use self::{
    kept::{can_be_judged, check_age},
    lived::KEEP_MS,
};
use crate::{
    clock::wall_ms,
    control::Now,
    state::{Found, StateFolder},
};

const TIME: &str = "time";
const TIME_VERSION: u16 = 1;

/// The fleet that this device obeys.
#[derive(Debug)]
pub struct Trust {
    device: DeviceId,
    cloud: Option<PublicKey>,
    pinned: Option<Pinned>,
    state: Arc<StateFolder>,
    started: Instant,
    known: Mutex<Known>,
    lived: Mutex<Lived>,
    grants: Mutex<Grants>,
    rules: Mutex<Rules>,
    /// How often who belongs to the fleet may have changed.
    changed: watch::Sender<u64>,
}

/// Whose requests a device answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Askers {
    /// Whoever asks: it belongs to no fleet yet.
    Anybody,
    /// Nobody but who brings the roots of its fleet, which it knows by its id alone.
    Strangers,
    /// These.
    Keys(Vec<PublicKey>),
}

/// Desired state whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// As it was signed, with the releases in the assignment's order, and all that is known of the fleet.
    pub sealed: Desired,
    /// What it says.
    pub assignment: Assignment,
    /// What it says.
    pub releases: Vec<Release>,
    /// Who signed the assignment.
    pub by: Assigner,
}

impl Trust {
    /// Reads whom this device obeys. A `pinned` fleet replaces another that was kept before; `holds` is the
    /// desired state on the disk. The texts are problems to show.
    #[must_use]
    pub fn load(
        device: DeviceId,
        cloud: Option<PublicKey>,
        pinned: Option<Pinned>,
        holds: Option<&Desired>,
        state: Arc<StateFolder>,
    ) -> (Self, Option<String>) {
        let (mut known, problem) = Known::load(&state, holds);
        let mut problems = Vec::from_iter(problem);
        let is_other = |fleet: &Fleet| pinned.is_some_and(|pinned| pinned.id() != fleet.id());
        let changes = known.fleet.as_ref().is_some_and(is_other);
        if changes {
            known = Known::default();
        }
        if (changes || !problems.is_empty())
            && let Err(error) = known.save(&state)
        {
            problems.push(format!("what is known of the fleet could not be written: {error}"));
        }
        let (grants, problem) = Grants::load(&state, known.fleet.as_ref());
        problems.extend(problem);
        let (rules, problem) = Rules::load(&state, known.fleet.as_ref());
        problems.extend(problem);
        let lived = match state.read::<u64>(TIME, TIME_VERSION) {
            Found::Nothing => 0,
            Found::Whole(least_ms) => least_ms,
            Found::Damaged(problem) => {
                problems.push(format!(
                    "{problem}; the time is taken from the clock until an operator signs anew"
                ));
                0
            }
        };
        let trust = Self {
            device,
            cloud,
            pinned,
            state,
            started: Instant::now(),
            known: Mutex::new(known),
            lived: Mutex::new(Lived::from_kept(lived)),
            grants: Mutex::new(grants),
            rules: Mutex::new(rules),
            changed: watch::Sender::new(0),
        };
        (trust, (!problems.is_empty()).then(|| problems.join("; ")))
    }

    /// Whose requests it answers.
    #[must_use]
    pub fn askers(&self) -> Askers {
        match (&lock(&self.known).fleet, self.pinned) {
            (Some(fleet), _) => Askers::Keys(fleet.root().roles.assign.keys().to_vec()),
            (None, Some(Pinned::Operator(key))) => Askers::Keys(vec![key]),
            (None, Some(Pinned::Fleet(_))) => Askers::Strangers,
            (None, None) => Askers::Anybody,
        }
    }

    /// The fleet it belongs to, and the version of its root; 0 for a root that has not come yet.
    #[must_use]
    pub fn fleet(&self) -> Option<(FleetId, u64)> {
        let known = lock(&self.known);
        let known = known.fleet.as_ref().map(|fleet| (fleet.id(), fleet.root().version));
        known.or_else(|| self.pinned.map(|pinned| (pinned.id(), 0)))
    }

    /// Checks every signature, and that nothing new has expired: `holds` is what the device runs already. A device
    /// of no fleet belongs from now on to that of whoever signed.
    ///
    /// # Errors
    /// See [`TrustError`]. A newer root that holds is kept all the same.
    pub fn verify(&self, desired: Desired, holds: &Desired) -> Result<Verified, TrustError> {
        self.verify_at(desired, holds, self.now())
    }

    fn verify_at(&self, desired: Desired, holds: &Desired, now: Now) -> Result<Verified, TrustError> {
        let mut known = lock(&self.known);
        let offered = self.learn(&known, &desired)?;
        let fleet = offered.fleet.as_ref().ok_or(TrustError::NoFleet)?;
        let belongs = known.fleet.is_some() || self.pinned.is_some();
        if belongs {
            self.keep(&mut known, &offered)?;
        }
        let (assignment, by) = self.open_assignment(fleet, &desired.assignment)?;
        if assignment.device != self.device {
            return Err(TrustError::OtherDevice(assignment.device, self.device));
        }
        let revoked = offered.revocation.as_ref().map(|revoked| &revoked.list);
        if self.is_out_by(revoked) {
            return Err(TrustError::Out(fleet.id()));
        }
        let is_held = |sealed: &Bytes| holds.releases.contains(sealed);
        let (releases, sealed) = open_releases(&desired, &assignment, |sealed| {
            // What it runs it has verified: who signed it then may sign no more now.
            let opened = if is_held(sealed) {
                cosign::inspect::<Release>(&fleet.id(), sealed)
            } else {
                fleet.verify::<Release>(sealed)
            };
            opened.map(|(_, release)| release)
        })?;
        let time_ms = lock(&self.lived).time_ms(now);
        if holds.assignment != desired.assignment {
            not_expired("the fleet's root", fleet.root().expires_ms, time_ms)?;
        }
        for (release, sealed) in releases.iter().zip(&sealed).filter(|(_, sealed)| !is_held(sealed)) {
            let name = &release.workload.name;
            let hash = cosign::payload_hash(Kind::Release, sealed).map_err(TrustError::Release)?;
            if revoked.is_some_and(|list| list.is_over(&DocumentId(hash))) {
                return Err(TrustError::Revoked(name.clone()));
            }
            not_expired(&format!("the release of `{name}`"), release.expires_ms, time_ms)?;
        }
        if !belongs {
            match (releases.is_empty(), by) {
                (false, _) => self.belong(&mut known, &offered, &fleet.id(), "applied something")?,
                // The cloud of its link says that there is nothing to run.
                (true, Assigner::Cloud) => {}
                (true, Assigner::Operator) => return Err(TrustError::Nothing),
            }
        }
        let told = releases.iter().map(|release| release.issued_ms).chain([fleet.root().issued_ms]).max();
        self.told(told.unwrap_or_default(), now)?;
        let revocation = offered.revocation.as_ref().map(|revoked| revoked.sealed.clone());
        let sealed =
            Desired { roots: offered.roots(), revocation, assignment: desired.assignment, releases: sealed };
        Ok(Verified { sealed, assignment, releases, by })
    }

    /// Keeps what was learned, before it counts.
    fn keep(&self, known: &mut Known, offered: &Known) -> Result<(), TrustError> {
        if offered != known {
            offered.save(&self.state)?;
            known.clone_from(offered);
            self.changed.send_modify(|changes| *changes += 1);
        }
        Ok(())
    }

    /// Belongs to a fleet from now on, because somebody of it came first and did this.
    fn belong(
        &self,
        known: &mut Known,
        offered: &Known,
        fleet: &FleetId,
        did: &'static str,
    ) -> Result<(), TrustError> {
        self.keep(known, offered)?;
        tracing::info!(%fleet, "from now on this device belongs to the fleet of whoever {did} first");
        Ok(())
    }

    /// Whether this list puts this device out: by its key, or with what it came in by.
    fn is_out_by(&self, list: Option<&Revocation>) -> bool {
        list.is_some_and(|list| list.is_out(&self.device))
            || lock(&self.grants).get(&self.device).is_some_and(|own| own.is_void(list))
    }

    /// What is known of the fleet with what comes: newer roots, and a newer list of what is revoked.
    fn learn(&self, known: &Known, desired: &Desired) -> Result<Known, TrustError> {
        let mut offered = known.clone();
        match &known.fleet {
            // A cloud that lost its roots has nothing new to say.
            Some(_) | None if desired.roots.is_empty() => {}
            Some(fleet) => {
                if let Some(newer) = fleet.follow(&desired.roots)? {
                    tracing::info!(fleet = %newer.id(), root = newer.root().version, "the fleet has a newer root");
                    offered.fleet = Some(newer);
                }
            }
            None => {
                let fleet = Fleet::open(&desired.roots)?;
                match self.pinned.map(|pinned| pinned.id()).filter(|ours| *ours != fleet.id()) {
                    Some(ours) => return Err(FleetError::Other { theirs: fleet.id(), ours }.into()),
                    None => offered.fleet = Some(fleet),
                }
            }
        }
        if let (Some(fleet), Some(sealed)) = (&offered.fleet, &desired.revocation)
            && known.revocation.as_ref().is_none_or(|revoked| revoked.sealed != sealed)
        {
            let peeked = cosign::peek::<Revocation>(sealed).map_err(TrustError::Revocation)?;
            let counts = |revoked: &Revoked| fleet.verify::<Revocation>(&revoked.sealed).is_ok();
            let gives_way = |revoked: &Revoked| fleet.replaces(&revoked.list, counts(revoked), &peeked);
            if known.revocation.as_ref().is_none_or(gives_way) {
                let (_, list) = fleet.verify(sealed).map_err(TrustError::Revocation)?;
                offered.revocation = Some(Revoked { sealed: sealed.clone(), list });
            }
        }
        Ok(offered)
    }

    fn open_assignment(&self, fleet: &Fleet, sealed: &[u8]) -> Result<(Assignment, Assigner), TrustError> {
        let signers = cosign::claimed_signers(Kind::Assignment, sealed).map_err(TrustError::Assignment)?;
        let (opened, by) = match self.cloud.filter(|cloud| signers == [*cloud]) {
            Some(cloud) => {
                let opened = cosign::open(&fleet.id(), sealed, &Quorum::one(cloud));
                (opened, Assigner::Cloud)
            }
            None => (fleet.verify(sealed), Assigner::Operator),
        };
        opened.map(|(_, assignment)| (assignment, by)).map_err(TrustError::Assignment)
    }

    /// Keeps how much time was lived through. To be called every [`KEEP_MS`].
    ///
    /// # Errors
    /// It is kept as it was before.
    pub fn keep_time(&self) -> io::Result<()> {
        self.told(0, self.now())
    }

    /// What of `releases` has expired: it runs on, and somebody should know that nothing newer came.
    #[must_use]
    pub fn expired(&self, holds: &Desired) -> Vec<String> {
        self.expired_at(holds, self.now())
    }

    fn expired_at(&self, holds: &Desired, now: Now) -> Vec<String> {
        let time_ms = lock(&self.lived).time_ms(now);
        let releases = holds.releases.iter();
        releases
            .filter_map(|sealed| cosign::peek::<Release>(sealed).ok())
            .filter(|release| release.expires_ms.is_some_and(|expires_ms| expires_ms <= time_ms))
            .map(|release| {
                let name = release.workload.name;
                format!("the release of {name} has expired and nothing newer came: it runs on; is somebody holding newer ones back?")
            })
            .collect()
    }

    fn told(&self, told_ms: u64, now: Now) -> io::Result<()> {
        let mut lived = lock(&self.lived);
        lived.told(told_ms, now);
        if let Some(least_ms) = lived.worth_keeping(now) {
            self.state.write(TIME, TIME_VERSION, &least_ms)?;
            lived.kept(least_ms);
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: wall_ms(), uptime_ms }
    }
}

/// What desired state from this device's own disk says. It was verified when it came, so whether who
/// signed it still may is not asked again; that it is unchanged is.
///
/// # Errors
/// See [`TrustError`].
pub fn reopen(desired: Desired) -> Result<Verified, TrustError> {
    let fleet = Fleet::open(&desired.roots)?.id();
    let (_, assignment) = cosign::inspect(&fleet, &desired.assignment).map_err(TrustError::Assignment)?;
    let (releases, sealed) = open_releases(&desired, &assignment, |sealed| {
        cosign::inspect::<Release>(&fleet, sealed).map(|(_, release)| release)
    })?;
    Ok(Verified {
        sealed: Desired { releases: sealed, ..desired },
        assignment,
        releases,
        by: Assigner::Operator,
    })
}

/// The releases that the assignment names, in its order.
fn open_releases(
    desired: &Desired,
    assignment: &Assignment,
    open: impl Fn(&Bytes) -> Result<Release, CosignError>,
) -> Result<(Vec<Release>, Vec<Bytes>), TrustError> {
    let (mut releases, mut sealed) = (Vec::new(), Vec::new());
    for reference in &assignment.releases {
        let bytes = desired.releases.iter().find(|bytes| sha256(bytes) == reference.sha256);
        let bytes = bytes.ok_or_else(|| TrustError::Missing(reference.workload.clone()))?;
        releases.push(open(bytes).map_err(TrustError::Release)?);
        sealed.push(bytes.clone());
    }
    Ok((releases, sealed))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
