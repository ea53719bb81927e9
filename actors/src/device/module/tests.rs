use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use wayside_config::workload::{ModuleSpec, Restart};

use super::{Effect, Event, Module, STABLE_MS, STOP_SLACK_MS};
use crate::{
    machine::{Machine, Step},
    report::ModuleState,
    testing::{assert_replays, at, done},
};

fn wanted(hash: &str, restart: Restart) -> Event {
    let spec = ModuleSpec { image: "sensor".into(), restart, stop_grace_ms: 10_000, ..ModuleSpec::default() };
    Event::Wanted { spec: Box::new(spec), spec_hash: hash.into() }
}

fn found(container: &str, hash: &str, exit_code: Option<i64>) -> Event {
    let running = exit_code.is_none();
    Event::Found { container: container.into(), spec_hash: hash.into(), running, exit_code }
}

fn exited(code: i64) -> Event {
    Event::Exited { container: "c".into(), code }
}

fn created() -> Event {
    Event::Created { container: "c".into(), spec_hash: "1".into() }
}

fn started() -> Event {
    Event::Started { container: "c".into() }
}

fn removed() -> Event {
    Event::Removed { container: "c".into() }
}

/// A module whose container `c` runs since time 0.
fn running(restart: Restart) -> Module {
    let mut module = Module::default();
    for event in [wanted("1", restart), Event::Missing, created(), started()] {
        at(&mut module, 0, event);
    }
    module
}

/// What it asks the engine for, without reports.
fn asks(module: &mut Module, ms: u64, event: Event) -> Vec<Effect> {
    let mut effects = done(module, ms, event);
    effects.retain(|effect| !matches!(effect, Effect::Report(_)));
    effects
}

fn state(module: &mut Module, ms: u64, event: Event) -> ModuleState {
    let mut reports = done(module, ms, event).into_iter().filter_map(|effect| match effect {
        Effect::Report(status) => Some(status.state),
        Effect::Create { .. }
        | Effect::Start { .. }
        | Effect::Stop { .. }
        | Effect::Remove { .. }
        | Effect::Gone => None,
    });
    reports.next_back().expect("a report")
}

fn start() -> Vec<Effect> {
    vec![Effect::Start { container: "c".into() }]
}

fn remove(container: &str) -> Vec<Effect> {
    vec![Effect::Remove { container: container.into() }]
}

fn alarm(steps: &[Step<Effect>]) -> Option<u64> {
    steps.iter().find_map(|step| match step {
        Step::WakeAt(at) => Some(at.as_millis()),
        Step::Do(_) | Step::Persist(_) => None,
    })
}

#[test]
fn waits_for_word_of_the_engine_and_then_creates_and_starts() {
    let mut module = Module::default();
    assert_eq!(asks(&mut module, 0, wanted("1", Restart::Always)), []);
    assert!(matches!(asks(&mut module, 1, Event::Missing)[..], [Effect::Create { .. }]));
    assert_eq!(asks(&mut module, 2, created()), start());
    assert_eq!(state(&mut module, 3, started()), ModuleState::Running);
}

