//! Where an actor takes events: bounded for the outside, at once for other actors.

use std::{fmt, sync::Arc};

use actix::Recipient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::traffic::{Tell, Traffic};

/// Room for events from outside in one mailbox and the pipeline behind it, in units of
/// [`UNIT_BYTES`]: 2,048 small events, or 8 MiB of payload.
const ROOM_UNITS: usize = 2048;

/// What one unit of room holds.
const UNIT_BYTES: usize = 4096;

/// The address of an actor that takes events of type `E`. Cheap to clone, good on any thread.
pub struct Address<E: Send + 'static>(Arc<Inner<E>>);

/// The event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no room now. Try again, or wait in [`Address::send`].
    #[error("the actor has more to do than it has room for")]
    Busy,
    /// The actor is gone and takes nothing any more.
    #[error("the actor has ended")]
    Exited,
}

struct Inner<E: Send + 'static> {
    recipient: Recipient<Post<E>>,
    room: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

/// What lies in a mailbox.
pub(crate) enum Post<E> {
    Events(Vec<E>, Hold),
    /// End when the pipeline is empty, then say so.
    End(oneshot::Sender<()>),
    /// The pipeline could not commit.
    Broken,
}

/// What an event occupies from when it is posted until all it led to has been handed over.
#[derive(Debug)]
pub(crate) enum Hold {
    Outside { _permit: OwnedSemaphorePermit },
    Inside { _tell: Tell },
    Alarm,
}

impl<E> actix::Message for Post<E> {
    type Result = ();
}

impl<E: Send + 'static> Address<E> {
    pub(crate) fn new(recipient: Recipient<Post<E>>, room: Arc<Semaphore>, traffic: Arc<Traffic>) -> Self {
        Self(Arc::new(Inner { recipient, room, traffic }))
    }

    /// Brings an event from outside and waits for room: this wait is the back-pressure.
    /// `payload_bytes` is what the event carries besides its fixed size; 0 for most.
    /// Not for actors among themselves; see [`Self::tell`].
    ///
    /// # Errors
    /// [`SendError::Exited`] when the actor is gone.
    pub async fn send(&self, event: E, payload_bytes: usize) -> Result<(), SendError> {
        self.send_all(vec![event], payload_bytes).await
    }

    /// [`Self::send`] for several events, which the machine takes one after the other and whose steps are done
    /// as one list: cheaper than one by one where many come at once.
    ///
    /// # Errors
    /// [`SendError::Exited`] when the actor is gone.
    pub async fn send_all(&self, events: Vec<E>, payload_bytes: usize) -> Result<(), SendError> {
        self.0.traffic.light().await;
        let units = units(events.len(), payload_bytes);
        let permit = Arc::clone(&self.0.room).acquire_many_owned(units).await;
        let permit = permit.map_err(|_| SendError::Exited)?;
        self.post(Post::Events(events, Hold::Outside { _permit: permit }))
    }

    /// Brings an event from outside if there is room now.
    ///
    /// # Errors
    /// [`SendError::Busy`] when there is no room, [`SendError::Exited`] when the actor is gone.
    pub fn try_send(&self, event: E, payload_bytes: usize) -> Result<(), SendError> {
        if self.0.traffic.is_heavy() {
            return Err(if self.0.room.is_closed() { SendError::Exited } else { SendError::Busy });
        }
        match Arc::clone(&self.0.room).try_acquire_many_owned(units(1, payload_bytes)) {
            Ok(permit) => self.post(Post::Events(vec![event], Hold::Outside { _permit: permit })),
            Err(TryAcquireError::NoPermits) => Err(SendError::Busy),
            Err(TryAcquireError::Closed) => Err(SendError::Exited),
        }
    }

    /// Tells an event without waiting: for what one actor's effect means to another. Counted; the
    /// outside waits while too many are open.
    ///
    /// # Errors
    /// [`SendError::Exited`] when the actor is gone.
    pub fn tell(&self, event: E) -> Result<(), SendError> {
        self.tell_payload(event, 0)
    }

    /// [`Self::tell`] for an event that carries `payload_bytes` besides its fixed size: it counts for more.
    ///
    /// # Errors
    /// [`SendError::Exited`] when the actor is gone.
    pub fn tell_payload(&self, event: E, payload_bytes: usize) -> Result<(), SendError> {
        let units = 1 + payload_bytes / UNIT_BYTES;
        self.post(Post::Events(vec![event], Hold::Inside { _tell: self.0.traffic.tell(units) }))
    }

    /// Ends the actor after what it has already handled is committed and handed over. Resolves then.
    pub async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.post(Post::End(done)).is_ok() {
            // An error means that the actor ended by another way first.
            let _ = ended.await;
        }
    }

    fn post(&self, post: Post<E>) -> Result<(), SendError> {
        if self.0.room.is_closed() || !self.0.recipient.connected() {
            return Err(SendError::Exited);
        }
        self.0.recipient.do_send(post);
        Ok(())
    }
}

impl<E: Send + 'static> Clone for Address<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Send + 'static> fmt::Debug for Address<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("room", &self.0.room.available_permits()).finish_non_exhaustive()
    }
}

fn units(events: usize, payload_bytes: usize) -> u32 {
    // What comes at once takes at most the whole room, so that it can pass at all.
    let units = (events + payload_bytes / UNIT_BYTES).min(ROOM_UNITS);
    u32::try_from(units).expect("at most ROOM_UNITS")
}

pub(crate) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM_UNITS))
}
