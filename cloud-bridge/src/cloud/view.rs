//! What the page and the API show: devices as they were last seen, and how fast messages come.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use wayside_actors::cloud::fleet::{DeviceRecord, TwinRecord};
use wayside_config::{identity::DeviceId, workload::ModuleId};

/// Seconds of history behind the sparklines.
pub(super) const HISTORY: usize = 120;

/// Routes that have a history. Beyond it, those that come first by name do.
const ROUTES: usize = 500;

/// Everything that is shown. Cheap to read: nothing here touches the disk.
pub(super) struct View {
    devices: Mutex<Devices>,
    twins: Mutex<BTreeMap<(DeviceId, ModuleId), Arc<TwinRecord>>>,
    rates: Mutex<BTreeMap<String, Rate>>,
    tick: watch::Sender<u64>,
}

#[derive(Default)]
struct Devices {
    known: BTreeMap<DeviceId, Shown>,
    /// Devices in the order of their last change, so that who looks again sees only what is new.
    changes: BTreeMap<u64, DeviceId>,
    version: u64,
}

/// A device with the number of its last change.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) version: u64,
    pub(super) record: Arc<DeviceRecord>,
}

/// How fast messages of a route come.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// Messages ever stored.
    pub(super) stored: u64,
    /// Messages in each of the last seconds, the newest last.
    pub(super) seconds: VecDeque<u64>,
}

/// Why a name does not lead to a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOne {
    None,
    Several(Vec<DeviceId>),
}

impl View {
    pub(super) fn new(devices: Vec<(DeviceId, DeviceRecord)>) -> Self {
        let view = Self {
            devices: Mutex::default(),
            twins: Mutex::default(),
            rates: Mutex::default(),
            tick: watch::Sender::new(0),
        };
        for (device, record) in devices {
            view.put(device, record);
        }
        view
    }

    /// Takes in what is known of a device.
    pub(super) fn put(&self, device: DeviceId, record: DeviceRecord) {
        let mut devices = lock(&self.devices);
        devices.version += 1;
        let version = devices.version;
        let before = devices.known.insert(device, Shown { version, record: Arc::new(record) });
        if let Some(before) = before {
            devices.changes.remove(&before.version);
        }
        devices.changes.insert(version, device);
    }

    /// Takes in what is known of a twin; `None` when it is gone.
    pub(super) fn put_twin(&self, device: DeviceId, module: ModuleId, record: Option<Box<TwinRecord>>) {
        let mut twins = lock(&self.twins);
        match record {
            Some(record) => twins.insert((device, module), Arc::from(record)),
            None => twins.remove(&(device, module)),
        };
    }

    /// One twin.
    pub(super) fn twin(&self, device: DeviceId, module: &ModuleId) -> Option<Arc<TwinRecord>> {
        lock(&self.twins).get(&(device, module.clone())).cloned()
    }

    /// A device's twins, by module.
    pub(super) fn twins(&self, device: DeviceId) -> Vec<(ModuleId, Arc<TwinRecord>)> {
        let first = ModuleId::new("", "");
        let twins = lock(&self.twins);
        let of_device = twins.range((device, first)..).take_while(|((of, _), _)| *of == device);
        of_device.map(|((_, module), record)| (module.clone(), Arc::clone(record))).collect()
    }

    /// One device.
    pub(super) fn device(&self, device: &DeviceId) -> Option<Arc<DeviceRecord>> {
        lock(&self.devices).known.get(device).map(|shown| Arc::clone(&shown.record))
    }

    /// All devices, by key.
    pub(super) fn devices(&self) -> Vec<(DeviceId, Arc<DeviceRecord>)> {
        let devices = lock(&self.devices);
        devices.known.iter().map(|(device, shown)| (*device, Arc::clone(&shown.record))).collect()
    }

