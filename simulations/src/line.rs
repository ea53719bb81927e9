//! What one machine wants done, in order: commits in groups, then the rest. As the host does it.

use wayside_actors::{
    machine::{Effects, Machine, Step},
    time::Time,
};

use crate::random::Random;

/// A machine and the line of its steps. `O` is what an effect leads to.
#[derive(Debug)]
pub(crate) struct Hosted<M, O> {
    pub(crate) machine: M,
    pub(crate) line: Line<O>,
}

#[derive(Debug)]
pub(crate) struct Line<O> {
    waiting: Vec<Staged<O>>,
    committing: Vec<Staged<O>>,
    wish: Option<Time>,
}

/// A step, with the wiring applied.
#[derive(Debug)]
pub(crate) enum Staged<O> {
    Persist(O),
    Do(O),
}

/// What has to be done about a line after something happened to it.
pub(crate) enum Turn<O> {
    /// Nothing, or a commit is under way.
    Wait,
    /// A group has to be committed: [`Line::committed`] gives it when it is.
    Commit,
    /// Nothing of this had to be stored: do it.
    Do(Vec<Staged<O>>),
}

impl<M: Machine, O> Hosted<M, O> {
    pub(crate) const fn new(machine: M) -> Self {
        Self { machine, line: Line { waiting: Vec::new(), committing: Vec::new(), wish: None } }
    }

    /// Lets the machine take an event at once; its steps wait in the line. Gives the time of a new wish to be woken.
    pub(crate) fn handle<L: IntoIterator<Item = O>>(
        &mut self,
        now: Time,
        event: M::Event,
        wire: impl Fn(M::Effect) -> L,
    ) -> Option<Time> {
        let mut effects = Effects::new();
        self.machine.handle(now, event, &mut effects);
        let mut wish = None;
        for step in effects.take() {
            match step {
                Step::Persist(effect) => {
                    self.line.waiting.extend(wire(effect).into_iter().map(Staged::Persist));
                }
                Step::Do(effect) => self.line.waiting.extend(wire(effect).into_iter().map(Staged::Do)),
                Step::WakeAt(at) => wish = Some(at),
            }
        }
        if wish.is_some() {
            self.line.wish = wish;
        }
        wish
    }
}

impl<O> Line<O> {
    /// Begins with what waits, unless a commit is under way.
    pub(crate) fn turn(&mut self) -> Turn<O> {
        if self.is_committing() || self.waiting.is_empty() {
            return Turn::Wait;
        }
        let group = std::mem::take(&mut self.waiting);
        if group.iter().any(|step| matches!(step, Staged::Persist(_))) {
            self.committing = group;
            Turn::Commit
        } else {
            Turn::Do(group)
        }
    }

    /// The group whose commit is done; also what was under way when the process died.
    pub(crate) fn committed(&mut self) -> Vec<Staged<O>> {
        std::mem::take(&mut self.committing)
    }

    pub(crate) const fn is_committing(&self) -> bool {
        !self.committing.is_empty()
    }

    /// Whether the machine still wishes to be woken at `now`; a later wish replaces an earlier one.
    pub(crate) fn is_due(&mut self, now: Time) -> bool {
        self.wish.take_if(|wish| *wish <= now).is_some()
    }
}

/// How long a commit takes, in milliseconds: a few, and now and then a disk stalls.
pub(crate) fn commit_ms(random: &mut Random) -> u64 {
    const STALLS_PER_MILLE: u64 = 50;
    if random.chance(STALLS_PER_MILLE) { random.between(50, 500) } else { random.between(1, 5) }
}
