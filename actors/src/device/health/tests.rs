use std::collections::BTreeMap;

use proptest::prelude::*;
use wayside_config::{identity::DeviceId, workload::ModuleId};

use super::{Effect, Event, Health, IDLE_MS, REPORT_MS};
use crate::{
    device::reconciler::Lag,
    machine::{Machine, Step},
    queue::{Endpoint, Queue},
    report::{
        ClockOffset, MAX_PROBLEM_BYTES, MAX_REPORT_BYTES, ModuleState, ModuleStatus, QueueStatus, Report,
        System, Usage,
    },
    testing::{assert_replays, at},
    time::Time,
};

fn module(number: u8) -> ModuleId {
    ModuleId::new("plant", format!("m{number}"))
}

fn queue(number: u8) -> Queue {
    Queue::new(format!("plant/r{number}"), Endpoint::Cloud)
}

fn status(restarts: u32) -> ModuleStatus {
    let (image, problem) = ("sensor".into(), String::new());
    ModuleStatus {
        state: ModuleState::Running,
        image,
        restarts,
        exit_code: None,
        problem,
        health: None,
        output: String::new(),
    }
}

fn uses(number: u8, cpu: u32, memory_mib: u64) -> Event {
    let usage = Usage { cpu_millis: Some(cpu), memory_bytes: memory_mib << 20, ..Usage::default() };
    Event::Usage(BTreeMap::from([(module(number), usage)]))
}

fn lags(number: u8, since_ms: u64) -> Event {
    let lag = Lag {
        desired: "running".into(),
        reported: "back-off".into(),
        since: Time::from_millis(since_ms),
        why: String::new(),
    };
    Event::Drift(module(number).to_string(), Some(lag))
}

fn system(free: u64, wall_ms: u64) -> Event {
    let system = System { disk_bytes: 100_000, disk_free_bytes: free, ..System::default() };
    Event::System { system, wall_ms }
}

#[test]
fn an_idle_site_says_nothing_of_what_it_uses() {
    let mut health = Health::default();
    told(&mut health, 0, Event::Module(module(1), status(0)));
    let (reports, _) = told(&mut health, 10_000, uses(1, 3, 20));
    assert_eq!(reports[0].usage["plant/m1"].cpu_millis, Some(3));
    told(&mut health, 11_000, system(50_000, 1));
    for round in 0..1000 {
        let ms = 20_000 + round * 10;
        assert_eq!(
            told(&mut health, ms, uses(1, 3 + u32::try_from(round % 40).unwrap(), 20 + round % 3)).0,
            []
        );
        assert_eq!(told(&mut health, ms, system(50_000 + round, ms)).0, []);
    }
    let (reports, _) = told(&mut health, 40_000, uses(1, 90, 20));
    assert_eq!(
        (reports.len(), reports[0].usage["plant/m1"].cpu_millis, reports[0].modules.len()),
        (1, Some(90), 0)
    );
    // One that does not run any more uses nothing.
    let (reports, _) = told(&mut health, 50_000, Event::Usage(BTreeMap::new()));
    assert_eq!(reports[0].usage["plant/m1"], Usage { cpu_millis: Some(0), ..Usage::default() });
    assert_eq!(told(&mut health, 60_000, uses(2, 500, 20)).0, [], "of one that nobody knows");
}

#[test]
fn what_drifts_says_since_when_by_the_wall_clock_and_keeps_to_it() {
    let mut health = Health::begun_at(1_000_000);
    let since = |reports: &[Report]| reports[0].drift["plant/m1"].since_ms;
    assert_eq!(since(&told(&mut health, 500, lags(1, 400)).0), 1_000_400);
    // The clock was set.
    told(&mut health, 3000, system(1, 8_003_000));
    assert_eq!(since(&told(&mut health, 5000, lags(1, 400)).0), 1_000_400);
    let (reports, _) = told(&mut health, 8000, Event::Drift("plant/m1".into(), None));
    assert_eq!((reports[0].drift_gone.as_slice(), reports[0].drift.len()), (&["plant/m1".to_owned()][..], 0));
    assert_eq!(since(&told(&mut health, 9000, lags(1, 8500)).0), 8_008_500);
}

#[test]
fn a_clock_that_is_far_from_the_clouds_is_a_problem_until_it_is_set() {
    let mut health = Health::default();
    let clock = |ahead_ms| Event::Clock(ClockOffset { ahead_ms, error_ms: 20 });
    let (reports, _) = told(&mut health, 0, clock(3_600_000));
    assert!(
        reports[0].problems.as_ref().unwrap()[0].starts_with("clock: this device's clock is 3600 s behind")
    );
    assert_eq!(reports[0].clock, Some(ClockOffset { ahead_ms: 3_600_000, error_ms: 20 }));
    let (reports, _) = told(&mut health, 5000, clock(12));
    assert_eq!(reports[0].problems.as_deref(), Some(&[][..]));
    assert_eq!(told(&mut health, 10_000, clock(40)).0, []);
}

