//! Where the parts of the service find each other: sessions by device, and who waits for what.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use wayside_actors::{
    cloud::{fleet, session},
    frame::Desired,
};
use wayside_config::{cosign::seal, document::Assignment, identity::DeviceId};
use wayside_host::Address;

use super::{
    said::Said,
    state::State,
    store::{Store, StoredRelease},
    view::View,
};

/// Devices whose sessions are replaced at the same time wait for each other when they share a gate.
const GATES: usize = 64;

/// What the rest of the service shares.
pub(super) struct Hub {
    pub(super) state: State,
    pub(super) store: Store,
    pub(super) view: View,
    fleet: OnceLock<Address<fleet::Event>>,
    sessions: Mutex<BTreeMap<DeviceId, Session>>,
    gates: [AsyncMutex<()>; GATES],
    releases: Mutex<BTreeMap<String, StoredRelease>>,
    said: Said,
    questions: Waiting<Result<String, String>>,
    settlements: Waiting<Result<u64, String>>,
    next: AtomicU64,
}

/// A connected device.
#[derive(Clone)]
pub(super) struct Session {
    /// Tells this session from an earlier one of the same device.
    pub(super) number: u64,
    /// Its machine.
    pub(super) address: Address<session::Event>,
    /// Its connection.
    pub(super) connection: quinn::Connection,
}

/// To a device.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A frame's bytes.
    Frame(Bytes),
    /// Close once all before it is on its way.
    Close(String),
}

/// Who waits for an answer, by its number.
type Waiting<T> = Mutex<BTreeMap<u64, oneshot::Sender<T>>>;

impl Hub {
    pub(super) fn new(state: State, store: Store, view: View, releases: Vec<StoredRelease>) -> Self {
        let by_name = |release: StoredRelease| (release.release.workload.name.clone(), release);
        Self {
            state,
            store,
            view,
            fleet: OnceLock::new(),
            sessions: Mutex::default(),
            gates: std::array::from_fn(|_| AsyncMutex::default()),
            releases: Mutex::new(releases.into_iter().map(by_name).collect()),
            said: Said::default(),
            questions: Mutex::default(),
            settlements: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Sets the fleet's address, once.
    pub(super) fn set_fleet(&self, fleet: Address<fleet::Event>) {
        let first = self.fleet.set(fleet).is_ok();
        debug_assert!(first, "there is one fleet");
    }

    /// The fleet. `None` only while the service starts.
    pub(super) fn fleet(&self) -> Option<&Address<fleet::Event>> {
        self.fleet.get()
    }

    /// Tells the fleet, without waiting.
    pub(super) fn tell_fleet(&self, event: fleet::Event) {
        let bytes = if let fleet::Event::Reported { report, .. } = &event { report.cost_bytes() } else { 0 };
        if let Some(Err(error)) = self.fleet().map(|fleet| fleet.tell_payload(event, bytes)) {
            tracing::debug!(%error, "the fleet is gone");
        }
    }

    /// Tells a device's session, without waiting. Without one nobody hears it.
    pub(super) fn tell_session(&self, device: &DeviceId, event: session::Event) {
        let told = self.session(device).map(|session| session.address.tell(event));
        if !matches!(told, Some(Ok(()))) {
            tracing::debug!(device = %device.short(), "there is no session to tell");
        }
    }

    /// A number that nobody else got.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Held while a device's session is replaced by a newer one.
    pub(super) async fn gate(&self, device: &DeviceId) -> tokio::sync::MutexGuard<'_, ()> {
        self.gates[usize::from(device.as_bytes()[0]) % GATES].lock().await
    }

    /// A device's session.
    pub(super) fn session(&self, device: &DeviceId) -> Option<Session> {
        lock(&self.sessions).get(device).cloned()
    }

    /// Makes `session` the device's session.
    pub(super) fn enter(&self, device: DeviceId, session: Session) {
        lock(&self.sessions).insert(device, session);
    }

    /// Takes out the device's session, if it is this one.
    pub(super) fn leave(&self, device: &DeviceId, number: u64) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(device).is_some_and(|session| session.number == number) {
            sessions.remove(device);
        }
    }

