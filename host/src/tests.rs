//! A machine that counts, in a shell that writes down what it is asked to do.

use std::{
    cell::{Cell, RefCell},
    os::unix::fs::PermissionsExt,
    path::Path,
    rc::Rc,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use serde::{Deserialize, Serialize};
use wayside_actors::{
    machine::{Effects, Machine, Step},
    time::Time,
};

use crate::{Address, Clock, CommitError, Host, SendError, Shell, recorder};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    Add(u64),
    Panic,
    WakeIn(u64),
    Woken,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Effect {
    Save(u64),
    Tell(u64),
    Rang,
}

#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Add(n) => {
                self.0 += n;
                out.persist(Effect::Save(self.0));
                out.push(Effect::Tell(self.0));
            }
            Event::Panic => panic!("the test wants this"),
            Event::WakeIn(ms) => out.wake_at(now.plus_millis(ms)),
            Event::Woken => out.push(Effect::Rang),
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

/// What the shell saw, in order.
#[derive(Debug, PartialEq)]
enum Seen {
    Commit(Vec<Effect>),
    CommitFailed,
    Perform(Effect),
    Restarted,
    Escalated(String),
}

#[derive(Clone, Default)]
struct Notes {
    seen: Rc<RefCell<Vec<Seen>>>,
    stored: Rc<Cell<u64>>,
    fail_commits: Rc<Cell<u32>>,
}

impl Shell<Counter> for Notes {
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<Counter, String>> {
        async { Ok(Counter(self.stored.get())) }.boxed_local()
    }

    fn commit(&self, group: Vec<Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>> {
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(left) = self.fail_commits.get().checked_sub(1) {
                self.fail_commits.set(left);
                self.seen.borrow_mut().push(Seen::CommitFailed);
                return Err(CommitError("disk full".into()));
            }
            if let Some(Effect::Save(value)) = group.last() {
                self.stored.set(*value);
            }
            self.seen.borrow_mut().push(Seen::Commit(group));
            Ok(())
        }
        .boxed_local()
    }

    fn perform(&self, effects: Vec<Effect>) -> LocalBoxFuture<'_, ()> {
        self.seen.borrow_mut().extend(effects.into_iter().map(Seen::Perform));
        async {}.boxed_local()
    }

    fn restarted(&self) {
        self.seen.borrow_mut().push(Seen::Restarted);
    }

    fn escalate(&self, reason: String) {
        self.seen.borrow_mut().push(Seen::Escalated(reason));
    }
}

/// Runs `test` on an actix system with a counter, and gives what its shell saw.
fn run<F: Future<Output = ()>>(host: Host, test: impl FnOnce(Address<Event>, Notes) -> F) -> Vec<Seen> {
    let notes = Notes::default();
    actix::System::new().block_on(async {
        let address = host.spawn("counter", notes.clone());
        test(address.clone(), notes.clone()).await;
        address.end().await;
    });
    std::mem::take(&mut *notes.seen.borrow_mut())
}

fn host() -> Host {
    Host::new(Clock::start())
}

