use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use wayside_config::workload::ModuleId;

use super::{
    Calls, Effect, Event, Failed, MAX_BODY_BYTES, MAX_CALLS, MAX_CALLS_OF_MODULE, MAX_DEADLINE_MS, Outcome,
    Undelivered, Why, is_method,
};
use crate::{
    machine::Step,
    report::{ModuleState, ModuleStatus},
    testing::{assert_replays, at, done},
};

fn module(name: &str) -> ModuleId {
    ModuleId::new("plant", name)
}

fn status(state: ModuleState, restarts: u32) -> ModuleStatus {
    ModuleStatus {
        state,
        image: "sensor:1".into(),
        restarts,
        exit_code: None,
        problem: String::new(),
        health: None,
        output: String::new(),
    }
}

fn runs(name: &str, restarts: u32) -> Event {
    Event::Module(module(name), status(ModuleState::Running, restarts))
}

fn called(call: u64, name: &str) -> Event {
    let (method, body) = ("measure".to_owned(), Bytes::from_static(b"{}"));
    Event::Called { call, module: module(name), method, body, deadline_ms: 1000 }
}

fn answered(call: u64, name: &str) -> Event {
    Event::Answered { call, module: module(name), answer: Ok("1".into()) }
}

fn calls() -> Calls {
    let mut calls = Calls::default();
    at(&mut calls, 0, runs("sensor", 0));
    at(&mut calls, 0, runs("pump", 0));
    calls
}

/// What calls are settled by an event, and how.
fn settled(calls: &mut Calls, ms: u64, event: Event) -> Vec<(u64, Result<Bytes, Why>)> {
    let of = |effect| match effect {
        Effect::Settled { call, outcome } => Some((call, outcome.map_err(|failed| failed.why))),
        Effect::Deliver { .. } | Effect::Withdraw { .. } | Effect::Restart(_) => None,
    };
    done(calls, ms, event).into_iter().filter_map(of).collect()
}

#[test]
fn a_call_goes_to_the_module_and_its_answer_back() {
    let mut calls = calls();
    let steps = at(&mut calls, 5, called(1, "sensor"));
    assert!(
        matches!(&steps[0], Step::Do(Effect::Deliver { call: 1, module, .. }) if module.module == "sensor")
    );
    assert_eq!(steps[1], Step::WakeAt(crate::time::Time::from_millis(1005)));
    assert_eq!(settled(&mut calls, 6, answered(1, "sensor")), [(1, Ok("1".into()))]);
    // Once.
    assert_eq!(settled(&mut calls, 7, answered(1, "sensor")), []);
    at(&mut calls, 8, called(2, "sensor"));
    let refusal = Event::Answered { call: 2, module: module("sensor"), answer: Err("not now".into()) };
    let outcome: Outcome = Err(Failed { why: Why::Refused, reason: b"not now".into() });
    assert_eq!(done(&mut calls, 9, refusal), [Effect::Settled { call: 2, outcome }]);
}

#[test]
fn only_the_module_that_was_asked_answers() {
    let mut calls = calls();
    at(&mut calls, 0, called(1, "sensor"));
    assert_eq!(settled(&mut calls, 1, answered(1, "pump")), []);
    assert_eq!(settled(&mut calls, 1, answered(1, "sensor")).len(), 1);
}

#[test]
fn a_slow_module_is_given_up_at_the_deadline_and_its_late_answer_is_nobodys() {
    let mut calls = calls();
    at(&mut calls, 0, called(1, "sensor"));
    // An alarm may come early.
    let early = at(&mut calls, 999, Event::Woken);
    assert_eq!(early, [Step::WakeAt(crate::time::Time::from_millis(1000))]);
    let effects = done(&mut calls, 1000, Event::Woken);
    assert!(matches!(&effects[..], [Effect::Withdraw { call: 1, .. }, Effect::Settled { call: 1, .. }]));
    assert_eq!(settled(&mut calls, 1001, answered(1, "sensor")), []);
}

#[test]
fn who_is_not_there_is_said_at_once_and_why() {
    let mut calls = calls();
    assert_eq!(settled(&mut calls, 0, called(1, "valve")), [(1, Err(Why::Absent))]);
    for (why, expected) in [
        (Undelivered::NotConnected, Why::NotConnected),
        (Undelivered::NotSubscribed, Why::NoMethod),
        (Undelivered::Ended, Why::Ended),
        (Undelivered::Full, Why::Busy),
        (Undelivered::TooLarge, Why::TooLarge),
    ] {
        at(&mut calls, 0, called(2, "sensor"));
        assert_eq!(settled(&mut calls, 0, Event::Undelivered { call: 2, why }), [(2, Err(expected))]);
    }
    at(&mut calls, 0, called(3, "sensor"));
    at(&mut calls, 0, called(4, "pump"));
    assert_eq!(settled(&mut calls, 0, Event::ModuleGone(module("sensor"))), [(3, Err(Why::Ended))]);
    assert_eq!(settled(&mut calls, 0, Event::ListenerGone), [(4, Err(Why::Ended))]);
}

