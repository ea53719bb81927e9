//! Wakes who waits inside sled for a write that has failed.
//!
//! sled 0.34 writes behind its callers, in two ways. Where the last writer of a buffer hands it over
//! (`Log::exit_reservation` of its source), a failure is noted but nobody is told: who waits in `flush` for that buffer
//! waits for ever, and with it everybody whose commit is under way. Any later `flush` finds the failure and wakes all who
//! wait. So a thread looks, as long as somebody is inside sled, and asks where something failed.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use super::folder::lock;

/// Between two looks. Who waits for a write that failed does so for as long at most.
const LOOK: Duration = Duration::from_millis(200);

/// Looks without anybody inside before the thread sleeps until somebody is, so that a busy store seldom wakes it.
const QUIET_LOOKS: u32 = 10;

/// What somebody may wait in.
pub(super) trait Rouse: Send + Sync {
    /// Wakes all who wait for a write that failed. Does nothing where none has.
    fn rouse(&self);
}

/// The thread. Ends when dropped.
pub(super) struct Rouser {
    calls: Calls,
    thread: Option<JoinHandle<()>>,
}

/// A handle through which calls say that they are under way.
#[derive(Clone)]
pub(super) struct Calls {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    under_way: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
    looked_at: Mutex<Vec<Weak<dyn Rouse>>>,
}

/// A call under way, until this is dropped.
pub(super) struct UnderWay<'a>(&'a State);

impl Rouser {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start() -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let watched = state.clone();
        let thread = thread::Builder::new().name("queue-rouser".into()).spawn(move || watched.run())?;
        Ok(Self { calls: Calls { state, thread: thread.thread().clone() }, thread: Some(thread) })
    }

    pub(super) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Looks at `inside` from now on, until it is gone.
    pub(super) fn look_at(&self, inside: Weak<dyn Rouse>) {
        let mut looked_at = lock(&self.calls.state.looked_at);
        looked_at.retain(|known| known.strong_count() > 0);
        looked_at.push(inside);
    }
}

impl Drop for Rouser {
    fn drop(&mut self) {
        self.calls.state.ended.store(true, SeqCst);
        self.calls.thread.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after the queues ended with a panic; please report this");
        }
    }
}

impl Calls {
    /// Says that a call is under way.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.state.under_way.fetch_add(1, SeqCst);
        if self.state.asleep.load(SeqCst) && self.state.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        UnderWay(&self.state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

impl State {
    fn run(&self) {
        let mut quiet = 0;
        while !self.ended.load(SeqCst) {
            quiet = if self.under_way.load(SeqCst) > 0 { 0 } else { quiet + 1 };
            if quiet > QUIET_LOOKS {
                self.sleep();
                quiet = 0;
            }
            thread::park_timeout(LOOK);
            // Not under the lock: who is woken may open another one.
            let looked_at = lock(&self.looked_at).clone();
            looked_at.iter().filter_map(Weak::upgrade).for_each(|inside| inside.rouse());
        }
    }

    /// Until a call is under way, or the end.
    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        while self.asleep.load(SeqCst) && self.under_way.load(SeqCst) == 0 && !self.ended.load(SeqCst) {
            thread::park();
        }
        self.asleep.store(false, SeqCst);
    }
}

impl std::fmt::Debug for Rouser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rouser")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Rouse for Counter {
        fn rouse(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn wait_for(what: impl Fn() -> bool) {
        let started = Instant::now();
        while !what() {
            assert!(started.elapsed() < Duration::from_secs(30), "it did not come");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn it_looks_while_a_call_is_under_way_and_sleeps_when_none_is() {
        let rouser = Rouser::start().unwrap();
        let (calls, counter) = (rouser.calls(), Arc::new(Counter::default()));
        let inside: Arc<dyn Rouse> = counter.clone();
        rouser.look_at(Arc::downgrade(&inside));
        let asleep = || calls.state.asleep.load(SeqCst);
        for _ in 0..2 {
            wait_for(asleep);
            let before = counter.0.load(SeqCst);
            let call = calls.begin();
            // Also when the call takes longer than it stays awake without one.
            wait_for(|| counter.0.load(SeqCst) > before + QUIET_LOOKS as usize + 3);
            assert!(!asleep());
            drop(call);
        }
    }

    #[test]
    fn it_ends_also_when_it_sleeps() {
        let rouser = Rouser::start().unwrap();
        let state = rouser.calls().state;
        wait_for(|| state.asleep.load(SeqCst));
        drop(rouser);
    }
}
