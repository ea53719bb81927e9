//! What comes in: from Zenoh's threads into the device's bounded channel, decoded and within limits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use wayside_config::{identity::DeviceId, limits::SEALED_BYTES};
use zenoh::{
    bytes::ZBytes,
    query::Query,
    sample::{Sample, SampleKind},
};

use super::outbox::Counters;
use crate::{
    event::{ControlRequest, EventSender, MeshEvent},
    keys::{self, Kind},
    lost::Lost,
    pair::{Pairs, SEAL_BYTES},
    wire,
};

/// The devices that route for others. Clones share them.
pub(super) type Routers = Arc<Mutex<BTreeSet<DeviceId>>>;

/// Devices that route, at most: more than ever do, as anybody may say so.
const MAX_ROUTERS: usize = 64;

#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) device: DeviceId,
    pub(super) pairs: Pairs,
    pub(super) events: EventSender,
    pub(super) counters: Arc<Counters>,
    /// Counts messages of best-effort routes that the device did not take fast enough.
    pub(super) lost: Lost,
    /// Whose tokens are there, and the names that they carry.
    pub(super) alive: Arc<Mutex<BTreeMap<DeviceId, BTreeSet<String>>>>,
    /// Which devices route for others.
    pub(super) routers: Routers,
}

impl Inbox {
    /// Something was put to this device.
    pub(super) fn arrived(&self, sample: &Sample) {
        let len = sample.payload().len();
        let Some((kind, from)) = keys::parse_inbox(sample.key_expr().as_str()) else {
            return self.malformed("its key", sample.key_expr().as_str(), len);
        };
        let limit = match kind {
            Kind::Batch => wire::BATCH_BYTES,
            Kind::Live => wire::LIVE_BYTES,
            Kind::Confirm => wire::CONFIRM_BYTES,
            Kind::Desired => wire::DESIRED_BYTES,
        };
        if len > limit + SEAL_BYTES {
            return self.malformed("its size", sample.key_expr().as_str(), len);
        }
        let Some(payload) = self.pairs.open(&from, kind, sample.payload().to_bytes().into_owned()) else {
            return self.malformed("its seal", sample.key_expr().as_str(), len);
        };
        let event = match kind {
            Kind::Batch => wire::decode_batch(payload).map(|batch| MeshEvent::Batch { from, batch }),
            Kind::Live => {
                wire::decode_live(payload).map(|(route, messages)| MeshEvent::Live { from, route, messages })
            }
            Kind::Confirm => {
                wire::decode_confirm(payload).map(|confirm| MeshEvent::Confirm { from, confirm })
            }
            Kind::Desired => {
                wire::decode_desired(payload).map(|desired| MeshEvent::Desired { from, desired })
            }
        };
        match event {
            Ok(event) => self.pass_on(len.max(event.cost_bytes()), event),
            Err(error) => self.malformed(&error.to_string(), sample.key_expr().as_str(), len),
        }
    }

    /// A device's token appeared or went away. A device may have two for a moment: of a session that is
    /// not known to be dead yet, or of its former name.
    pub(super) fn token(&self, sample: &Sample) {
        let Some((device, name)) = keys::parse_alive(sample.key_expr().as_str()) else {
            return self.malformed("its key", sample.key_expr().as_str(), 0);
        };
        if device == self.device {
            return;
        }
        let mut alive = lock(&self.alive);
        match sample.kind() {
            SampleKind::Put => {
                alive.entry(device).or_default().insert(name.clone());
                self.events.life(MeshEvent::Seen { device, name });
            }
            SampleKind::Delete => {
                let Some(names) = alive.get_mut(&device) else { return };
                names.remove(&name);
                if names.is_empty() {
                    alive.remove(&device);
                    self.events.life(MeshEvent::Gone { device });
                }
            }
        }
    }

    /// A device began to route for others, or stopped.
    pub(super) fn routes(&self, sample: &Sample) {
        let Some(device) = keys::parse_routes(sample.key_expr().as_str()) else {
            return self.malformed("its key", sample.key_expr().as_str(), 0);
        };
        let mut routers = lock(&self.routers);
        match sample.kind() {
            SampleKind::Put => {
                if (routers.len() < MAX_ROUTERS || routers.contains(&device)) && routers.insert(device) {
                    self.events.life(MeshEvent::RouterSeen { device });
                }
            }
            SampleKind::Delete => {
                if routers.remove(&device) {
                    self.events.life(MeshEvent::RouterGone { device });
                }
            }
        }
    }

    /// The session ends: nobody is known to be there any more.
    pub(super) fn end(&self) {
        for device in std::mem::take(&mut *lock(&self.routers)) {
            self.events.life(MeshEvent::RouterGone { device });
        }
        for device in std::mem::take(&mut *lock(&self.alive)).into_keys() {
            self.events.life(MeshEvent::Gone { device });
        }
    }

    /// An operator asks.
    pub(super) fn asked(&self, query: Query) {
        let len = query.payload().map_or(0, ZBytes::len);
        if len == 0 || len > SEALED_BYTES {
            return self.malformed("its size", query.key_expr().as_str(), len);
        }
        let sealed = query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default();
        self.pass_on(len, MeshEvent::Control(ControlRequest { sealed, query }));
    }

    fn pass_on(&self, len: usize, event: MeshEvent) {
        let back = self.events.data(len, event);
        if let Some(MeshEvent::Live { route, messages, .. }) = &back {
            self.lost.add(route, messages.len() as u64);
        }
        let counter = if back.is_none() { &self.counters.received } else { &self.counters.receive_dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn malformed(&self, what: &str, key: &str, len: usize) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(what, key, len, "refused what came from the mesh");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
