//! What the tests of several machines share.

use crate::{
    machine::{Effects, Machine, Step},
    time::Time,
};

/// Hands `event` to `machine` at `ms` and gives the steps that it leads to.
pub(crate) fn at<M: Machine>(machine: &mut M, ms: u64, event: M::Event) -> Vec<Step<M::Effect>> {
    let mut out = Effects::new();
    machine.handle(Time::from_millis(ms), event, &mut out);
    out.take()
}

/// As [`at`], without what is persisted and without alarms.
pub(crate) fn done<M: Machine>(machine: &mut M, ms: u64, event: M::Event) -> Vec<M::Effect> {
    let steps = at(machine, ms, event).into_iter().filter_map(|step| match step {
        Step::Do(effect) => Some(effect),
        Step::Persist(_) | Step::WakeAt(_) => None,
    });
    steps.collect()
}

/// Checks that a recorded log of events, read back and fed to a fresh machine, gives the same effects
/// byte for byte.
pub(crate) fn assert_replays<M: Machine>(fresh: impl Fn() -> M, events: &[(u64, M::Event)]) {
    let run = |events: &[(u64, M::Event)]| {
        let (mut machine, mut trace) = (fresh(), Vec::new());
        for (ms, event) in events {
            ciborium::into_writer(&at(&mut machine, *ms, event.clone()), &mut trace).unwrap();
        }
        trace
    };
    let mut log = Vec::new();
    ciborium::into_writer(&events, &mut log).unwrap();
    let replayed: Vec<(u64, M::Event)> = ciborium::from_reader(&log[..]).unwrap();
    assert_eq!(run(events), run(&replayed));
}