    /// The devices that changed after `version`, and the version that this is.
    pub(super) fn changed_since(&self, version: u64) -> (Vec<(DeviceId, Arc<DeviceRecord>)>, u64) {
        let devices = lock(&self.devices);
        let changed = devices.changes.range(version + 1..).filter_map(|(_, device)| {
            devices.known.get(device).map(|shown| (*device, Arc::clone(&shown.record)))
        });
        (changed.collect(), devices.version)
    }

    /// The device of this key or name.
    pub(super) fn find(&self, name: &str) -> Result<DeviceId, NotOne> {
        let devices = lock(&self.devices);
        if let Ok(key) = name.parse()
            && devices.known.contains_key(&key)
        {
            return Ok(key);
        }
        let named = devices.known.iter().filter(|(_, shown)| shown.record.name == name);
        let found: Vec<DeviceId> = named.map(|(device, _)| *device).collect();
        match found.as_slice() {
            [] => Err(NotOne::None),
            [one] => Ok(*one),
            [..] => Err(NotOne::Several(found)),
        }
    }

    /// A device's name; its key's first characters when it is not known.
    pub(super) fn name(&self, device: &DeviceId) -> String {
        self.device(device).map_or_else(|| device.short(), |record| record.name.clone())
    }

    /// Takes in how many messages each route has. Called once a second.
    pub(super) fn tick(&self, stored: &BTreeMap<String, u64>) {
        let mut rates = lock(&self.rates);
        for (route, stored) in stored.iter().take(ROUTES) {
            let new = !rates.contains_key(route);
            let rate = rates.entry(route.clone()).or_default();
            // What was stored before the start did not come in this second.
            let before = if new && *self.tick.borrow() == 0 { *stored } else { rate.stored };
            rate.seconds.push_back(stored.saturating_sub(before));
            if rate.seconds.len() > HISTORY {
                rate.seconds.pop_front();
            }
            rate.stored = *stored;
        }
        drop(rates);
        self.tick.send_modify(|tick| *tick += 1);
    }

    /// How fast messages come, by route.
    pub(super) fn rates(&self) -> BTreeMap<String, Rate> {
        lock(&self.rates).clone()
    }

    /// Changes once a second, after the rates.
    pub(super) fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceId::from_bytes([n; 32])
    }

    fn named(name: &str) -> DeviceRecord {
        DeviceRecord { name: name.into(), ..DeviceRecord::default() }
    }

    #[test]
    fn who_looks_again_sees_what_is_new() {
        let view = View::new(vec![(device(1), named("a")), (device(2), named("b"))]);
        let (all, version) = view.changed_since(0);
        assert_eq!(all.len(), 2);
        view.put(device(1), named("c"));
        view.put(device(1), named("d"));
        let (new, version) = view.changed_since(version);
        assert_eq!(
            new.iter().map(|(id, record)| (*id, record.name.as_str())).collect::<Vec<_>>(),
            [(device(1), "d")]
        );
        assert!(view.changed_since(version).0.is_empty());
    }

    #[test]
    fn a_device_is_found_by_name_or_key() {
        let view = View::new(vec![(device(1), named("a")), (device(2), named("b")), (device(3), named("b"))]);
        assert_eq!(view.find("a"), Ok(device(1)));
        assert_eq!(view.find(&device(3).to_string()), Ok(device(3)));
        assert_eq!(view.find("b"), Err(NotOne::Several(vec![device(2), device(3)])));
        assert_eq!(view.find("c"), Err(NotOne::None));
    }

    #[test]
    fn rates_are_differences_and_a_start_is_no_burst() {
        let view = View::new(Vec::new());
        let stored = |n| BTreeMap::from([("w/r".to_owned(), n)]);
        view.tick(&stored(1000));
        view.tick(&stored(1010));
        let rate = view.rates().remove("w/r").unwrap();
        assert_eq!((rate.stored, rate.seconds), (1010, VecDeque::from([0, 10])));
        for n in 0..200 {
            view.tick(&stored(2000 + n));
        }
        assert_eq!(view.rates()["w/r"].seconds.len(), HISTORY);
    }
}
