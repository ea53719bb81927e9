//! The contract of every actor: a pure state machine whose answers are effects.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::time::Time;

/// A pure state machine: no clock, no randomness, no I/O, no await, no thread inside.
///
/// The same events at the same times give the same effects, byte for byte, so a recorded run
/// can be replayed and a simulated fleet is the real one.
pub trait Machine {
    /// What can happen to it.
    type Event: Clone + Debug + Send + Serialize + DeserializeOwned + 'static;
    /// What it wants done.
    type Effect: Clone + Debug + Send + Serialize + 'static;

    /// Takes one event and writes what has to be done, in order, to `out`.
    fn handle(&mut self, now: Time, event: Self::Event, out: &mut Effects<Self::Effect>);

    /// The event that tells the machine that the time it asked for has come.
    fn woken() -> Self::Event;
}

/// One step of what a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Step<E> {
    /// Put this on stable storage before anything after it in the list is done.
    Persist(E),
    /// Do this.
    Do(E),
    /// Bring [`Machine::woken`] at this time. Replaces an earlier wish; one machine has one alarm.
    WakeAt(Time),
}

/// The ordered list of steps that one event led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effects<E> {
    steps: Vec<Step<E>>,
}

impl<E> Effects<E> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// An empty list with room for this many steps.
    #[must_use]
    pub fn with_room(steps: usize) -> Self {
        Self { steps: Vec::with_capacity(steps) }
    }

    /// Asks that `effect` is on stable storage before any later step is done.
    pub fn persist(&mut self, effect: E) {
        self.steps.push(Step::Persist(effect));
    }

    /// Asks that `effect` is done.
    pub fn push(&mut self, effect: E) {
        self.steps.push(Step::Do(effect));
    }

    /// Asks for [`Machine::woken`] at `at`, in place of any earlier wish.
    pub fn wake_at(&mut self, at: Time) {
        self.steps.push(Step::WakeAt(at));
    }

    /// The steps so far, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step<E>] {
        &self.steps
    }

    /// Takes the steps out and leaves the list empty.
    pub fn take(&mut self) -> Vec<Step<E>> {
        std::mem::take(&mut self.steps)
    }
}

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self::new()
    }
}
