//! The one thread that writes: takes all that waits and commits it as one group.

use std::{collections::BTreeMap, sync::Arc, sync::PoisonError};

use tokio::sync::{mpsc, oneshot};
use wayside_actors::{cloud::session::Window, message::Message};
use wayside_config::identity::DeviceId;

use super::{
    Change, Shared, StoreError,
    fleet::FleetStore,
    record::{self, ENTRY_BYTES, RouteState},
};

/// The most commits in one group.
const GROUP: usize = 512;

/// Message bytes after which a group takes no more.
const GROUP_BYTES: usize = 8 << 20;

/// A commit that waits.
pub(super) struct Work {
    pub(super) changes: Vec<Change>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    work: mpsc::Receiver<Work>,
}

/// What a group changes in the log.
#[derive(Default)]
struct LogBatch {
    batch: sled::Batch,
    next_id: u64,
    states: BTreeMap<(DeviceId, String), RouteState>,
    /// New messages by route.
    stored: BTreeMap<String, u64>,
}

impl Writer {
    pub(super) const fn new(shared: Arc<Shared>, work: mpsc::Receiver<Work>) -> Self {
        Self { shared, work }
    }

    /// Works until every [`super::Store`] is dropped.
    pub(super) fn run(mut self) {
        while let Some(first) = self.work.blocking_recv() {
            let group = self.group(first);
            let (changes, waiting): (Vec<_>, Vec<_>) =
                group.into_iter().map(|work| (work.changes, work.done)).unzip();
            let failed = self.shared.status.borrow().failed.clone();
            let outcome = failed.map_or_else(|| self.write(changes.into_iter().flatten()), Err);
            for done in waiting {
                // Who no longer waits does not need to know.
                let _ = done.send(outcome.clone());
            }
            if let Err(error) = outcome.and_then(|()| self.tidy()) {
                self.fail(error);
            }
        }
    }

