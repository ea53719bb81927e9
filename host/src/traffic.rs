//! Counts what actors have told each other and nobody has finished with.
//!
//! Actors tell each other without waiting, for two that wait for each other's mailboxes would
//! wait for ever. Memory stays bounded all the same: every tell descends from something that came
//! in from outside, and the outside waits in [`Address::send`](crate::Address::send) while more
//! than [`TELLS`] are open. One that carries payload counts for as many as its bytes make up. Those that are open always come to an end, because no actor waits
//! for the outside.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Open tells in one process, in units of small ones, above which nothing new is let in from outside.
pub(crate) const TELLS: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    open: AtomicUsize,
    eased: Notify,
}

/// One tell that is still open. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Tell {
    traffic: Arc<Traffic>,
    units: usize,
}

impl Traffic {
    pub(crate) fn tell(self: &Arc<Self>, units: usize) -> Tell {
        self.open.fetch_add(units, Ordering::Relaxed);
        Tell { traffic: Arc::clone(self), units }
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
        let before = self.traffic.open.fetch_sub(self.units, Ordering::Relaxed);
        if before > TELLS && before - self.units <= TELLS {
            self.traffic.eased.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_counts() {
        let traffic = Arc::new(Traffic::default());
        let large = traffic.tell(TELLS);
        assert!(!traffic.is_heavy());
        let small = traffic.tell(1);
        assert!(traffic.is_heavy());
        drop(large);
        assert!(!traffic.is_heavy());
        drop(small);
        assert_eq!(traffic.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_outside_goes_on_when_a_large_one_is_done() {
        let traffic = Arc::new(Traffic::default());
        let large = traffic.tell(3 * TELLS);
        let waiting = tokio::spawn({
            let traffic = Arc::clone(&traffic);
            async move { traffic.light().await }
        });
        tokio::task::yield_now().await;
        drop(large);
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
}
