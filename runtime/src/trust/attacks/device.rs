//! A device as attackers meet it: what it verifies, what it has taken before, what it keeps over a restart. And
//! operators who sign what they should not.

use std::collections::BTreeMap;

use wayside_actors::{
    device::reconciler::{Effect, Event, Floors, Reconciler},
    machine::{Effects, Machine, Step},
    time::Time,
};
use wayside_config::{
    cbor,
    cosign::Document,
    document::{Grant, Member, ReleaseRef, TwinChange},
    fleet::{Roles, Root},
    rule::Rule,
    secret::{Ciphertext, SealedValue, SecretChange, SecretName},
    workload::{Target, Workload},
};

use ed25519_dalek::SigningKey;
use wayside_config::signer::Signer;

use super::super::*;

pub(crate) const DEVICE: u8 = 200;
pub(crate) const CLOUD: u8 = 201;
/// When the first documents are signed.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
pub(crate) const YEAR_MS: u64 = 365 * DAY_MS;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    key(seed).key()
}

/// A device of a fleet that it knows by its id.
pub(crate) struct Device {
    folder: tempfile::TempDir,
    pinned: FleetId,
    trust: Option<Trust>,
    reconciler: Reconciler,
    floors: Floors,
    /// What it runs.
    pub(crate) holds: Desired,
    pub(crate) now: Now,
}

impl Device {
    pub(crate) fn of(operators: &Operators) -> Self {
        let mut device = Self {
            folder: tempfile::tempdir().unwrap(),
            pinned: operators.fleet.id(),
            trust: None,
            reconciler: Reconciler::new(public(DEVICE), Floors::default(), BTreeMap::new()),
            floors: Floors::default(),
            holds: Desired::default(),
            now: Now { wall_ms: NOW_MS, uptime_ms: 0 },
        };
        device.restart();
        device
    }

    pub(crate) fn trust(&self) -> &Trust {
        self.trust.as_ref().unwrap()
    }

    /// Its daemon ends and starts again, with what is on its disk and with the clock as it stands.
    pub(crate) fn restart(&mut self) {
        self.trust = None;
        let state = Arc::new(StateFolder::open(self.folder.path()).unwrap());
        let holds = (!self.holds.assignment.is_empty()).then_some(&self.holds);
        let pinned = Some(Pinned::Fleet(self.pinned));
        let (trust, problem) = Trust::load(public(DEVICE), Some(public(CLOUD)), pinned, holds, state);
        assert_eq!(problem, None);
        self.trust = Some(trust);
        self.now.uptime_ms = 0;
        self.reconciler = Reconciler::new(public(DEVICE), self.floors.clone(), BTreeMap::new());
        if let Some(holds) = holds.cloned() {
            let verified = reopen(holds.clone()).unwrap();
            self.tell(verified, true).unwrap();
        }
    }

    /// A file of its state is lost.
    pub(crate) fn lose(&mut self, file: &str) {
        std::fs::remove_file(self.folder.path().join(file)).unwrap();
        self.restart();
    }

    /// Time goes by, and is kept as it is each hour.
    pub(crate) fn live(&mut self, ms: u64) {
        self.now = Now { wall_ms: self.now.wall_ms + ms, uptime_ms: self.now.uptime_ms + ms };
        self.trust().told(0, self.now).unwrap();
    }

    pub(crate) fn expired(&self) -> Vec<String> {
        self.trust().expired_at(&self.holds, self.now)
    }

    #[track_caller]
    pub(crate) fn takes(&mut self, desired: &Desired) {
        self.offer(desired).unwrap();
    }

    /// Refuses it with these words, and changes nothing of what it runs.
    #[track_caller]
    pub(crate) fn refuses(&mut self, desired: &Desired, why: &str) {
        let before = self.holds.clone();
        let refusal = self.offer(desired).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
        assert_eq!(self.holds, before);
    }

    fn offer(&mut self, desired: &Desired) -> Result<(), String> {
        let verified = self.trust().verify_at(desired.clone(), &self.holds, self.now);
        self.tell(verified.map_err(|error| error.to_string())?, false)
    }

    fn tell(&mut self, verified: Verified, restored: bool) -> Result<(), String> {
        let Verified { sealed, assignment, releases, by } = verified;
        let assignment = Box::new(assignment);
        let mut out = Effects::new();
        let event = Event::Desired { sealed, assignment, releases, by, restored };
        self.reconciler.handle(Time::from_millis(self.now.uptime_ms), event, &mut out);
        let mut refusal = Ok(());
        for step in out.take() {
            if let Step::Persist(effect) | Step::Do(effect) = step {
                if let Effect::Save(desired) = effect {
                    self.holds = desired;
                } else if let Effect::SaveFloors(floors) = effect {
                    self.floors = floors;
                } else if let Effect::Problems(problems) = effect
                    && !problems.is_empty()
                {
                    refusal = Err(problems.join("; "));
                }
            }
        }
        refusal
    }
}

