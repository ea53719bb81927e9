//! What operators may see of the device: kept up to date by the actors' effects, read by the control
//! server on any thread.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use wayside_actors::{
    device::reconciler::{Floors, Locks},
    frame::Desired,
    message::Message,
    queue::StoreOp,
    report::{Report, System, Usage},
};
use wayside_config::{document::ReleaseRef, identity::DeviceId, leaf::Fingerprint, workload::ModuleId};
use wayside_mesh::{mqtt::Counts, store::QueueStore};

use crate::control::MqttStatus;

/// Messages that a slow watcher may be behind before it misses some.
const TAP: usize = 256;

/// The device as operators see it.
#[derive(Debug)]
pub struct View {
    report: Mutex<Report>,
    /// What modules use and how the machine is at this moment: reports tell larger changes only.
    usage: Mutex<BTreeMap<String, Usage>>,
    system: Mutex<Option<System>>,
    /// Neighbours that are there, with their names.
    neighbours: Mutex<BTreeMap<DeviceId, String>>,
    /// The highest versions that it ever took.
    taken: Mutex<Floors>,
    /// Who holds updates back.
    locks: watch::Sender<Locks>,
    /// What the device has been told to run.
    held: watch::Sender<Held>,
    /// The version of the assignment that was refused last, and why.
    not_taken: watch::Sender<Option<(u64, String)>>,
    cloud_connected: watch::Sender<bool>,
    tap: broadcast::Sender<Tapped>,
    /// The queues, once they are open.
    store: OnceLock<Store>,
    /// Misdeeds of MQTT clients.
    counts: Arc<Counts>,
    /// Where leaf devices are listened for.
    leaves: Mutex<MqttStatus>,
}

struct Store(Arc<dyn QueueStore>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.stats()).finish()
    }
}

/// The desired state that is persisted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The assignment's version; 0 for none.
    pub version: u64,
    /// What it names.
    pub releases: Vec<ReleaseRef>,
    /// The sealed documents.
    pub sealed: Desired,
}

/// A message that a module of this device published.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// `workload/route`.
    pub route: String,
    /// Its number there.
    pub seq: u64,
    /// The message.
    pub message: Message,
}

impl Default for View {
    fn default() -> Self {
        Self {
            report: Mutex::default(),
            usage: Mutex::default(),
            system: Mutex::default(),
            neighbours: Mutex::default(),
            taken: Mutex::default(),
            locks: watch::Sender::new(Locks::default()),
            held: watch::Sender::new(Held::default()),
            not_taken: watch::Sender::new(None),
            cloud_connected: watch::Sender::new(false),
            tap: broadcast::Sender::new(TAP),
            store: OnceLock::new(),
            counts: Arc::default(),
            leaves: Mutex::default(),
        }
    }
}

