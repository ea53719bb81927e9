//! What goes out: one thread that encodes and puts, so that nobody else waits for a slow link.
//!
//! Congestion: messages go with `CongestionControl::Drop` and a patience of some hundred milliseconds
//! (see `config.rs`), not with `Block`: blocking waits up to five seconds and then closes the link, which
//! comes back only with the next scouting; and all other links wait too. What is dropped is sent again
//! by its delivery, which has it on the disk.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;
use wayside_actors::message::{Batch, Confirm, Message};
use wayside_config::identity::DeviceId;
use zenoh::{Session, Wait, qos::CongestionControl};

use super::{MeshError, OutgoingSender};
use crate::{
    keys::{self, Kind},
    wire,
};

/// Things that wait to be sent at most, and their bytes. Deliveries keep a window of a few megabytes each.
const DEPTH: usize = 512;
const WAITING_BYTES: usize = 8 << 20;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Batch(DeviceId, Batch),
    Live(DeviceId, String, Message),
    Confirm(DeviceId, Confirm),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshCounters {
    /// Batches and confirmations handed to the session.
    pub sent: u64,
    /// Not sent: the queue to the sender was full, or there is no session.
    pub send_dropped: u64,
    /// Received and passed on.
    pub received: u64,
    /// Received and dropped: the device did not take them fast enough.
    pub receive_dropped: u64,
    /// Received and not understood.
    pub malformed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) send_dropped: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) receive_dropped: AtomicU64,
    pub(crate) malformed: AtomicU64,
}

/// The way to the sending thread.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: OutgoingSender,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: DeviceId,
    session: Mutex<Option<Session>>,
    waiting_bytes: AtomicUsize,
    counters: Arc<Counters>,
}

impl Outbox {
    /// Starts the thread. It ends when the last outbox is gone.
    pub(crate) fn start(device: DeviceId) -> Result<Self, MeshError> {
        let (queue, receiver) = mpsc::channel(DEPTH);
        let shared = Arc::new(Shared {
            device,
            session: Mutex::new(None),
            waiting_bytes: AtomicUsize::new(0),
            counters: Arc::default(),
        });
        let thread_shared = shared.clone();
        std::thread::Builder::new()
            .name("mesh-send".into())
            .spawn(move || thread_shared.send_all(receiver))?;
        Ok(Self { queue, shared })
    }

    /// Queues `outgoing`; `false` when there is no room.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        let bytes = outgoing.cost_bytes();
        let before = self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > WAITING_BYTES || self.queue.try_send((bytes, outgoing)).is_err() {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.counters.send_dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Replaces the session that things go out on.
    pub(crate) fn use_session(&self, session: Option<Session>) {
        *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    pub(crate) fn live_counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    pub(crate) fn counters(&self) -> MeshCounters {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeshCounters {
            sent: read(&counters.sent),
            send_dropped: read(&counters.send_dropped),
            received: read(&counters.received),
            receive_dropped: read(&counters.receive_dropped),
            malformed: read(&counters.malformed),
        }
    }
}

impl Shared {
    fn send_all(&self, mut receiver: mpsc::Receiver<(usize, Outgoing)>) {
        while let Some((bytes, outgoing)) = receiver.blocking_recv() {
            let counter =
                if self.send(&outgoing) { &self.counters.sent } else { &self.counters.send_dropped };
            counter.fetch_add(1, Ordering::Relaxed);
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn send(&self, outgoing: &Outgoing) -> bool {
        let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return false;
        };
        let (to, kind, payload) = match outgoing {
            Outgoing::Batch(to, batch) => (to, Kind::Batch, wire::encode_batch(batch)),
            Outgoing::Live(to, route, message) => (to, Kind::Live, wire::encode_live(route, message)),
            Outgoing::Confirm(to, confirm) => (to, Kind::Confirm, wire::encode_confirm(confirm)),
        };
        let put = session
            .put(keys::to(to, kind, &self.device), payload)
            .congestion_control(CongestionControl::Drop)
            .wait();
        if let Err(error) = &put {
            tracing::debug!(%error, to = %to.short(), ?kind, "not sent on the mesh");
        }
        put.is_ok()
    }
}

impl Outgoing {
    fn cost_bytes(&self) -> usize {
        match self {
            Self::Batch(_, batch) => batch.messages.iter().map(Message::cost_bytes).sum(),
            Self::Live(_, _, message) => message.cost_bytes(),
            Self::Confirm(..) => wire::CONFIRM_BYTES,
        }
    }
}
