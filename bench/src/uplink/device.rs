//! The surroundings of the delivery, as a daemon has them: the queue store and the uplink.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use wayside_actors::{
    device::{
        delivery::{Delivery, Effect, Event},
        io,
    },
    frame::ToCloud,
    message::Batch,
    queue::{Queue, StoreOp},
};
use wayside_host::{Address, CommitError, Shell};
use wayside_mesh::store::QueueStore;

pub(super) struct DeviceShell {
    pub(super) queue: Queue,
    pub(super) epoch: u64,
    pub(super) store: Arc<dyn QueueStore>,
    pub(super) io: Handle,
    pub(super) uplink: mpsc::Sender<io::Uplink>,
    pub(super) myself: Rc<OnceLock<Address<Event>>>,
    /// How far the queue is trimmed, on the disk.
    pub(super) trimmed: watch::Sender<u64>,
    /// Why the delivery was given up.
    pub(super) failed: Arc<Mutex<Option<String>>>,
}

impl Shell<Delivery> for DeviceShell {
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<Delivery, String>> {
        std::future::ready(Ok(Delivery::new(self.queue.clone(), self.epoch, 1))).boxed_local()
    }

    fn commit(&self, group: Vec<Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>> {
        let ops = group
            .into_iter()
            .filter_map(|effect| if let Effect::Store(op) = effect { Some(op) } else { None });
        let ops: Vec<StoreOp> = ops.collect();
        async move { self.store.commit(ops.into()).await.map_err(|error| CommitError(error.to_string())) }
            .boxed_local()
    }

    fn perform(&self, effects: Vec<Effect>) -> LocalBoxFuture<'_, ()> {
        effects.into_iter().for_each(|effect| self.effect(effect));
        std::future::ready(()).boxed_local()
    }

    fn restarted(&self) {}

    fn escalate(&self, reason: String) {
        if let Ok(mut failed) = self.failed.lock() {
            *failed = Some(reason);
        }
    }
}

impl DeviceShell {
    fn effect(&self, effect: Effect) {
        match effect {
            Effect::Load { from, max_messages, max_bytes } => self.load(from, max_messages, max_bytes),
            Effect::Send { epoch, after, first_seq, messages } => {
                let batch = Batch { route: self.queue.route.clone(), epoch, after, first_seq, messages };
                // As in a daemon: what finds no room is sent again by the delivery.
                let _ = self.uplink.try_send(io::Uplink::Send(ToCloud::Batch(batch)));
            }
            Effect::AskUp => self.tell(Event::Up),
            Effect::Trimmed { upto, .. } => {
                self.trimmed.send_replace(upto);
            }
            Effect::Store(_) => {}
        }
    }

    fn load(&self, from: u64, max_messages: usize, max_bytes: usize) {
        let (store, queue) = (Arc::clone(&self.store), self.queue.clone());
        let read = self.io.spawn_blocking(move || store.load(&queue, from, max_messages, max_bytes));
        let myself = Rc::clone(&self.myself);
        actix::spawn(async move {
            let wall_ms = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
            let (first_seq, messages) = match read.await {
                Ok(Ok(loaded)) => (loaded.first_seq, loaded.messages),
                Ok(Err(_)) | Err(_) => (from, Vec::new()),
            };
            if let Some(myself) = myself.get() {
                let _ = myself.tell(Event::Loaded { from, first_seq, messages, wall_ms });
            }
        });
    }

    fn tell(&self, event: Event) {
        if let Some(myself) = self.myself.get() {
            let _ = myself.tell(event);
        }
    }
}