/// Operators with their fleet, as it is known to them.
#[derive(Clone)]
pub(crate) struct Operators {
    pub(crate) fleet: Fleet,
    /// A root after those that hold, as somebody would like it.
    claimed: Option<Bytes>,
    keys: Vec<u8>,
}

impl Operators {
    /// One, who may do everything.
    pub(crate) fn alone(seed: u8) -> Self {
        Self { fleet: Fleet::of_one(&key(seed)).unwrap(), claimed: None, keys: vec![seed] }
    }

    /// Three, of whom two sign; one assigns.
    pub(crate) fn of_three() -> Self {
        Self::found(NOW_MS)
    }

    /// Another fleet of the same three.
    pub(crate) fn of_three_again() -> Self {
        Self::found(NOW_MS + 1)
    }

    fn found(issued_ms: u64) -> Self {
        let roles = roles(&[1, 2, 3], 2);
        let root = Root { version: 1, issued_ms, expires_ms: None, previous: None, roles };
        let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
        let root = seal(&id, &root, &[1, 2]);
        Self { fleet: Fleet::open(&[root]).unwrap(), claimed: None, keys: vec![1, 2, 3] }
    }

    pub(crate) fn publics(&self) -> Vec<PublicKey> {
        self.fleet.root().roles.assign.keys().to_vec()
    }

    pub(crate) fn roots(&self) -> Vec<Bytes> {
        self.fleet.roots().iter().cloned().map(Bytes::from).chain(self.claimed.clone()).collect()
    }

    /// The next root, signed by all who have to.
    pub(crate) fn rotate(&mut self, keys: &[u8], threshold: u64) {
        self.rotate_until(keys, threshold, None);
    }

    pub(crate) fn rotate_until(&mut self, keys: &[u8], threshold: u64, expires_ms: Option<u64>) {
        let root = self.fleet.next(roles(keys, threshold), NOW_MS, expires_ms);
        let mut signers = [&self.keys, keys].concat();
        signers.sort_unstable();
        signers.dedup();
        let sealed = seal(&self.fleet.id(), &root, &signers);
        let chain = [self.roots(), vec![sealed.into()]].concat();
        *self = Self { fleet: Fleet::open(&chain).unwrap(), claimed: None, keys: keys.to_vec() };
    }

    pub(crate) fn rotated(&self, keys: &[u8], threshold: u64) -> Self {
        let mut next = self.clone();
        next.rotate(keys, threshold);
        next
    }

    /// A next root that `signers` alone have signed, whether that is enough or not.
    pub(crate) fn rotate_by(&mut self, keys: &[u8], threshold: u64, signers: &[u8]) {
        let root = self.fleet.next(roles(keys, threshold), NOW_MS, None);
        let sealed = seal(&self.fleet.id(), &root, signers);
        self.claimed = Some(sealed.into());
        self.keys = keys.to_vec();
    }

    /// The release of the workload `w`, signed by as many as have to.
    pub(crate) fn release(&self, version: u64) -> Vec<u8> {
        self.signed("w", version, None, &self.enough())
    }

    pub(crate) fn release_by(&self, version: u64, signers: &[u8]) -> Vec<u8> {
        self.signed("w", version, None, signers)
    }

    pub(crate) fn expiring(&self, version: u64, expires_ms: Option<u64>) -> Vec<u8> {
        self.signed("w", version, expires_ms, &self.enough())
    }

    pub(crate) fn named(&self, name: &str, version: u64) -> Vec<u8> {
        self.signed(name, version, None, &self.enough())
    }

    fn signed(&self, name: &str, version: u64, expires_ms: Option<u64>, signers: &[u8]) -> Vec<u8> {
        let workload = Workload {
            name: name.into(),
            target: Target::default(),
            modules: Default::default(),
            leaves: Default::default(),
            twins: Default::default(),
            update: Default::default(),
            priority: Workload::PRIORITY,
            routes: Vec::new(),
        };
        let release = Release { version, issued_ms: NOW_MS, expires_ms, workload };
        seal(&self.fleet.id(), &release, signers)
    }

    fn enough(&self) -> Vec<u8> {
        let threshold = self.fleet.root().roles.release.threshold();
        self.keys[..usize::try_from(threshold).unwrap()].to_vec()
    }

    /// A list of these releases.
    pub(crate) fn revoke(&self, version: u64, releases: &[&[u8]]) -> Bytes {
        self.revoke_by(version, releases, &self.enough())
    }

