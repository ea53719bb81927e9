//! Who waits for what machines answer: operators' questions, on any thread.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use wayside_actors::device::{
    calls::{MAX_CALLS, Outcome},
    twins::Twin,
};

/// Who waits for what came of a call.
pub type CallPort = Port<Outcome>;

/// Who waits for a twin.
pub type TwinPort = Port<Result<Box<Twin>, String>>;

/// Questions by the number of their call.
#[derive(Debug)]
pub struct Port<T>(Mutex<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    /// The number given last; the first one is random, so that no answer to a call of an earlier daemon is one
    /// to a call of this one.
    last: Option<u64>,
    senders: BTreeMap<u64, oneshot::Sender<T>>,
}

impl<T> Default for Port<T> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { last: None, senders: BTreeMap::new() }))
    }
}

impl<T> Port<T> {
    /// A number for a call, and where its outcome comes. `None` when as many wait as may, and some more than
    /// machines take.
    pub fn wait(&self) -> Option<(u64, oneshot::Receiver<T>)> {
        let mut waiting = self.lock();
        // Those who gave up are swept here, so that they do not pile up.
        waiting.senders.retain(|_, sender| !sender.is_closed());
        if waiting.senders.len() >= 2 * MAX_CALLS {
            return None;
        }
        let last = waiting.last.unwrap_or_else(|| getrandom::u64().unwrap_or_default() >> 8);
        let (call, (sender, receiver)) = (last.wrapping_add(1), oneshot::channel());
        waiting.last = Some(call);
        waiting.senders.insert(call, sender);
        Some((call, receiver))
    }

    /// Tells who waits for it.
    pub(super) fn settle(&self, call: u64, outcome: T) {
        if let Some(sender) = self.lock().senders.remove(&call) {
            // Who gave up does not need to know.
            let _ = sender.send(outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_number_and_who_gave_up_makes_room() {
        let port = CallPort::default();
        let (first, receiver) = port.wait().unwrap();
        let others: Vec<_> = std::iter::from_fn(|| port.wait()).collect();
        assert_eq!(others.len(), 2 * MAX_CALLS - 1);
        assert_eq!(others[0].0, first + 1);
        port.settle(first, Ok("x".into()));
        assert_eq!(receiver.blocking_recv().unwrap().unwrap(), "x");
        drop(others);
        assert!(port.wait().is_some());
    }
}