#[test]
fn backs_off_doubling_and_begins_anew_after_a_stable_run() {
    let mut module = running(Restart::Always);
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..11 {
        let until = alarm(&at(&mut module, now, exited(1))).unwrap();
        waits.push((until - now) / 1000);
        now = until;
        assert_eq!(asks(&mut module, now, Event::Woken), start());
        at(&mut module, now, started());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    now += STABLE_MS;
    assert_eq!(alarm(&at(&mut module, now, exited(1))), Some(now + 1000));
}

#[test]
fn restart_policies_are_those_of_compose() {
    let on_failure = |max_retries| Restart::OnFailure { max_retries };
    for (restart, code, expected) in [
        (Restart::No, 0, ModuleState::Ended),
        (Restart::No, 1, ModuleState::Ended),
        (Restart::Always, 0, ModuleState::BackOff),
        (Restart::UnlessStopped, 0, ModuleState::BackOff),
        (on_failure(None), 0, ModuleState::Ended),
        (on_failure(None), 137, ModuleState::BackOff),
        (on_failure(Some(0)), 1, ModuleState::Ended),
        (on_failure(Some(1)), 1, ModuleState::BackOff),
    ] {
        assert_eq!(state(&mut running(restart), 5, exited(code)), expected, "{restart:?} {code}");
    }
    let mut module = running(on_failure(Some(1)));
    at(&mut module, 0, exited(1));
    at(&mut module, 1000, Event::Woken);
    at(&mut module, 1000, started());
    assert_eq!(state(&mut module, 1001, exited(1)), ModuleState::Ended);
}

#[test]
fn adopts_what_it_finds_and_applies_the_policy_to_what_ended() {
    for (restart, exit_code, expected) in [
        (Restart::Always, None, vec![]),
        (Restart::Always, Some(0), start()),
        (Restart::UnlessStopped, Some(137), start()),
        (Restart::OnFailure { max_retries: None }, Some(255), start()),
        (Restart::OnFailure { max_retries: None }, Some(0), vec![]),
        (Restart::No, Some(137), vec![]),
    ] {
        let mut module = Module::default();
        at(&mut module, 0, wanted("1", restart));
        assert_eq!(asks(&mut module, 1, found("c", "1", exit_code)), expected, "{restart:?}");
    }
    // Made, and never started.
    let mut module = Module::default();
    at(&mut module, 0, wanted("1", Restart::No));
    let never =
        Event::Found { container: "c".into(), spec_hash: "1".into(), running: false, exit_code: None };
    assert_eq!(asks(&mut module, 1, never), start());
}

#[test]
fn replaces_a_container_of_another_specification() {
    let mut module = running(Restart::Always);
    let stop = vec![Effect::Stop { container: "c".into(), grace_ms: 10_000 }];
    assert_eq!(asks(&mut module, 1, wanted("2", Restart::Always)), stop);
    assert_eq!(asks(&mut module, 2, exited(0)), remove("c"));
    assert!(matches!(asks(&mut module, 3, removed())[..], [Effect::Create { .. }]));

    let mut module = Module::default();
    at(&mut module, 0, wanted("2", Restart::Always));
    assert_eq!(asks(&mut module, 1, found("old", "1", None)).len(), 1);
    let mut module = Module::default();
    at(&mut module, 0, wanted("2", Restart::Always));
    assert_eq!(asks(&mut module, 1, found("old", "1", Some(0))), remove("old"));
}

#[test]
fn goes_by_stop_and_remove_and_by_force_when_the_stop_hangs() {
    let mut module = running(Restart::Always);
    let steps = at(&mut module, 0, Event::Unwanted);
    assert_eq!(alarm(&steps), Some(10_000 + STOP_SLACK_MS));
    assert_eq!(asks(&mut module, 15_000, Event::Woken), remove("c"));
    assert_eq!(asks(&mut module, 15_001, exited(137)), []);
    assert_eq!(asks(&mut module, 15_002, removed()), [Effect::Gone]);
}

#[test]
fn a_container_that_somebody_removes_is_made_again() {
    let mut module = running(Restart::Always);
    assert!(matches!(asks(&mut module, 1, removed())[..], [Effect::Create { .. }]));
    // Not listed: its removal is the proof.
    let mut module = running(Restart::Always);
    assert_eq!(asks(&mut module, 1, Event::Missing), remove("c"));
    assert!(matches!(asks(&mut module, 2, removed())[..], [Effect::Create { .. }]));
}

#[test]
fn engine_failures_are_shown_and_tried_again() {
    let mut module = Module::default();
    at(&mut module, 0, wanted("1", Restart::No));
    at(&mut module, 0, Event::Missing);
    let failed = |container: Option<&str>, problem: &str| Event::Failed {
        container: container.map(Into::into),
        problem: problem.into(),
    };
    let steps = at(&mut module, 0, failed(None, "no such image"));
    assert_eq!(alarm(&steps), Some(1000));
    let Some(Step::Do(Effect::Report(status))) = steps.last() else { panic!("no report: {steps:?}") };
    assert_eq!((status.state, status.problem.as_str()), (ModuleState::Failed, "no such image"));
    assert!(matches!(asks(&mut module, 1000, Event::Woken)[..], [Effect::Create { .. }]));
    // A changed specification does not wait.
    at(&mut module, 1000, failed(None, "no such image"));
    assert!(matches!(asks(&mut module, 1001, wanted("2", Restart::No))[..], [Effect::Create { .. }]));
    at(&mut module, 1002, Event::Created { container: "c".into(), spec_hash: "2".into() });
    assert_eq!(alarm(&at(&mut module, 1002, failed(Some("c"), "no memory"))), Some(2002));
    assert_eq!(asks(&mut module, 2002, Event::Woken), start());
}

#[test]
fn late_answers_change_nothing() {
    let mut module = running(Restart::No);
    at(&mut module, 0, exited(3));
    for late in [started(), Event::Failed { container: None, problem: "late".into() }, exited(4)] {
        assert_eq!(at(&mut module, 1, late), []);
    }
    let other = Event::Exited { container: "other".into(), code: 1 };
    assert_eq!(at(&mut running(Restart::Always), 1, other), []);
}

#[test]
fn somebody_who_forgot_is_told_again() {
    let mut module = running(Restart::Always);
    assert_eq!(state(&mut module, 1, wanted("1", Restart::Always)), ModuleState::Running);
    assert_eq!(asks(&mut Module::default(), 0, exited(0)), [Effect::Gone]);
}

/// An engine that may be slow, fail, and lose containers to other people.
#[derive(Default)]
struct Engine {
    made: u32,
    /// Hash, and whether it runs; `None` before the first start.
    containers: BTreeMap<String, (String, Option<bool>)>,
    asked: VecDeque<Effect>,
    answers: VecDeque<Event>,
}

impl Engine {
    fn carry_out(&mut self, effect: Effect, fails: bool, names_are_unique: bool) {
        let conflict = names_are_unique && !self.containers.is_empty();
        let failed = |container| Event::Failed { container, problem: "no".into() };
        let answer = match effect {
            Effect::Report(_) | Effect::Gone => return,
            Effect::Create { .. } if fails || conflict => failed(None),
            Effect::Create { spec_hash, .. } => {
                self.made += 1;
                let container = self.made.to_string();
                self.containers.insert(container.clone(), (spec_hash.clone(), None));
                Event::Created { container, spec_hash }
            }
            Effect::Start { container } | Effect::Stop { container, .. } | Effect::Remove { container }
                if fails =>
            {
                failed(Some(container))
            }
            Effect::Start { container } => match self.containers.get_mut(&container) {
                Some((_, running)) => {
                    *running = Some(true);
                    Event::Started { container }
                }
                None => failed(Some(container)),
            },
            Effect::Stop { container, .. } => return self.end(&container),
            Effect::Remove { container } => {
                self.containers.remove(&container);
                Event::Removed { container }
            }
        };
        self.answers.push_back(answer);
    }

    fn end(&mut self, container: &str) {
        if let Some((_, running)) = self.containers.get_mut(container)
            && *running == Some(true)
        {
            *running = Some(false);
            self.answers.push_back(Event::Exited { container: container.into(), code: 1 });
        }
    }

    fn listed(&self) -> Event {
        self.containers.iter().next_back().map_or(Event::Missing, |(id, (hash, running))| Event::Found {
            container: id.clone(),
            spec_hash: hash.clone(),
            running: *running == Some(true),
            exit_code: (*running == Some(false)).then_some(1),
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    CarryOut,
    CarryOutBadly,
    Answer,
    List,
    Want(u8),
    Unwant,
    Ends,
    SomebodyRemoves,
    AMinutePasses,
    Restarts,
}

fn weather() -> impl Strategy<Value = Vec<Weather>> {
    let one = prop_oneof![
        8 => Just(Weather::CarryOut),
        1 => Just(Weather::CarryOutBadly),
        8 => Just(Weather::Answer),
        2 => Just(Weather::List),
        2 => (0u8..3).prop_map(Weather::Want),
        1 => Just(Weather::Unwant),
        2 => Just(Weather::Ends),
        1 => Just(Weather::SomebodyRemoves),
        2 => Just(Weather::AMinutePasses),
        1 => Just(Weather::Restarts),
    ];
    prop::collection::vec(one, 0..120)
}

struct Life {
    module: Module,
    engine: Engine,
    now: u64,
    alarm: Option<u64>,
    hash: Option<u8>,
    log: Vec<(u64, Event)>,
    restarts_allowed: bool,
}

impl Life {
    fn new(restarts_allowed: bool) -> Self {
        let (module, engine) = (Module::default(), Engine::default());
        Self { module, engine, now: 0, alarm: None, hash: None, log: Vec::new(), restarts_allowed }
    }

    fn tell(&mut self, event: Event) {
        self.log.push((self.now, event.clone()));
        for step in at(&mut self.module, self.now, event) {
            match step {
                Step::Do(effect) | Step::Persist(effect) => self.engine.asked.push_back(effect),
                Step::WakeAt(at) => self.alarm = Some(at.as_millis()),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(at) = self.alarm.filter(|at| *at <= until) {
            self.alarm = None;
            self.now = self.now.max(at);
            self.tell(Module::woken());
        }
        self.now = until;
    }

    fn carry_out(&mut self, fails: bool) {
        if let Some(effect) = self.engine.asked.pop_front() {
            self.engine.carry_out(effect, fails, self.restarts_allowed);
        }
    }

    fn want(&mut self, hash: u8) {
        self.hash = Some(hash);
        self.tell(wanted(&hash.to_string(), Restart::Always));
    }

    fn meet(&mut self, weather: Weather) {
        match weather {
            Weather::CarryOut => self.carry_out(false),
            Weather::CarryOutBadly => self.carry_out(true),
            Weather::Answer => {
                if let Some(event) = self.engine.answers.pop_front() {
                    self.tell(event);
                }
            }
            // Answered as it was when the engine looked, which may be a while ago.
            Weather::List => {
                if self.hash.is_some() {
                    self.engine.answers.push_back(self.engine.listed());
                }
            }
            Weather::Want(hash) => self.want(hash),
            Weather::Unwant => {
                self.hash = None;
                self.tell(Event::Unwanted);
            }
            Weather::Ends => {
                if let Some(id) = self.engine.containers.keys().next().cloned() {
                    self.engine.end(&id);
                }
            }
            Weather::SomebodyRemoves => {
                if let Some((container, _)) = self.engine.containers.pop_first() {
                    self.engine.answers.push_back(Event::Removed { container });
                }
            }
            Weather::AMinutePasses => self.pass(60_000),
            Weather::Restarts => {
                if self.restarts_allowed {
                    self.module = Module::default();
                    self.log.clear();
                    self.alarm = None;
                    match self.hash {
                        Some(hash) => self.want(hash),
                        None => self.tell(Event::Unwanted),
                    }
                    self.meet(Weather::List);
                }
            }
        }
    }

    /// Fair weather for a while: the engine works, and is asked what it has once a minute.
    fn settle(&mut self) {
        for _ in 0..20 {
            while !self.engine.asked.is_empty() || !self.engine.answers.is_empty() {
                self.meet(Weather::CarryOut);
                self.meet(Weather::Answer);
            }
            match self.hash {
                Some(_) => self.meet(Weather::List),
                // What is left belongs to no module any more: the reconciler removes it.
                None => self.engine.containers.clear(),
            }
            self.meet(Weather::AMinutePasses);
        }
    }
}

proptest! {
    #[test]
    fn there_is_one_container_at_most_and_in_the_end_the_right_one(
        weather in weather(), restarts_allowed in any::<bool>(),
    ) {
        let mut life = Life::new(restarts_allowed);
        life.want(0);
        life.meet(Weather::List);
        for weather in weather {
            life.meet(weather);
            prop_assert!(life.engine.containers.len() <= 1, "{:?}", life.engine.containers);
        }
        life.settle();
        let there: Vec<_> = life.engine.containers.values().cloned().collect();
        let expected = life.hash.map(|hash| (hash.to_string(), Some(true)));
        prop_assert_eq!(there, Vec::from_iter(expected));
        assert_replays(Module::default, &life.log);
    }
}