    pub(crate) fn revoke_by(&self, version: u64, releases: &[&[u8]], signers: &[u8]) -> Bytes {
        let hash = |sealed: &&[u8]| DocumentId(cosign::payload_hash(Kind::Release, sealed).unwrap());
        let documents = releases.iter().map(hash).collect();
        let list = Revocation { version, issued_ms: NOW_MS, devices: Vec::new(), documents };
        seal(&self.fleet.id(), &list, signers).into()
    }

    /// A grant, signed by as many as have to.
    pub(crate) fn grant(&self, grant: &Grant) -> Vec<u8> {
        self.grant_by(grant, &self.enough())
    }

    pub(crate) fn grant_by(&self, grant: &Grant, signers: &[u8]) -> Vec<u8> {
        seal(&self.fleet.id(), grant, signers)
    }

    /// A rule, signed by as many as have to.
    pub(crate) fn rule(&self, rule: &Rule) -> Vec<u8> {
        self.rule_by(rule, &self.enough())
    }

    pub(crate) fn rule_by(&self, rule: &Rule, signers: &[u8]) -> Vec<u8> {
        seal(&self.fleet.id(), rule, signers)
    }

    pub(crate) fn revoke_documents(&self, version: u64, documents: &[DocumentId]) -> Bytes {
        let documents = documents.to_vec();
        let list = Revocation { version, issued_ms: NOW_MS, devices: Vec::new(), documents };
        seal(&self.fleet.id(), &list, &self.enough()).into()
    }

    /// A change of a twin of the device.
    pub(crate) fn twin_by(&self, device: PublicKey, signers: &[u8]) -> Vec<u8> {
        let module = "w/m".parse().unwrap();
        let change = TwinChange { device, name: None, module, life: 1, version: 1, patch: "{}".into() };
        seal(&self.fleet.id(), &change, signers)
    }

    /// A change of a secret of the device, with a value that is no matter here.
    pub(crate) fn secret_by(&self, device: PublicKey, signers: &[u8]) -> Vec<u8> {
        let value = SealedValue { sender: [9; 32], sealed: Ciphertext(vec![7; 20]) };
        let secret = SecretName { workload: None, secret: "token".into() };
        let change = SecretChange { device, version: 1, secret, value: Some(value) };
        seal(&self.fleet.id(), &change, signers)
    }

    /// A list that these made at this time.
    pub(crate) fn revoke_at(
        &self,
        version: u64,
        issued_ms: u64,
        devices: &[PublicKey],
        signers: &[u8],
    ) -> Bytes {
        let devices = devices.to_vec();
        let list = Revocation { version, issued_ms, devices, documents: Vec::new() };
        seal(&self.fleet.id(), &list, signers).into()
    }

    pub(crate) fn revoke_devices(&self, version: u64, devices: &[PublicKey]) -> Bytes {
        let devices = devices.to_vec();
        let list = Revocation { version, issued_ms: NOW_MS, devices, documents: Vec::new() };
        seal(&self.fleet.id(), &list, &self.enough()).into()
    }
}

fn roles(seeds: &[u8], threshold: u64) -> Roles {
    let mut keys: Vec<_> = seeds.iter().map(|seed| public(*seed)).collect();
    keys.sort_unstable();
    let several = Quorum::new(keys.clone(), threshold).unwrap();
    Roles { assign: Quorum::new(keys, 1).unwrap(), ..Roles::all(&several) }
}

/// Signs as every one of `signers`, whoever they are.
fn seal<T: Document>(fleet: &FleetId, document: &T, signers: &[u8]) -> Vec<u8> {
    let (first, others) = signers.split_first().unwrap();
    let sealed = cosign::seal(fleet, document, &key(*first)).unwrap();
    others.iter().fold(sealed, |sealed, seed| cosign::add(T::KIND, fleet, &sealed, &key(*seed)).unwrap())
}

/// Desired state of these sealed releases, which may be anything.
pub(crate) fn desired(
    operators: &Operators,
    device: DeviceId,
    version: u64,
    releases: &[Vec<u8>],
    assigners: &[u8],
) -> Desired {
    let reference = |sealed: &Vec<u8>| {
        let release = cosign::peek::<Release>(sealed).ok();
        ReleaseRef {
            workload: release.as_ref().map_or("w".into(), |release| release.workload.name.clone()),
            version: release.map_or(1, |release| release.version),
            sha256: sha256(sealed),
            members: vec![Member { device, name: "ewr".into(), labels: Default::default() }],
        }
    };
    let mut references: Vec<_> = releases.iter().map(reference).collect();
    references.sort_by(|a, b| a.workload.cmp(&b.workload));
    let assignment = Assignment { device, version, releases: references };
    let assignment = seal(&operators.fleet.id(), &assignment, assigners);
    Desired {
        roots: operators.roots(),
        revocation: None,
        assignment: assignment.into(),
        releases: releases.iter().cloned().map(Bytes::from).collect(),
    }
}