impl View {
    /// Everything that was reported so far, as one full report.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = locked(&self.report).clone();
        report.full = true;
        for (module, usage) in &*locked(&self.usage) {
            if let Some(told) = report.usage.get_mut(module) {
                told.clone_from(usage);
            }
        }
        report.system = locked(&self.system).clone().or(report.system);
        report
    }

    /// What modules use now.
    pub fn uses(&self, usage: &BTreeMap<ModuleId, Usage>) {
        *locked(&self.usage) =
            usage.iter().map(|(module, usage)| (module.to_string(), usage.clone())).collect();
    }

    /// How the machine is now.
    pub fn runs_on(&self, system: System) {
        *locked(&self.system) = Some(system);
    }

    pub(super) fn reported(&self, report: Report) {
        locked(&self.report).merge(report);
    }

    /// Neighbours that are there, with their names.
    #[must_use]
    pub fn neighbours(&self) -> BTreeMap<DeviceId, String> {
        locked(&self.neighbours).clone()
    }

    /// A neighbour came, or went. Whether it was not there, or was, before.
    pub fn neighbour(&self, device: DeviceId, name: Option<String>) -> bool {
        let mut neighbours = locked(&self.neighbours);
        match name {
            Some(name) => neighbours.insert(device, name).is_none(),
            None => neighbours.remove(&device).is_some(),
        }
    }

    /// The highest versions that the device ever took.
    #[must_use]
    pub fn floors(&self) -> Floors {
        locked(&self.taken).clone()
    }

    pub(super) fn taken(&self, floors: Floors) {
        *locked(&self.taken) = floors;
    }

    /// Who holds updates back, and when that changes.
    #[must_use]
    pub fn locks(&self) -> watch::Receiver<Locks> {
        self.locks.subscribe()
    }

    pub(super) fn locked_by(&self, locks: Locks) {
        self.locks.send_replace(locks);
    }

    /// What the device has been told to run, and when that changes.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// The version of the assignment that was refused last, and why; changes with each that is.
    #[must_use]
    pub fn not_taken(&self) -> watch::Receiver<Option<(u64, String)>> {
        self.not_taken.subscribe()
    }

    pub(super) fn does_not_take(&self, version: u64, reason: String) {
        self.not_taken.send_replace(Some((version, reason)));
    }

    pub(super) fn holds(&self, held: Held) {
        self.held.send_replace(held);
    }

    /// A sealed release that the device holds, by its hash.
    #[must_use]
    pub fn release(&self, sha256: &[u8; 32]) -> Option<Bytes> {
        let held = self.held.borrow();
        held.sealed.releases.iter().find(|sealed| wayside_config::hash::sha256(sealed) == *sha256).cloned()
    }

    /// Whether the cloud has welcomed the device on the connection there is now.
    #[must_use]
    pub fn is_cloud_connected(&self) -> bool {
        *self.cloud_connected.borrow()
    }

    pub(super) fn cloud(&self, connected: bool) {
        self.cloud_connected.send_replace(connected);
    }

    /// The queues on the disk, once they are open.
    #[must_use]
    pub fn store(&self) -> Option<&dyn QueueStore> {
        self.store.get().map(|store| &*store.0)
    }

    /// Where misdeeds of MQTT clients are counted.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Leaf devices are listened for here now, with this certificate.
    pub fn leaves(&self, leaves: Vec<String>, certificate: Option<Fingerprint>) {
        *locked(&self.leaves) = MqttStatus { leaves, certificate, ..MqttStatus::default() };
    }

    /// How MQTT is.
    #[must_use]
    pub fn mqtt(&self) -> MqttStatus {
        MqttStatus { counted: self.counts.now(), ..locked(&self.leaves).clone() }
    }

    pub(super) fn opened(&self, store: Arc<dyn QueueStore>) {
        // Opened once in a daemon's life.
        let _ = self.store.set(Store(store));
    }

    /// What modules publish from now on. A receiver that is too slow misses some.
    #[must_use]
    pub fn tap(&self) -> broadcast::Receiver<Tapped> {
        self.tap.subscribe()
    }

    /// Shows what has been stored to whoever watches.
    pub(super) fn stored(&self, device: DeviceId, ops: &[StoreOp]) {
        if self.tap.receiver_count() == 0 {
            return;
        }
        let mut before: Option<(&str, &Message)> = None;
        for op in ops {
            let StoreOp::Append { queue, seq, message } = op else { continue };
            // A message that goes to several places stands in several queues, one after the other.
            if message.origin == device && before != Some((&queue.route, message)) {
                let tapped = Tapped { route: queue.route.clone(), seq: *seq, message: message.clone() };
                // An error means that the last watcher has just left.
                let _ = self.tap.send(tapped);
            }
            before = Some((&queue.route, message));
        }
    }
}

/// What a panic under the lock left is still the last report.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use wayside_actors::queue::{Endpoint, Queue};

    use super::*;

    #[test]
    fn who_looks_here_sees_what_is_used_now() {
        let (view, module) = (View::default(), ModuleId::new("w", "m"));
        let used = |memory_bytes| Usage { memory_bytes, ..Usage::default() };
        view.uses(&BTreeMap::from([(module, used(7)), (ModuleId::new("w", "gone"), used(8))]));
        view.reported(Report { usage: BTreeMap::from([("w/m".into(), used(5))]), ..Report::default() });
        view.runs_on(System { cores: 2, ..System::default() });
        let report = view.report();
        assert_eq!(report.usage, BTreeMap::from([("w/m".into(), used(7))]));
        assert_eq!(report.system.map(|system| system.cores), Some(2));
    }

    #[test]
    fn a_message_for_several_places_is_shown_once() {
        let (device, other) = (DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        let message = |origin, text: &'static str| Message {
            origin,
            source: "sensor".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: Bytes::from_static(text.as_bytes()),
            accepted_ms: 5,
        };
        let append = |to, seq, message| StoreOp::Append { queue: Queue::new("w/r", to), seq, message };
        let view = View::default();
        let mut tap = view.tap();
        view.stored(
            device,
            &[
                append(Endpoint::Cloud, 1, message(device, "a")),
                append(Endpoint::Device(other), 1, message(device, "a")),
                append(Endpoint::Cloud, 2, message(device, "b")),
                append(Endpoint::Cloud, 3, message(other, "c")),
            ],
        );
        let shown = std::iter::from_fn(|| tap.try_recv().ok());
        assert_eq!(shown.map(|tapped| tapped.message.payload).collect::<Vec<_>>(), ["a", "b"]);
    }
}
