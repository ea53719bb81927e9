mod weather;

use wayside_config::workload::{HealthCheck, ModuleSpec, Restart};

use super::{Effect, Event, Module, STABLE_MS, STOP_SLACK_MS};
use crate::{
    machine::{Machine, Step},
    report::{Health, ModuleState},
    testing::{assert_replays, at, done},
};

fn wanted(hash: &str, restart: Restart) -> Event {
    let spec = ModuleSpec { image: "sensor".into(), restart, stop_grace_ms: 10_000, ..ModuleSpec::default() };
    Event::Wanted { spec: Box::new(spec), spec_hash: hash.into() }
}

fn found(container: &str, hash: &str, exit_code: Option<i64>) -> Event {
    let running = exit_code.is_none();
    Event::Found { container: container.into(), spec_hash: hash.into(), running, exit_code, health: None }
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
    effects.retain(|effect| !matches!(effect, Effect::Report(..)));
    effects
}

fn state(module: &mut Module, ms: u64, event: Event) -> ModuleState {
    let mut reports = done(module, ms, event).into_iter().filter_map(|effect| match effect {
        Effect::Report(status, _) => Some(status.state),
        Effect::Create { .. }
        | Effect::Prepare { .. }
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
    let never = Event::Found {
        container: "c".into(),
        spec_hash: "1".into(),
        running: false,
        exit_code: None,
        health: None,
    };
    assert_eq!(asks(&mut module, 1, never), start());
}

#[test]
fn replaces_a_container_of_another_specification() {
    let mut module = running(Restart::Always);
    let stop = vec![Effect::Stop { container: "c".into(), grace_ms: 10_000 }];
    let asked = asks(&mut module, 1, wanted("2", Restart::Always));
    assert!(matches!(&asked[0], Effect::Prepare { spec_hash, .. } if spec_hash == "2"), "{asked:?}");
    assert_eq!(asked[1..], stop);
    assert_eq!(asks(&mut module, 2, exited(0)), remove("c"));
    assert!(matches!(asks(&mut module, 3, removed())[..], [Effect::Create { .. }]));

    let mut module = Module::default();
    at(&mut module, 0, wanted("2", Restart::Always));
    assert_eq!(asks(&mut module, 1, found("old", "1", None)).len(), 2);
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
    let Some(Step::Do(Effect::Report(status, _))) = steps.last() else { panic!("no report: {steps:?}") };
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

#[test]
fn an_operators_restart_ends_the_run_and_begins_another_with_the_same_container() {
    for restart in [Restart::Always, Restart::No] {
        let mut module = running(restart);
        let stop = vec![Effect::Stop { container: "c".into(), grace_ms: 10_000 }];
        assert_eq!(asks(&mut module, 1, Event::Restart), stop);
        assert_eq!(asks(&mut module, 2, Event::Restart), []);
        assert_eq!(asks(&mut module, 3, exited(143)), start());
        let Some(Effect::Report(status, _)) = done(&mut module, 4, started()).pop() else {
            panic!("no report")
        };
        assert_eq!((status.state, status.restarts), (ModuleState::Running, 1));
    }
    // Of what waits for its back-off, and of what its policy leaves ended.
    let mut module = running(Restart::Always);
    at(&mut module, 0, exited(1));
    assert_eq!(asks(&mut module, 1, Event::Restart), start());
    let mut module = running(Restart::No);
    at(&mut module, 0, exited(0));
    assert_eq!(asks(&mut module, 1, Event::Restart), start());
    // A stop that hangs ends in a new container, and what is not wanted does not come back.
    let mut module = running(Restart::Always);
    at(&mut module, 0, Event::Restart);
    assert_eq!(asks(&mut module, 15_000, Event::Woken), remove("c"));
    assert!(matches!(asks(&mut module, 15_001, removed())[..], [Effect::Create { .. }]));
    let mut module = running(Restart::Always);
    at(&mut module, 0, Event::Restart);
    at(&mut module, 1, Event::Unwanted);
    assert_eq!(asks(&mut module, 2, exited(143)), remove("c"));
}

#[test]
fn a_run_begins_without_health_and_takes_what_the_engine_says_of_its_own_container() {
    let spec = ModuleSpec {
        healthcheck: Some(HealthCheck { test: vec!["CMD".into(), "probe".into()], ..HealthCheck::default() }),
        ..ModuleSpec::default()
    };
    let mut module = Module::default();
    at(&mut module, 0, Event::Wanted { spec: Box::new(spec), spec_hash: "1".into() });
    for event in [Event::Missing, created(), started()] {
        at(&mut module, 0, event);
    }
    let mut says = |container: &str, health, output: &str| {
        let (container, output) = (container.into(), output.into());
        let mut reports = done(&mut module, 1, Event::Health { container, health, output }).into_iter();
        reports.next().map(|effect| {
            let Effect::Report(status, _) = effect else { panic!("{effect:?}") };
            (status.health, status.output)
        })
    };
    assert_eq!(says("c", Health::Starting, ""), None);
    assert_eq!(says("other", Health::Healthy, ""), None);
    assert_eq!(
        says("c", Health::Unhealthy, "no answer"),
        Some((Some(Health::Unhealthy), "no answer".into()))
    );
    assert_eq!(says("c", Health::Healthy, "fine"), Some((Some(Health::Healthy), String::new())));
    at(&mut module, 2, exited(1));
    let status = at(&mut module, 1002, Event::Woken);
    assert!(format!("{status:?}").contains("health: Some(Starting)"), "{status:?}");
    // A module whose release has no check and whose image has one is healthy when the engine says so.
    let mut module = running(Restart::Always);
    let found = Event::Found {
        container: "c".into(),
        spec_hash: "1".into(),
        running: true,
        exit_code: None,
        health: Some(Health::Healthy),
    };
    assert!(format!("{:?}", at(&mut module, 1, found)).contains("health: Some(Healthy)"));
}
