//! Small fleets through all weathers, each from a few seeds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use wayside_simulations::{
    fault::{Fault, FaultKind},
    outcome::Outcome,
    scenario::Scenario,
};

const ALL: [FaultKind; 4] = [FaultKind::Kill, FaultKind::Cut, FaultKind::Cloud, FaultKind::Part];

#[track_caller]
fn holds(scenario: Scenario) -> Outcome {
    let seed = scenario.seed;
    let outcome = scenario.run(None).unwrap();
    assert!(outcome.broken.is_empty(), "seed {seed}: {:#?}", outcome.broken);
    outcome
}

#[track_caller]
fn holds_for_seeds(kinds: &[FaultKind]) {
    for seed in 1..=4 {
        holds(Scenario::new(seed, 4, 2).with_faults(kinds));
    }
}

#[test]
fn a_healthy_fleet_delivers_everything() {
    let outcome = holds(Scenario::new(1, 3, 1));
    assert!(outcome.accepted() > 150, "a message a second and device");
    assert!(outcome.twins_changed() > 20, "a change in three seconds and device");
    assert!(outcome.calls_answered() > 20, "a call in three seconds and device");
}

#[test]
fn one_device_alone_is_a_fleet() {
    holds(Scenario::new(1, 1, 1).with_faults(&[FaultKind::Kill, FaultKind::Cut, FaultKind::Cloud]));
}

#[test]
fn daemons_die() {
    holds_for_seeds(&[FaultKind::Kill]);
}

#[test]
fn uplinks_are_cut() {
    holds_for_seeds(&[FaultKind::Cut]);
}

#[test]
fn the_cloud_restarts() {
    holds_for_seeds(&[FaultKind::Cloud]);
}

#[test]
fn the_lan_falls_in_two() {
    holds_for_seeds(&[FaultKind::Part]);
}

#[test]
fn modules_crash_and_the_lan_loses() {
    for seed in 1..=4 {
        holds(Scenario::new(seed, 4, 2).with_wear());
    }
}

#[test]
fn everything_at_once() {
    for seed in 1..=8 {
        holds(Scenario::new(seed, 4, 2).with_faults(&ALL).with_wear());
    }
}

#[test]
fn publishers_wait_while_a_queue_is_full() {
    let cut = Fault::CutUplink { device: 0, for_ms: 60_000 };
    let mut scenario = Scenario::new(1, 2, 2).with_fault(20_000, cut);
    scenario.period_ms = 100;
    scenario.buffer_bytes = 1 << 10;
    holds(scenario);
}

#[test]
fn a_daemon_dies_while_its_uplink_is_cut_and_the_cloud_restarts() {
    holds(
        Scenario::new(1, 3, 2)
            .with_fault(20_000, Fault::CutUplink { device: 1, for_ms: 40_000 })
            .with_fault(30_000, Fault::KillDaemon { device: 1, for_ms: 5_000 })
            .with_fault(35_000, Fault::RestartCloud { for_ms: 10_000 })
            .with_fault(36_000, Fault::KillDaemon { device: 1, for_ms: 100 }),
    );
}

#[test]
fn the_operator_applies_while_the_cloud_is_down() {
    let down = Fault::RestartCloud { for_ms: 10_000 };
    let mut scenario = Scenario::new(1, 3, 1).with_fault(20_000, down).with_fault(30_002, down);
    scenario.applies_ms = vec![1000, 25_000, 30_001];
    holds(scenario);
}

#[test]
fn what_never_heals_breaks_the_laws() {
    let forever = Fault::CutUplink { device: 0, for_ms: 3_600_000 };
    let outcome = Scenario::new(1, 2, 1).with_fault(30_000, forever).run(None).unwrap();
    assert!(outcome.broken.iter().any(|law| law.contains("have not arrived")), "{:?}", outcome.broken);
    assert!(outcome.broken.iter().any(|law| law.contains("Silent")), "{:?}", outcome.broken);
}

/// A place for the trace that the test can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_seed_decides_every_byte() {
    let run = |seed| {
        let paper = Paper::default();
        let scenario = Scenario::new(seed, 3, 1).with_faults(&ALL).with_wear();
        let outcome = scenario.run(Some(Box::new(paper.clone()))).unwrap();
        let text = paper.0.lock().unwrap().clone();
        (text, outcome.fingerprint())
    };
    let (first, again, other) = (run(7), run(7), run(8));
    assert!(first.0.len() > 100_000);
    assert!(first == again, "the same seed gave two traces");
    assert_ne!(first.1, other.1);
}
