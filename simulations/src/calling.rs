//! Operators who call modules of every device, and what came of each call: one word in time, or none from a daemon
//! that died meanwhile.

use std::collections::BTreeMap;

use wayside_actors::{
    device::calls::{Event, Outcome, Why},
    time::Time,
};
use wayside_config::workload::ModuleId;

use crate::{
    random::Random,
    workload::{DETECTOR, NAME, SENSOR},
};

/// How long an answer may take, in milliseconds.
const DEADLINE_MS: u64 = 2_000;

/// All calls of a world.
#[derive(Debug)]
pub(crate) struct Calling {
    /// Of its own, so that calls change nothing of what else is left to chance.
    random: Random,
    made: u64,
    /// Until when the word must have come, by device, life of its daemon and number.
    open: BTreeMap<(u32, u32, u64), Time>,
    /// Calls that modules answered, and all others that were settled.
    pub(crate) answered: u64,
    pub(crate) failed: u64,
}

impl Calling {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x0063_616c_6c73);
        Self { random, made: 0, open: BTreeMap::new(), answered: 0, failed: 0 }
    }

    /// Milliseconds until an operator calls the next time.
    pub(crate) fn pause_ms(&mut self) -> u64 {
        self.random.between(500, 5_000)
    }

    /// Whether a module answers a call; others are slow.
    pub(crate) fn is_answered(&mut self) -> bool {
        const SLOW_PER_MILLE: u64 = 100;
        !self.random.chance(SLOW_PER_MILLE)
    }

    /// An operator calls.
    pub(crate) fn make(&mut self, device: u32, life: u32, now: Time) -> Event {
        const RESTARTS_PER_MILLE: u64 = 30;
        const ABSENT_PER_MILLE: u64 = 30;
        self.made += 1;
        let call = self.made;
        self.open.insert((device, life, call), now.plus_millis(DEADLINE_MS));
        let name = if self.random.chance(ABSENT_PER_MILLE) {
            "nobody"
        } else if self.random.chance(500) {
            SENSOR
        } else {
            DETECTOR
        };
        let module = ModuleId::new(NAME, name);
        if self.random.chance(RESTARTS_PER_MILLE) {
            return Event::Restart { call, module, deadline_ms: DEADLINE_MS };
        }
        let (method, body) = ("measure".into(), bytes::Bytes::from_static(b"{}"));
        Event::Called { call, module, method, body, deadline_ms: DEADLINE_MS }
    }

    /// The word on a call. Gives the law that it breaks, if it does.
    pub(crate) fn settled(
        &mut self,
        device: u32,
        life: u32,
        call: u64,
        outcome: &Outcome,
        now: Time,
    ) -> Option<String> {
        match outcome {
            Ok(_) => self.answered += 1,
            Err(_) => self.failed += 1,
        }
        let Some(until) = self.open.remove(&(device, life, call)) else {
            return Some(format!("call {call} of device {device} was settled twice"));
        };
        let is_late = matches!(outcome, Err(failed) if failed.why == Why::Deadline);
        let is_over = now > until || (now < until && is_late);
        is_over.then(|| format!("call {call} of device {device} was settled at {now:?} and not by {until:?}"))
    }

    /// The daemon died: who called it waits in vain, as its operators find out by themselves.
    pub(crate) fn died(&mut self, device: u32, life: u32) {
        self.open.retain(|(of, in_life, _), _| (*of, *in_life) != (device, life));
    }

    /// Calls that should be settled by now.
    pub(crate) fn overdue(&self, now: Time) -> usize {
        self.open.values().filter(|until| **until < now).count()
    }
}