fn problems(source: &str, problems: &[&str]) -> Event {
    let problems = problems.iter().map(|problem| (*problem).into()).collect();
    Event::Problems { source: source.into(), problems }
}

/// The reports and the alarm of an event.
fn told(health: &mut Health, ms: u64, event: Event) -> (Vec<Report>, Option<u64>) {
    let (mut reports, mut alarm) = (Vec::new(), None);
    for step in at(health, ms, event) {
        match step {
            Step::Do(Effect::Report(report)) | Step::Persist(Effect::Report(report)) => reports.push(*report),
            Step::WakeAt(at) => alarm = Some(at.as_millis()),
        }
    }
    (reports, alarm)
}

#[test]
fn the_first_change_is_told_at_once_and_the_next_ones_together() {
    let mut health = Health::default();
    let (reports, _) = told(&mut health, 0, Event::Module(module(1), status(0)));
    assert_eq!((reports.len(), reports[0].number), (1, 1));
    let later = told(&mut health, 10, Event::Module(module(2), status(0)));
    assert_eq!(later, (vec![], Some(REPORT_MS)));
    assert_eq!(told(&mut health, 20, Event::ModuleGone(module(1))), (vec![], None));
    assert_eq!(told(&mut health, 30, Event::Queue(queue(1), QueueStatus::default())), (vec![], None));
    let (reports, alarm) = told(&mut health, REPORT_MS, Event::Woken);
    assert_eq!((reports.len(), alarm), (1, Some(REPORT_MS + IDLE_MS)));
    assert_eq!(reports[0].modules.len(), 1);
    assert_eq!(reports[0].modules_gone, ["plant/m1"]);
    assert_eq!(reports[0].queues.len(), 1);
    assert_eq!((reports[0].number, reports[0].full, &reports[0].peers), (2, false, &None));
}

#[test]
fn a_large_report_comes_in_several_that_are_the_whole_together() {
    let mut health = Health::default();
    let module = |number: u32| ModuleId::new("plant", format!("m{number}"));
    for number in 0..4000 {
        let problem = "x".repeat(MAX_PROBLEM_BYTES);
        told(&mut health, 0, Event::Module(module(number), ModuleStatus { problem, ..status(0) }));
        told(
            &mut health,
            0,
            Event::Queue(Queue::new(format!("w/r{number}"), Endpoint::Cloud), QueueStatus::default()),
        );
    }
    let whole_of = |reports: Vec<Report>| {
        assert!(reports.iter().all(|report| report.cost_bytes() <= MAX_REPORT_BYTES));
        assert!(reports.iter().map(|report| report.number).eq(1..=reports.len() as u64), "consecutive");
        let full: Vec<bool> = reports.iter().map(|report| report.full).collect();
        assert!(full[0] && full.len() > 8 && !full[1..].contains(&true));
        reports.into_iter().fold(Report::default(), |mut whole, part| {
            whole.merge(part);
            whole
        })
    };
    let (reports, _) = told(&mut health, 5000, Event::FullWanted);
    let whole = whole_of(reports);
    assert_eq!((whole.modules.len(), whole.queues.len()), (4000, 4000));
    assert!(whole.peers.is_some() && whole.problems.is_some());

    for number in 0..4000 {
        let problem = "y".repeat(MAX_PROBLEM_BYTES);
        told(&mut health, 5001, Event::Module(module(number), ModuleStatus { problem, ..status(0) }));
        told(&mut health, 5001, Event::QueueGone(Queue::new(format!("w/r{number}"), Endpoint::Cloud)));
    }
    let (deltas, _) = told(&mut health, 5000 + REPORT_MS, Event::Woken);
    assert!(
        deltas.len() > 8 && deltas.iter().all(|part| !part.full && part.cost_bytes() <= MAX_REPORT_BYTES)
    );
    assert_eq!(deltas.iter().map(|part| part.modules.len()).sum::<usize>(), 4000);
    assert_eq!(deltas.iter().map(|part| part.queues_gone.len()).sum::<usize>(), 4000);
}

