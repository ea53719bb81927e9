//! Counts what actors have told each other and nobody has finished with.
//!
//! Actors tell each other without waiting, for two that wait for each other's mailboxes would
//! wait for ever. Memory stays bounded all the same: every tell descends from something that came
//! in from outside, and the outside waits in [`Address::send`](crate::Address::send) while more
//! than [`TELLS`] are open. Those that are open always come to an end, because no actor waits
//! for the outside.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Open tells in one process above which nothing new is let in from outside.
pub(crate) const TELLS: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    open: AtomicUsize,
    eased: Notify,
}

/// One tell that is still open. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Tell(Arc<Traffic>);

impl Traffic {
    pub(crate) fn tell(self: &Arc<Self>) -> Tell {
        self.open.fetch_add(1, Ordering::Relaxed);
        Tell(Arc::clone(self))
    }

    pub(crate) fn is_heavy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > TELLS
    }

    /// Resolves when there is room for something new from outside.
    pub(crate) async fn light(&self) {
        loop {
            let eased = self.eased.notified();
            if !self.is_heavy() {
                return;
            }
            eased.await;
        }
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == TELLS + 1 {
            self.0.eased.notify_waiters();
        }
    }
}
