//! What goes out: one thread that encodes and puts, so that nobody else waits for a slow link.
//!
//! Congestion: messages go with `CongestionControl::Drop` and a patience of some hundred milliseconds
//! (see `config.rs`), not with `Block`: blocking waits up to five seconds and then closes the link, which
//! comes back only with the next scouting; and all other links wait too. What is dropped is sent again
//! by its delivery, which has it on the disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, mpsc};
use wayside_actors::{
    frame::Desired,
    message::{Batch, Confirm, Message},
    queue::Queue,
};
use wayside_config::identity::DeviceId;
use zenoh::{Session, Wait, qos::CongestionControl};

use super::{MeshError, OutgoingSender};
use crate::{
    keys::{self, Kind},
    lost::Lost,
    pair::{OwnKey, Pairs},
    wire,
};

/// Things that wait to be sent at most, and their bytes. Deliveries keep a window of a few megabytes each.
const DEPTH: usize = 512;
const WAITING_BYTES: usize = 8 << 20;

/// Messages of a best-effort route that go together at most, and about their bytes: what Zenoh sends in one piece.
const TOGETHER: usize = 128;
const TOGETHER_BYTES: usize = 48 << 10;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Batch(DeviceId, Batch),
    /// A message of a best-effort route, which the queue names.
    Live(DeviceId, Queue, Message),
    Confirm(DeviceId, Confirm),
    Desired(DeviceId, Desired),
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
    pairs: Pairs,
    session: Mutex<Option<Session>>,
    /// The session did not take something, and may have failed inside.
    doubts: Notify,
    waiting_bytes: AtomicUsize,
    counters: Arc<Counters>,
    lost: Lost,
}