#[test]
fn events_that_come_at_once_are_taken_in_order_and_committed_together() {
    let seen = run(Host::new(Clock::start()), |address, _| async move {
        address.send_all(vec![Event::Add(1), Event::Add(2)], 0).await.unwrap();
    });
    let expected = [
        Seen::Commit(vec![Effect::Save(1), Effect::Save(3)]),
        Seen::Perform(Effect::Tell(1)),
        Seen::Perform(Effect::Tell(3)),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn events_that_wait_are_committed_as_one_group_before_anything_is_told() {
    let seen = run(host(), |address, _| async move {
        for _ in 0..3 {
            address.send(Event::Add(1), 0).await.unwrap();
        }
    });
    let tells = [1, 2, 3].map(|n| Seen::Perform(Effect::Tell(n)));
    assert_eq!(seen[0], Seen::Commit([1, 2, 3].map(Effect::Save).into()));
    assert_eq!(seen[1..], tells);
}

#[test]
fn a_panic_restarts_the_machine_from_what_is_persisted() {
    let seen = run(host(), |address, _| async move {
        address.send(Event::Add(1), 0).await.unwrap();
        address.send(Event::Panic, 0).await.unwrap();
        address.send(Event::Add(1), 0).await.unwrap();
    });
    assert_eq!(
        seen,
        [
            Seen::Commit(vec![Effect::Save(1)]),
            Seen::Perform(Effect::Tell(1)),
            Seen::Restarted,
            Seen::Commit(vec![Effect::Save(2)]),
            Seen::Perform(Effect::Tell(2)),
        ]
    );
}

#[test]
fn a_failing_commit_tells_nothing() {
    let seen = run(host(), |address, notes| async move {
        notes.fail_commits.set(1);
        address.send(Event::Add(1), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        address.send(Event::Add(1), 0).await.unwrap();
    });
    assert_eq!(
        seen,
        [
            Seen::CommitFailed,
            Seen::Restarted,
            Seen::Commit(vec![Effect::Save(1)]),
            Seen::Perform(Effect::Tell(1)),
        ]
    );
}

#[test]
fn too_many_failures_escalate_and_close_the_address() {
    let seen = run(host(), |address, _| async move {
        while address.send(Event::Panic, 0).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(address.try_send(Event::Add(1), 0), Err(SendError::Exited));
        assert_eq!(address.tell(Event::Add(1)), Err(SendError::Exited));
    });
    assert!(matches!(seen.last(), Some(Seen::Escalated(reason)) if reason.contains("the test wants this")));
}

#[test]
fn a_full_mailbox_is_busy_and_not_exited() {
    run(host(), |address, _| async move {
        let whole = 64 << 20;
        address.try_send(Event::Add(1), whole).unwrap();
        assert_eq!(address.try_send(Event::Add(1), 0), Err(SendError::Busy));
        // Waiting brings it in as soon as the first is through.
        address.send(Event::Add(1), whole).await.unwrap();
    });
}

#[test]
fn the_alarm_rings_once_at_the_last_wish() {
    let seen = run(host(), |address, _| async move {
        address.send(Event::WakeIn(1), 0).await.unwrap();
        address.send(Event::WakeIn(40), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        address.send(Event::Add(1), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    });
    assert_eq!(seen[1..], [Seen::Perform(Effect::Tell(1)), Seen::Perform(Effect::Rang)]);
}

#[test]
fn a_recorded_run_replays_to_the_same_effects() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = folder.path().join("made/here");
    let recording = host().recording(recordings.clone(), 1 << 20).unwrap();
    let seen = run(recording, |address, _| async move {
        for n in 0..20 {
            address.send(Event::Add(n), 0).await.unwrap();
        }
        address.send(Event::WakeIn(1), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    let told = seen.into_iter().filter_map(|seen| match seen {
        Seen::Perform(effect) => Some(effect),
        Seen::Commit(_) | Seen::CommitFailed | Seen::Restarted | Seen::Escalated(_) => None,
    });
    let steps = replay(&recordings);
    let replayed = steps.iter().flatten().filter_map(|step| match step {
        Step::Do(effect) => Some(effect.clone()),
        Step::Persist(_) | Step::WakeAt(_) => None,
    });
    assert_eq!(cbor(&told.collect::<Vec<_>>()), cbor(&replayed.collect::<Vec<_>>()));
    assert_eq!(cbor(&steps), cbor(&replay(&recordings)));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&recordings), mode(&recordings.join("counter.1.events"))), (0o700, 0o600));
}

fn replay(folder: &Path) -> Vec<Vec<Step<Effect>>> {
    recorder::replay(&folder.join("counter.1.events"), Counter::default()).unwrap()
}

fn cbor<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}
