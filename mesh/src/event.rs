//! What the mesh tells the device.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;
use wayside_actors::{
    frame::Desired,
    message::{Batch, Confirm, Message},
};
use wayside_config::identity::DeviceId;

/// Something that came from the mesh.
#[derive(Debug)]
pub enum MeshEvent {
    /// A device is there. Also told again when its name changed.
    Seen {
        /// Its key.
        device: DeviceId,
        /// Its name.
        name: String,
    },
    /// A device is no longer there.
    Gone {
        /// Its key.
        device: DeviceId,
    },
    /// A device routes for others.
    RouterSeen {
        /// Its key.
        device: DeviceId,
    },
    /// A device routes for others no more.
    RouterGone {
        /// Its key.
        device: DeviceId,
    },
    /// Messages for this device, from who sealed them for it (see [`crate::pair`]), as with all that follow.
    Batch {
        /// Who has sent it.
        from: DeviceId,
        /// What.
        batch: Batch,
    },
    /// Messages of a best-effort route for this device.
    Live {
        /// Who has sent them.
        from: DeviceId,
        /// `workload/route`.
        route: String,
        /// At least one, oldest first.
        messages: Vec<Message>,
    },
    /// Messages of this device are stored elsewhere.
    Confirm {
        /// Who has stored them.
        from: DeviceId,
        /// How far.
        confirm: Confirm,
    },
    /// What operators signed for this device while it was away: it proves itself.
    Desired {
        /// Who kept it.
        from: DeviceId,
        /// What.
        desired: Desired,
    },
    /// An operator's sealed request.
    Control(ControlRequest),
    /// What keeps the mesh from working whole, for a person; `None` when nothing does any more.
    Problem(Option<String>),
}

impl MeshEvent {
    /// What messages cost to hold: more than they took on the wire.
    pub(crate) fn cost_bytes(&self) -> usize {
        match self {
            Self::Batch { batch: Batch { messages, .. }, .. } | Self::Live { messages, .. } => {
                messages.iter().map(Message::cost_bytes).sum()
            }
            Self::Seen { .. }
            | Self::Gone { .. }
            | Self::RouterSeen { .. }
            | Self::RouterGone { .. }
            | Self::Confirm { .. }
            | Self::Desired { .. }
            | Self::Control(_)
            | Self::Problem(_) => 0,
        }
    }
}

/// An operator's request that waits for its answer. Dropping it unanswered lets the asker time out.
pub struct ControlRequest {
    /// The sealed request, at most [`wayside_config::limits::SEALED_BYTES`].
    pub sealed: Vec<u8>,
    pub(crate) query: zenoh::query::Query,
}

impl ControlRequest {
    /// Answers. Does not wait: the answer goes out on the mesh's own threads.
    pub fn reply(self, answer: Vec<u8>) {
        let key = self.query.key_expr().clone();
        if let Err(error) = zenoh::Wait::wait(self.query.reply(key, answer)) {
            tracing::debug!(%error, "an operator's answer could not be sent");
        }
    }
}

impl std::fmt::Debug for ControlRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlRequest({} bytes)", self.sealed.len())
    }
}

/// Tokens and problems that wait at most. They are small and must not be lost behind messages.
const LIFE_DEPTH: usize = 4096;

/// Messages and requests that wait at most.
const DATA_DEPTH: usize = 1024;

/// Bytes of messages and requests that wait at most. What finds no room is dropped and counted:
/// its sender sends it again.
const DATA_BYTES: usize = 8 << 20;

/// Where the device takes events from.
#[derive(Debug)]
pub struct MeshEvents {
    life: mpsc::Receiver<MeshEvent>,
    data: mpsc::Receiver<(usize, MeshEvent)>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl MeshEvents {
    /// The next event; `None` when the mesh has been closed.
    pub async fn recv(&mut self) -> Option<MeshEvent> {
        tokio::select! {
            biased;
            event = self.life.recv() => event,
            Some((bytes, event)) = self.data.recv() => {
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                Some(event)
            }
        }
    }
}

/// Where Zenoh's threads put events. Never blocks them.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    life: mpsc::Sender<MeshEvent>,
    data: mpsc::Sender<(usize, MeshEvent)>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl EventSender {
    /// Tells of a token or a problem.
    pub(crate) fn life(&self, event: MeshEvent) {
        if let Err(error) = self.life.try_send(event) {
            tracing::warn!(%error, "the device does not take mesh events; one is lost");
        }
    }

    /// Passes on what came in `bytes` bytes; gives it back when there is no room.
    pub(crate) fn data(&self, bytes: usize, event: MeshEvent) -> Option<MeshEvent> {
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let back = if before + bytes > DATA_BYTES {
            Some(event)
        } else {
            self.data.try_send((bytes, event)).err().map(|error| error.into_inner().1)
        };
        if back.is_some() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        back
    }
}

pub(crate) fn channel() -> (EventSender, MeshEvents) {
    let (life, life_events) = mpsc::channel(LIFE_DEPTH);
    let (data, data_events) = mpsc::channel(DATA_DEPTH);
    let waiting_bytes = Arc::<AtomicUsize>::default();
    let events = MeshEvents { life: life_events, data: data_events, waiting_bytes: waiting_bytes.clone() };
    (EventSender { life, data, waiting_bytes }, events)
}
