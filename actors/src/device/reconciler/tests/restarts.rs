//! Neighbours that have forgotten what they were told, and a run that is played again.

use super::*;
use crate::testing::assert_replays;

#[test]
fn who_forgot_is_told_again() {
    let sensor = module("plant", "sensor");
    let mut reconciler = running();
    assert_eq!(done(&mut reconciler, 0, Event::ModuleRestarted(sensor.clone())), [Effect::List]);
    assert!(matches!(
        done(&mut reconciler, 0, observed(vec![]))[..],
        [Effect::Want { .. }, Effect::Missing(_)]
    ));
    // It went while it was wanted again.
    assert_eq!(done(&mut reconciler, 0, Event::ModuleGone(sensor.clone())), [Effect::List]);
    assert!(matches!(done(&mut reconciler, 0, observed(vec![]))[0], Effect::Want { .. }));
    let effects = done(&mut reconciler, 0, Event::HealthRestarted);
    assert!(matches!(
        &effects[..],
        [Effect::Assigned(1), Effect::Workload(..), Effect::Drift(..), Effect::Problems(none), Effect::List] if none.is_empty()
    ));
    assert!(matches!(done(&mut reconciler, 0, observed(vec![]))[0], Effect::Want { .. }));
    let effects = done(&mut reconciler, 0, Event::RouterRestarted);
    assert!(matches!(
        effects[..],
        [Effect::Routes(_), Effect::Names(_), Effect::Twins(_), Effect::Clients(_)]
    ));
    // Nobody wants it any more: it may end.
    at(&mut reconciler, 0, event(document(2, &[]), false));
    let effects = done(&mut reconciler, 0, Event::ModuleRestarted(sensor.clone()));
    assert_eq!(effects, [Effect::Unwant(sensor)]);
}

#[test]
fn a_recorded_run_replays() {
    let there = container("c", Some(module("plant", "sensor")), "sensor", false);
    let log = vec![
        (0, Event::EngineLost { problem: "start Docker".into() }),
        (1, plant(1)),
        (2, Event::EngineBack),
        (3, observed(vec![there])),
        (4, plant(2)),
        (5, plant(1)),
        (6, observed(vec![])),
        (LIST_MS, Reconciler::woken()),
    ];
    assert_replays(fresh, &log);
}