    fn group(&mut self, first: Work) -> Vec<Work> {
        let mut bytes = cost(&first);
        let mut group = vec![first];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(work) = self.work.try_recv() else { break };
            bytes += cost(&work);
            group.push(work);
        }
        group
    }

    fn write(&self, changes: impl Iterator<Item = Change>) -> Result<(), StoreError> {
        let mut log = LogBatch { next_id: self.log().next_id(), ..LogBatch::default() };
        let (mut fleet, mut fleet_changes) = (sled::Batch::default(), 0);
        for change in changes {
            match change {
                Change::Messages { device, route, messages, window, stored_ms } => {
                    self.append(&mut log, device, &route, &messages, window, stored_ms)?;
                    continue;
                }
                Change::Device(device, record) => FleetStore::put_device(&mut fleet, &device, &record),
                Change::Twin(device, module, record) => {
                    FleetStore::put_twin(&mut fleet, &device, &module, &record);
                }
                Change::DropTwin(device, module) => FleetStore::drop_twin(&mut fleet, &device, &module),
                Change::Release(release) => FleetStore::put_release(&mut fleet, &release),
                Change::DropRelease(workload) => FleetStore::drop_release(&mut fleet, &workload),
            }
            fleet_changes += 1;
        }
        if fleet_changes > 0 {
            self.shared.fleet.write(fleet).map_err(write_error)?;
        }
        if log.states.is_empty() { Ok(()) } else { self.write_log(log) }
    }

    fn append(
        &self,
        log: &mut LogBatch,
        device: DeviceId,
        route: &str,
        messages: &[(u64, Message)],
        window: Window,
        stored_ms: u64,
    ) -> Result<(), StoreError> {
        for packed in packs(messages) {
            let id = log.next_id;
            log.batch.insert(record::entry_key(id), record::encode_entry(&device, route, stored_ms, packed));
            log.batch.insert(record::index_key(&device, id), &[]);
            log.next_id += packed.len() as u64;
        }
        let name = (device, route.to_owned());
        let mut state = match log.states.get(&name) {
            Some(state) => *state,
            None => self.state(&device, route)?,
        };
        state.window = Some(window);
        state.stored += messages.len() as u64;
        state.last_seq = messages.last().map_or(state.last_seq, |(seq, _)| *seq);
        log.states.insert(name, state);
        *log.stored.entry(route.to_owned()).or_insert(0) += messages.len() as u64;
        Ok(())
    }

    fn write_log(&self, mut log: LogBatch) -> Result<(), StoreError> {
        for ((device, route), state) in &log.states {
            log.batch.insert(record::window_key(device, route), record::encode_state(state));
        }
        let active = self.log().active();
        active.tree().apply_batch(log.batch).and_then(|()| active.sync()).map_err(write_error)?;
        self.log().set_next_id(log.next_id);
        self.shared.status.send_modify(|status| {
            status.last_id = log.next_id - 1;
            for (route, count) in log.stored {
                *status.stored.entry(route).or_insert(0) += count;
            }
        });
        Ok(())
    }

    fn state(&self, device: &DeviceId, route: &str) -> Result<RouteState, StoreError> {
        let active = self.log().active();
        let found = active.tree().get(record::window_key(device, route)).map_err(write_error)?;
        match found.and_then(|bytes| record::decode_state(&bytes).ok()) {
            Some(state) => Ok(state),
            None => Ok(self.shared.fleet.state(device, route)?.unwrap_or_default()),
        }
    }

    /// Begins a new part of the log when the last is full, and drops the oldest while there are too many.
    fn tidy(&self) -> Result<(), StoreError> {
        let mut log = self.log();
        log.turn(&self.shared.fleet)?;
        let keep_bytes = self.shared.status.borrow().keep_bytes;
        let mut bytes = log.bytes();
        while bytes > keep_bytes {
            let Some((first, count)) = log.oldest() else { break };
            let dropped = self.shared.status.borrow().dropped + count;
            let mut batch = sled::Batch::default();
            FleetStore::put_dropped(&mut batch, dropped);
            FleetStore::forget_part(&mut batch, first);
            log.drop_part(first)?;
            self.shared.fleet.write(batch).map_err(write_error)?;
            self.shared.status.send_modify(|status| status.dropped = dropped);
            tracing::warn!(messages = count, keep_bytes, "the log is full: its oldest messages were dropped");
            bytes = log.bytes();
        }
        self.shared.status.send_if_modified(|status| std::mem::replace(&mut status.bytes, bytes) != bytes);
        Ok(())
    }

    /// After a failed write it is not known what is on the disk: only a new start can tell.
    fn fail(&self, error: StoreError) {
        self.shared.status.send_if_modified(|status| {
            let first = status.failed.is_none();
            if first {
                tracing::error!(%error, "the store has failed");
                status.failed = Some(error);
            }
            first
        });
    }

    fn log(&self) -> std::sync::MutexGuard<'_, super::Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts messages into packs of about [`ENTRY_BYTES`].
fn packs(messages: &[(u64, Message)]) -> Vec<&[(u64, Message)]> {
    let (mut packs, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, (_, message)) in messages.iter().enumerate() {
        let cost = message.cost_bytes();
        if at > start && bytes + cost > ENTRY_BYTES {
            packs.push(&messages[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += cost;
    }
    if start < messages.len() {
        packs.push(&messages[start..]);
    }
    packs
}

fn cost(work: &Work) -> usize {
    let of = |change: &Change| match change {
        Change::Messages { messages, .. } => messages.iter().map(|(_, message)| message.cost_bytes()).sum(),
        Change::Device(..) | Change::Release(_) | Change::DropRelease(_) | Change::DropTwin(..) => 1024,
        Change::Twin(_, _, record) => record.twin.cost_bytes() + 1024,
    };
    work.changes.iter().map(of).sum()
}

fn write_error(error: sled::Error) -> StoreError {
    StoreError::Write(error.to_string())
}