#[test]
fn nothing_new_is_not_told() {
    let mut health = Health::default();
    told(&mut health, 0, Event::Module(module(1), status(0)));
    assert_eq!(told(&mut health, 5000, Event::Module(module(1), status(0))), (vec![], None));
    assert_eq!(told(&mut health, 5000, problems("engine", &[])), (vec![], None));
    assert_eq!(told(&mut health, 5000, Event::QueueGone(queue(1))), (vec![], None));
}

#[test]
fn when_nothing_changes_an_empty_report_says_that_it_is_there() {
    let mut health = Health::default();
    let (_, alarm) = told(&mut health, 0, Event::FullWanted);
    assert_eq!(alarm, Some(IDLE_MS));
    let (reports, alarm) = told(&mut health, IDLE_MS, Event::Woken);
    assert_eq!(reports, [Report { number: 2, ..Report::default() }]);
    assert_eq!(alarm, Some(2 * IDLE_MS));
}

#[test]
fn problems_are_merged_by_source() {
    let mut health = Health::default();
    told(&mut health, 0, problems("engine", &["start Docker"]));
    let (reports, _) = told(&mut health, 2000, problems("mesh", &["no multicast"]));
    let lines = ["engine: start Docker", "mesh: no multicast"].map(String::from);
    assert_eq!(reports[0].problems.as_deref(), Some(&lines[..]));
    let (reports, _) = told(&mut health, 4000, problems("engine", &[]));
    assert_eq!(reports[0].problems.as_deref(), Some(&lines[1..]));
}

#[derive(Clone, Debug)]
enum Change {
    Event(Event),
    FullWanted,
    Pass(u64),
}

fn change() -> impl Strategy<Value = Change> {
    let event = prop_oneof![
        (0..3u8, 0..3u32).prop_map(|(m, restarts)| Event::Module(module(m), status(restarts))),
        (0..3u8).prop_map(|m| Event::ModuleGone(module(m))),
        (0..3u8, 0..3u64).prop_map(|(q, depth)| {
            Event::Queue(queue(q), QueueStatus { depth, ..QueueStatus::default() })
        }),
        (0..3u8).prop_map(|q| Event::QueueGone(queue(q))),
        (0..3u8).prop_map(|p| Event::Peers(vec![DeviceId::from_bytes([p; 32])])),
        (0..3u64).prop_map(Event::Assignment),
        (0..3u8, 0..3u32).prop_map(|(m, cpu)| uses(m, cpu * 40, 1)),
        (0..3u8, 0..9u64).prop_map(|(m, since)| lags(m, since)),
        (0..3u8).prop_map(|m| Event::Drift(module(m).to_string(), None)),
        (0..9u64).prop_map(|free| system(free * 1000, 7)),
        (0..3u64).prop_map(Event::Unrouted),
        (0..2usize).prop_map(|count| problems("engine", &["start Docker"][..count])),
    ];
    prop_oneof![
        6 => event.prop_map(Change::Event),
        1 => Just(Change::FullWanted),
        3 => (0..1500u64).prop_map(Change::Pass),
    ]
}

proptest! {
    /// Whoever merges the reports knows what a full one would say; deltas are counted and at least a
    /// second apart.
    #[test]
    fn merged_reports_are_the_whole(changes in prop::collection::vec(change(), 0..80)) {
        let (mut health, mut now, mut alarm) = (Health::default(), 0, None);
        let (mut known, mut last_at, mut log) = (None::<Report>, None::<u64>, Vec::new());
        let mut next = vec![Change::FullWanted];
        next.extend(changes);
        next.extend([Change::Pass(REPORT_MS), Change::Pass(REPORT_MS)]);
        for change in next {
            let event = match change {
                Change::Event(event) => event,
                Change::FullWanted => Event::FullWanted,
                Change::Pass(ms) => {
                    now += ms;
                    if alarm.is_none_or(|at| at > now) {
                        continue;
                    }
                    alarm = None;
                    Health::woken()
                }
            };
            log.push((now, event.clone()));
            let (reports, wish) = told(&mut health, now, event);
            alarm = wish.or(alarm);
            for report in reports {
                match &mut known {
                    Some(known) if !report.full => {
                        prop_assert_eq!(report.number, known.number + 1);
                        prop_assert!(now - last_at.unwrap() >= REPORT_MS);
                        known.merge(report);
                    }
                    _ => {
                        prop_assert!(report.full && report.number == 1);
                        known = Some(report);
                    }
                }
                last_at = Some(now);
            }
        }
        let (reports, _) = told(&mut health, now, Event::FullWanted);
        let known = Report { number: 1, ..known.unwrap() };
        prop_assert_eq!(&known, &reports[0]);
        assert_replays(Health::default, &log);
    }
}