    /// All sessions.
    pub(super) fn sessions(&self) -> Vec<Session> {
        lock(&self.sessions).values().cloned().collect()
    }

    /// Devices that have a session.
    pub(super) fn connected(&self) -> Vec<DeviceId> {
        lock(&self.sessions).keys().copied().collect()
    }

    /// The releases that hold, by workload.
    pub(super) fn releases(&self) -> Vec<StoredRelease> {
        lock(&self.releases).values().cloned().collect()
    }

    /// Takes in a release that is stored.
    pub(super) fn put_release(&self, release: StoredRelease) {
        lock(&self.releases).insert(release.release.workload.name.clone(), release);
    }

    /// Forgets a workload that is removed.
    pub(super) fn drop_release(&self, workload: &str) {
        lock(&self.releases).remove(workload);
    }

    /// An assignment, signed, with the releases that it names; or why it cannot be made.
    pub(super) fn desired(&self, assignment: &Assignment) -> Result<Desired, String> {
        let known = self.state.fleet();
        let fleet = known.fleet.ok_or("the fleet's roots are lost: an operator has to introduce it again")?;
        let sealed = seal(&fleet.id(), assignment, self.state.key()).map_err(|error| error.to_string())?;
        let releases = lock(&self.releases);
        let found = assignment.releases.iter().map(|wanted| {
            let release = releases.get(&wanted.workload).filter(|release| release.sha256 == wanted.sha256);
            // A newer release came in between: another assignment follows.
            release
                .map(|release| release.sealed.clone())
                .ok_or_else(|| format!("{} was replaced", wanted.workload))
        });
        Ok(Desired {
            roots: fleet.roots().iter().map(|root| Bytes::copy_from_slice(root)).collect(),
            revocation: known.revocation.map(|(sealed, _)| sealed),
            assignment: sealed.into(),
            releases: found.collect::<Result<_, _>>()?,
        })
    }

    /// Says why the cloud and a device do not get on: once, however often the device comes back.
    pub(super) fn say_once(&self, device: DeviceId, reason: &str) {
        if self.said.is_new(device, reason) {
            tracing::warn!(device = %device.short(), name = self.view.name(&device), reason, "a device is not served");
        }
    }

    /// The cloud got on with a device for a while.
    pub(super) fn served(&self, device: DeviceId) {
        self.said.forget(device);
    }

    /// Waits for the answer to a question; the number goes with it.
    pub(super) fn await_answer(&self) -> (u64, oneshot::Receiver<Result<String, String>>) {
        self.wait(&self.questions)
    }

    /// Gives an answer to who waits for it.
    pub(super) fn answer(&self, number: u64, result: Result<String, String>) {
        give(&self.questions, number, result);
    }

    /// Waits until what an operator wants is settled.
    pub(super) fn await_settlement(&self) -> (u64, oneshot::Receiver<Result<u64, String>>) {
        self.wait(&self.settlements)
    }

    /// Tells the operator who waits.
    pub(super) fn settle(&self, ticket: u64, result: Result<u64, String>) {
        give(&self.settlements, ticket, result);
    }

    fn wait<T>(&self, waiting: &Waiting<T>) -> (u64, oneshot::Receiver<T>) {
        let (number, (sender, receiver)) = (self.number(), oneshot::channel());
        let mut waiting = lock(waiting);
        // Those who gave up are swept here, so that they do not pile up.
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(number, sender);
        (number, receiver)
    }
}

fn give<T>(waiting: &Waiting<T>, number: u64, value: T) {
    if let Some(sender) = lock(waiting).remove(&number) {
        // Who gave up does not need to know.
        let _ = sender.send(value);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