impl Outbox {
    /// Starts the thread. It ends when the last outbox is gone.
    pub(crate) fn start(key: OwnKey, lost: Lost) -> Result<Self, MeshError> {
        let (queue, receiver) = mpsc::channel(DEPTH);
        let shared = Arc::new(Shared {
            device: key.device(),
            pairs: Pairs::new(key),
            session: Mutex::new(None),
            doubts: Notify::new(),
            waiting_bytes: AtomicUsize::new(0),
            counters: Arc::default(),
            lost,
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
        let back = if before + bytes > WAITING_BYTES {
            Some(outgoing)
        } else {
            self.queue.try_send((bytes, outgoing)).err().map(|error| error.into_inner().1)
        };
        let Some(back) = back else { return true };
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.dropped(&back, 0);
        false
    }

    /// Replaces the session that things go out on.
    pub(crate) fn use_session(&self, session: Option<Session>) {
        *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Resolves when the session did not take something that it had room for.
    pub(crate) async fn doubts(&self) {
        self.shared.doubts.notified().await;
    }

    /// The session that things go out on.
    #[cfg(test)]
    pub(crate) fn session(&self) -> Option<Session> {
        self.shared.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that what goes out is sealed with, and what comes in.
    pub(crate) fn pairs(&self) -> Pairs {
        self.shared.pairs.clone()
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
        let mut held = None;
        while let Some((mut bytes, outgoing)) = held.take().or_else(|| receiver.blocking_recv()) {
            let mut others = Vec::new();
            held = outgoing.gather(&mut bytes, &mut others, &mut receiver);
            if self.send(&outgoing, &others) {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
            } else {
                self.dropped(&outgoing, others.len());
            }
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// With how many others that went with it.
    fn dropped(&self, outgoing: &Outgoing, others: usize) {
        self.counters.send_dropped.fetch_add(1, Ordering::Relaxed);
        if let Outgoing::Live(_, queue, _) = outgoing {
            self.lost.add(&queue.route, 1 + others as u64);
        }
    }

    fn send(&self, outgoing: &Outgoing, others: &[Message]) -> bool {
        // A session that failed inside panics where it is used; this thread goes on with the next one.
        let is_put = catch_unwind(AssertUnwindSafe(|| self.put(outgoing, others))).unwrap_or(Some(false));
        if is_put == Some(false) {
            self.doubts.notify_one();
        }
        is_put == Some(true)
    }

    /// `None` when there is no session.
    fn put(&self, outgoing: &Outgoing, others: &[Message]) -> Option<bool> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (to, kind, mut payload) = match outgoing {
            Outgoing::Batch(to, batch) => (to, Kind::Batch, wire::encode_batch(batch)),
            Outgoing::Live(to, queue, message) => {
                (to, Kind::Live, wire::encode_live(&queue.route, message, others))
            }
            Outgoing::Confirm(to, confirm) => (to, Kind::Confirm, wire::encode_confirm(confirm)),
            Outgoing::Desired(to, desired) => (to, Kind::Desired, wire::encode_desired(desired)),
        };
        if !self.pairs.seal(to, kind, &mut payload) {
            tracing::debug!(to = %to.short(), ?kind, "not sent on the mesh: that is no device's key, or there is no randomness");
            return None;
        }
        let put = session
            .put(keys::to(to, kind, &self.device), payload)
            .congestion_control(CongestionControl::Drop)
            .wait();
        if let Err(error) = &put {
            tracing::debug!(%error, to = %to.short(), ?kind, "not sent on the mesh");
        }
        Some(put.is_ok())
    }
}

impl Outgoing {
    /// Takes along what waits already and goes the same best-effort way, so that a busy one costs less by the message
    /// and a quiet one waits for nothing: into `others`. Gives what goes another way and was taken out in passing.
    fn gather(
        &self,
        bytes: &mut usize,
        others: &mut Vec<Message>,
        waiting: &mut mpsc::Receiver<(usize, Self)>,
    ) -> Option<(usize, Self)> {
        let Self::Live(to, queue, _) = self else { return None };
        while others.len() + 1 < TOGETHER && *bytes < TOGETHER_BYTES {
            match waiting.try_recv().ok()? {
                (more, Self::Live(its, its_queue, message)) if its == *to && its_queue == *queue => {
                    others.push(message);
                    *bytes += more;
                }
                other => return Some(other),
            }
        }
        None
    }

    fn cost_bytes(&self) -> usize {
        match self {
            Self::Batch(_, Batch { messages, .. }) => messages.iter().map(Message::cost_bytes).sum(),
            Self::Live(_, _, message) => message.cost_bytes(),
            Self::Confirm(..) => wire::CONFIRM_BYTES,
            Self::Desired(_, desired) => desired.documents().map(|document| document.len() + 4).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_actors::queue::Endpoint;

    use super::*;

    fn live(to: u8, route: &str, payload: usize) -> Outgoing {
        let message = Message {
            origin: DeviceId::from_bytes([1; 32]),
            source: "sensor".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: vec![0; payload].into(),
            accepted_ms: 0,
        };
        let to = DeviceId::from_bytes([to; 32]);
        Outgoing::Live(to, Queue::new(route, Endpoint::Device(to)), message)
    }

    #[test]
    fn what_goes_the_same_way_goes_together_and_nothing_overtakes() {
        let (queue, mut waiting) = mpsc::channel(DEPTH);
        let push = |outgoing: Outgoing| queue.try_send((outgoing.cost_bytes(), outgoing)).unwrap();
        let take = |waiting: &mut mpsc::Receiver<(usize, Outgoing)>, held: &mut Option<(usize, Outgoing)>| {
            let (mut bytes, first) = held.take().or_else(|| waiting.try_recv().ok())?;
            let mut others = Vec::new();
            *held = first.gather(&mut bytes, &mut others, waiting);
            let cost: usize = others.iter().map(Message::cost_bytes).sum();
            Some((1 + others.len(), bytes == first.cost_bytes() + cost))
        };
        (0..3).for_each(|_| push(live(2, "w/r", 10)));
        push(live(3, "w/r", 10));
        push(live(3, "w/s", 10));
        push(live(2, "w/r", 10));
        let mut held = None;
        let together: Vec<_> = std::iter::from_fn(|| take(&mut waiting, &mut held)).collect();
        assert_eq!(together, [(3, true), (1, true), (1, true), (1, true)]);
        (0..200).for_each(|_| push(live(2, "w/r", 10)));
        (0..3).for_each(|_| push(live(2, "w/r", TOGETHER_BYTES)));
        let together: Vec<_> = std::iter::from_fn(|| take(&mut waiting, &mut held)).collect();
        assert_eq!(together, [(TOGETHER, true), (200 - TOGETHER + 1, true), (1, true), (1, true)]);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_by_its_route() {
        let lost = Lost::default();
        let outbox = Outbox::start(OwnKey::new(SigningKey::from_bytes(&[1; 32])), lost.clone()).unwrap();
        assert!(!outbox.push(live(2, "w/r", WAITING_BYTES)));
        assert_eq!(lost.take().remove("w/r"), Some(1));
        assert!(outbox.push(live(2, "w/s", 1)));
        let begun = std::time::Instant::now();
        let mut counted = None;
        while counted.is_none() && begun.elapsed().as_secs() < 5 {
            std::thread::yield_now();
            counted = lost.take().remove("w/s");
        }
        assert_eq!(counted, Some(1), "there is no session");
    }
}