#[test]
fn what_is_beyond_the_bounds_is_refused_at_once() {
    let mut calls = calls();
    let large = |call, bytes| Event::Called {
        call,
        module: module("pump"),
        method: "m".into(),
        body: vec![0; bytes].into(),
        deadline_ms: u64::MAX,
    };
    assert_eq!(settled(&mut calls, 0, large(1, MAX_BODY_BYTES + 1)), [(1, Err(Why::TooLarge))]);
    at(&mut calls, 0, large(2, MAX_BODY_BYTES));
    assert_eq!(settled(&mut calls, MAX_DEADLINE_MS, Event::Woken), [(2, Err(Why::Deadline))]);
    for method in ["", "a/b", "a+", "#", "ä", &"x".repeat(65)] {
        assert!(!is_method(method), "{method}");
        let call = Event::Called {
            call: 3,
            module: module("pump"),
            method: method.into(),
            body: Bytes::new(),
            deadline_ms: 1,
        };
        assert_eq!(settled(&mut calls, 0, call), [(3, Err(Why::Malformed))]);
    }
    for call in 0..MAX_CALLS_OF_MODULE as u64 {
        assert_eq!(settled(&mut calls, 0, called(100 + call, "sensor")), []);
    }
    assert_eq!(settled(&mut calls, 0, called(99, "sensor")), [(99, Err(Why::Busy))]);
    at(&mut calls, 0, called(98, "pump"));
    let answer =
        Event::Answered { call: 98, module: module("pump"), answer: Ok(vec![0; MAX_BODY_BYTES + 1].into()) };
    assert_eq!(settled(&mut calls, 0, answer), [(98, Err(Why::TooLarge))]);
    let mut calls = Calls::default();
    for number in 0..MAX_CALLS as u64 + 1 {
        let name = format!("m{}", number / 10);
        at(&mut calls, 0, runs(&name, 0));
        let refused = number == MAX_CALLS as u64;
        assert_eq!(settled(&mut calls, 0, called(number, &name)).len(), usize::from(refused));
    }
}

#[test]
fn a_restart_is_over_when_the_module_runs_anew() {
    let mut calls = calls();
    let restart = |call| Event::Restart { call, module: module("sensor"), deadline_ms: 1000 };
    assert_eq!(done(&mut calls, 0, restart(1)), [Effect::Restart(module("sensor"))]);
    let stopping = Event::Module(module("sensor"), status(ModuleState::Stopping, 0));
    assert_eq!(settled(&mut calls, 1, stopping), []);
    // The listener's end does not keep it from running.
    assert_eq!(settled(&mut calls, 1, Event::ListenerGone), []);
    let body = Bytes::from_static(br#"{"module":"plant/sensor","restarts":1}"#);
    assert_eq!(settled(&mut calls, 2, runs("sensor", 1)), [(1, Ok(body))]);
    // One that was not running is over when it runs, however often it was started.
    at(&mut calls, 3, Event::Module(module("sensor"), status(ModuleState::BackOff, 1)));
    at(&mut calls, 3, restart(2));
    assert_eq!(settled(&mut calls, 4, runs("sensor", 1)).len(), 1);
    at(&mut calls, 5, restart(3));
    assert_eq!(settled(&mut calls, 1005, Event::Woken), [(3, Err(Why::Deadline))]);
}

fn event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["sensor", "pump"]);
    prop_oneof![
        4 => (0u64..40, name.clone()).prop_map(|(call, name)| called(call, name)),
        2 => (0u64..40, name.clone()).prop_map(|(call, name)| answered(call, name)),
        1 => (0u64..40, name.clone()).prop_map(|(call, name)| Event::Restart {
            call,
            module: module(name),
            deadline_ms: 300,
        }),
        1 => (0u64..40).prop_map(|call| Event::Undelivered { call, why: Undelivered::Ended }),
        1 => (name.clone(), 0u32..3).prop_map(|(name, restarts)| runs(name, restarts)),
        1 => name.prop_map(|name| Event::ModuleGone(module(name))),
        1 => Just(Event::ListenerGone),
        3 => Just(Event::Woken),
    ]
}

proptest! {
    /// Whatever happens in whatever order: each call is settled once, and none waits longer than it may.
    #[test]
    fn every_call_is_settled_exactly_once(events in prop::collection::vec((0u64..400, event()), 0..80)) {
        let mut used = BTreeSet::new();
        let mut life = Life { calls: calls(), alarm: None, open: BTreeMap::new(), log: Vec::new() };
        let mut now = 0;
        for (after_ms, event) in events {
            now += after_ms;
            // Numbers are not used again.
            let is_fresh = match &event {
                Event::Called { call, .. } | Event::Restart { call, .. } => used.insert(*call),
                Event::Module(..)
                | Event::ModuleGone(_)
                | Event::Undelivered { .. }
                | Event::Answered { .. }
                | Event::ListenerGone
                | Event::Woken => true,
            };
            life.pass(now);
            if is_fresh {
                life.tell(now, event);
            }
            prop_assert!(life.open.values().all(|until| *until >= now), "overdue at {now}: {:?}", life.open);
        }
        life.pass(now + MAX_DEADLINE_MS);
        prop_assert!(life.open.is_empty(), "{:?}", life.open);
        assert_replays(calls, &life.log);
    }
}

/// Calls with their alarm, and who waits until when.
struct Life {
    calls: Calls,
    alarm: Option<u64>,
    open: BTreeMap<u64, u64>,
    log: Vec<(u64, Event)>,
}

impl Life {
    fn pass(&mut self, until: u64) {
        while let Some(ms) = self.alarm.filter(|ms| *ms <= until) {
            self.alarm = None;
            self.tell(ms, Event::Woken);
        }
    }

    fn tell(&mut self, ms: u64, event: Event) {
        if let Event::Called { call, deadline_ms, .. } | Event::Restart { call, deadline_ms, .. } = &event {
            self.open.insert(*call, ms + deadline_ms);
        }
        self.log.push((ms, event.clone()));
        for step in at(&mut self.calls, ms, event) {
            match step {
                Step::WakeAt(at) => self.alarm = Some(at.as_millis()),
                Step::Do(Effect::Settled { call, .. }) => {
                    assert!(self.open.remove(&call).is_some(), "{call} was settled twice");
                }
                Step::Do(_) | Step::Persist(_) => {}
            }
        }
    }
}
