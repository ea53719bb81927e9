#![allow(clippy::wildcard_enum_match_arm, reason = "tests pick the steps that they look at")]

mod granted;

use bytes::Bytes;
use proptest::prelude::*;
use wayside_config::{
    identity::PublicKey,
    limits,
    workload::{Route, Update, Workload},
};

use super::*;
use crate::{
    frame::PROTOCOL,
    machine::Step,
    report::{MAX_QUEUES, ModuleState, ModuleStatus, QueueStatus},
};

fn id(n: u8) -> DeviceId {
    PublicKey::from_bytes([n; 32])
}

fn feed(fleet: &mut Fleet, ms: u64, event: Event) -> Vec<Step<Effect>> {
    let mut out = Effects::new();
    fleet.handle(Time::from_millis(ms), event, &mut out);
    out.take()
}

fn hello_of(n: u8) -> Hello {
    Hello {
        protocol: PROTOCOL,
        name: format!("d{n}"),
        version: "0.1.0".into(),
        labels: vec![("parity".into(), (n % 2).to_string())],
        token: None,
        run: 1,
        grant: None,
    }
}

fn greeted(device: DeviceId, hello: Hello, token_ok: bool, wall_ms: u64) -> Event {
    Event::Greeted { device, hello, token_ok, granted: None, is_void: false, wall_ms }
}

fn greet(fleet: &mut Fleet, n: u8, token_ok: bool) -> Vec<Step<Effect>> {
    let hello = Hello { token: token_ok.then(|| "t".into()), ..hello_of(n) };
    feed(fleet, 0, greeted(id(n), hello, token_ok, 1))
}

fn report(fleet: &mut Fleet, n: u8, number: u64, assignment: u64) -> Vec<Step<Effect>> {
    let report = Report { number, full: number == 1, assignment: Some(assignment), ..Report::default() };
    feed(fleet, 0, Event::Reported { device: id(n), report: Box::new(report), wall_ms: 2 })
}

fn release(name: &str, version: u64, devices: &[&str], site: bool) -> Release {
    let to = if site { Destination::Site("m".into()) } else { Destination::Cloud };
    let route = Route::new("r", "m", "#", to);
    let target =
        Target { devices: devices.iter().map(ToString::to_string).collect(), labels: BTreeMap::new() };
    let workload = Workload {
        name: name.into(),
        target,
        modules: BTreeMap::new(),
        leaves: BTreeMap::new(),
        twins: BTreeMap::new(),
        update: Update::default(),
        priority: Workload::PRIORITY,
        routes: vec![route],
    };
    Release { version, issued_ms: 0, expires_ms: None, workload }
}

fn apply(fleet: &mut Fleet, release: Release) -> Vec<Step<Effect>> {
    let sha256 = [release.version as u8; 32];
    let event = Event::Applied { ticket: 9, release: Box::new(release), sha256, sealed: Bytes::new() };
    feed(fleet, 0, event)
}

fn settled(steps: &[Step<Effect>]) -> Result<u64, String> {
    let mut results = steps.iter().filter_map(|step| match step {
        Step::Do(Effect::Settled { ticket: 9, result }) => Some(result.clone()),
        _ => None,
    });
    results.next().unwrap()
}

fn assigned(steps: &[Step<Effect>]) -> Vec<Assignment> {
    let assignments = steps.iter().filter_map(|step| match step {
        Step::Do(Effect::Assign(assignment)) => Some((**assignment).clone()),
        _ => None,
    });
    assignments.collect()
}

fn admitted(steps: &[Step<Effect>]) -> Option<Result<(), String>> {
    steps.iter().find_map(|step| match step {
        Step::Do(Effect::Admit(_, answer)) => Some(answer.clone()),
        _ => None,
    })
}

fn empty() -> Fleet {
    Fleet::new(Time::default(), [], [])
}

/// Devices 1 to `count`, connected and reported.
fn fleet_of(count: u8) -> Fleet {
    let mut fleet = empty();
    for n in 1..=count {
        greet(&mut fleet, n, true);
        report(&mut fleet, n, 1, 0);
    }
    fleet
}

#[test]
fn a_device_that_reports_any_version_gets_one_that_can_be_read() {
    let mut fleet = empty();
    for (n, held) in (1..).zip([u64::MAX, limits::VERSION_MAX, 7]) {
        greet(&mut fleet, n, true);
        report(&mut fleet, n, 1, held);
    }
    let versions = assigned(&apply(&mut fleet, release("w", 1, &[], false)));
    let versions: Vec<u64> = versions.iter().map(|assignment| assignment.version).collect();
    assert_eq!(versions, [limits::VERSION_MAX, limits::VERSION_MAX, 8]);
}

#[test]
fn a_token_lets_in_once_and_the_key_from_then_on() {
    let mut fleet = empty();
    let refused = admitted(&greet(&mut fleet, 1, false)).unwrap();
    assert!(refused.unwrap_err().contains("join it with the link"));
    let steps = greet(&mut fleet, 1, true);
    assert!(matches!(steps[0], Step::Persist(Effect::SaveDevice(..))), "saved before it is admitted");
    assert_eq!(admitted(&steps), Some(Ok(())));
    feed(&mut fleet, 1, Event::Gone { device: id(1) });
    assert_eq!(admitted(&greet(&mut fleet, 1, false)), Some(Ok(())));
}

#[test]
fn only_devices_that_a_release_touches_get_an_assignment() {
    let mut fleet = fleet_of(4);
    let steps = apply(&mut fleet, release("w", 1, &["d2", "d3"], true));
    assert_eq!(settled(&steps), Ok(2));
    let first = assigned(&steps);
    assert_eq!(first.iter().map(|a| (a.device, a.version)).collect::<Vec<_>>(), [(id(2), 1), (id(3), 1)]);
    let members = &first[0].releases[0].members;
    assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["d2", "d3"]);
    // Device 2 is no longer named, device 4 is new, device 3 gets another release and other members.
    let steps = apply(&mut fleet, release("w", 2, &["d3", "d4"], true));
    assert_eq!(assigned(&steps).iter().map(|a| a.device).collect::<Vec<_>>(), [id(2), id(3), id(4)]);
    assert!(assigned(&steps)[0].releases.is_empty());
    let steps = feed(&mut fleet, 0, Event::Removed { ticket: 9, workload: "w".into() });
    assert_eq!(settled(&steps), Ok(2));
    assert!(settled(&feed(&mut fleet, 0, Event::Removed { ticket: 9, workload: "w".into() })).is_err());
}

#[test]
fn versions_only_rise() {
    let mut fleet = fleet_of(1);
    apply(&mut fleet, release("w", 5, &[], false));
    assert!(settled(&apply(&mut fleet, release("w", 4, &[], false))).unwrap_err().contains("version 5"));
    assert_eq!(settled(&apply(&mut fleet, release("w", 5, &[], false))), Ok(0), "the same again");
    // An operator on the site has gone beyond what the cloud assigned.
    report(&mut fleet, 1, 2, 7);
    let steps = apply(&mut fleet, release("w", 6, &[], false));
    assert_eq!(assigned(&steps)[0].version, 8);
}

#[test]
fn a_newcomer_changes_the_others_only_where_they_send_to_each_other() {
    let mut fleet = fleet_of(2);
    apply(&mut fleet, release("alone", 1, &[], false));
    assert!(assigned(&greet(&mut fleet, 3, true)).is_empty());
    apply(&mut fleet, release("site", 1, &[], true));
    let others = assigned(&greet(&mut fleet, 4, true));
    assert_eq!(others.iter().map(|a| a.device).collect::<Vec<_>>(), [id(1), id(2)]);
    let own = assigned(&report(&mut fleet, 4, 1, 0));
    assert_eq!(own[0].releases[1].members.len(), 4);
    assert!(assigned(&report(&mut fleet, 4, 1, own[0].version)).is_empty(), "it has it");
}

#[test]
fn reports_merge_and_a_gap_ends_the_connection() {
    let mut fleet = fleet_of(1);
    let delta = |number, peers| Event::Reported {
        device: id(1),
        report: Box::new(Report { number, peers: Some(peers), ..Report::default() }),
        wall_ms: 3,
    };
    feed(&mut fleet, 0, delta(2, vec![id(2)]));
    let known = fleet.device(&id(1)).unwrap().reported.clone();
    assert_eq!((known.peers, known.assignment), (Some(vec![id(2)]), Some(0)));
    let steps = feed(&mut fleet, 0, delta(4, vec![]));
    assert!(matches!(steps[..], [Step::Do(Effect::Hangup { .. })]));
}

fn module(problem_bytes: usize) -> ModuleStatus {
    let (state, image, problem) = (ModuleState::Failed, "i".into(), "x".repeat(problem_bytes));
    ModuleStatus { state, image, restarts: 0, exit_code: None, problem, health: None, output: String::new() }
}

#[test]
fn what_a_device_reports_takes_no_more_than_its_room() {
    let mut fleet = fleet_of(1);
    let mut tell = |number: u64, report: Report| {
        let report = Report { number, full: number == 1, ..report };
        feed(&mut fleet, 0, Event::Reported { device: id(1), report: Box::new(report), wall_ms: 3 });
        let record = fleet.device(&id(1)).unwrap().clone();
        assert!(record.reported.cost_bytes() <= MAX_REPORTED_BYTES);
        record
    };
    // Each delta is small; together they are more than there is room for.
    let large = |n: usize| {
        let modules = (0..100).map(|m| (format!("w{n:04}/m{m:02}"), module(2000)));
        Report { modules: modules.collect(), ..Report::default() }
    };
    let deltas = MAX_REPORTED_BYTES / 200_000 + 20;
    for n in 0..deltas {
        tell(2 + n as u64, large(n));
    }
    let number = 2 + deltas as u64;
    let full = tell(number, Report::default());
    assert!(full.unshown > 1000, "{}", full.unshown);
    assert!(full.reported.modules.contains_key("w0000/m00"));
    // What goes makes room, and a newer word of what is known takes the place of the older.
    let changed = Report {
        modules: BTreeMap::from([("w0001/m00".into(), module(1)), ("new/m".into(), module(3000))]),
        modules_gone: vec!["w0000/m00".into(), "w0000/m01".into()],
        ..Report::default()
    };
    let after = tell(number + 1, changed);
    assert_eq!(after.unshown, full.unshown);
    assert_eq!(after.reported.modules["w0001/m00"], module(1));
    assert!(after.reported.modules.contains_key("new/m"));
    // As many as there may be, and one more.
    let queues = (0..=MAX_QUEUES).map(|n| (format!("{n:06}"), QueueStatus::default()));
    let fresh = tell(1, Report { queues: queues.collect(), ..Report::default() });
    assert_eq!((fresh.unshown, fresh.reported.queues.len()), (1, MAX_QUEUES));
    assert!(fresh.reported.modules.is_empty() && fresh.reported.full);
}

#[test]
fn who_says_nothing_falls_silent_and_comes_back() {
    let mut fleet = fleet_of(2);
    let presence = |fleet: &Fleet, n| fleet.device(&id(n)).unwrap().presence;
    feed(&mut fleet, 30_000, Event::Seen { device: id(1), wall_ms: 4 });
    let steps = feed(&mut fleet, SILENT_AFTER_MS, Event::Woken);
    assert_eq!((presence(&fleet, 1), presence(&fleet, 2)), (Presence::Online, Presence::Silent));
    assert_eq!(steps.last(), Some(&Step::WakeAt(Time::from_millis(30_000 + SILENT_AFTER_MS))));
    feed(&mut fleet, 61_000, Event::Gone { device: id(1) });
    assert_eq!(presence(&fleet, 1), Presence::Away);
    feed(&mut fleet, 61_000 + SILENT_AFTER_MS, Event::Woken);
    assert_eq!(presence(&fleet, 1), Presence::Silent);
    let steps = feed(&mut fleet, 200_000, Event::Seen { device: id(1), wall_ms: 5 });
    assert_eq!(presence(&fleet, 1), Presence::Online);
    assert!(steps.contains(&Step::WakeAt(Time::from_millis(200_000 + SILENT_AFTER_MS))));
}

#[test]
fn a_restarted_cloud_goes_on_where_it_was() {
    let mut fleet = fleet_of(2);
    apply(&mut fleet, release("w", 1, &[], true));
    let stored: Vec<_> = fleet.devices().map(|(id, record)| (*id, record.clone())).collect();
    let mut again = Fleet::new(Time::default(), stored.clone(), [(release("w", 1, &[], true), [1; 32])]);
    let steps = feed(&mut again, 0, Event::Started);
    assert_eq!(steps, [Step::WakeAt(Time::from_millis(SILENT_AFTER_MS))], "nothing to mend");
    // It died after the release was stored and before the assignments were.
    let mut torn = Fleet::new(Time::default(), stored, [(release("w", 2, &[], true), [2; 32])]);
    feed(&mut torn, 0, Event::Started);
    assert_eq!(torn.device(&id(1)).unwrap().assigned.as_ref().unwrap().version, 2);
}

#[test]
fn a_full_site_says_so() {
    use wayside_config::limits::MEMBERS;
    let many = |count: usize| {
        (0..count).map(|n| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64).to_be_bytes());
            (PublicKey::from_bytes(key), DeviceRecord { name: format!("n{n}"), ..DeviceRecord::default() })
        })
    };
    let mut fleet = Fleet::new(Time::default(), many(MEMBERS + 1), []);
    assert!(
        settled(&apply(&mut fleet, release("w", 1, &[], true))).unwrap_err().contains("narrow its target")
    );
    assert_eq!(settled(&apply(&mut fleet, release("w", 1, &[], false))), Ok(MEMBERS as u64 + 1));
    let fleet = Fleet::new(Time::default(), many(MEMBERS + 1), [(release("w", 1, &[], true), [1; 32])]);
    assert_eq!(fleet.devices().last().unwrap().1.left_out, ["w"]);
}

proptest! {
    /// In whatever order releases of different workloads come in, the same assignments hold in the end.
    #[test]
    fn the_order_of_releases_does_not_matter(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
        let releases = [
            release("a", 1, &[], true),
            release("b", 1, &["d1", "d2"], true),
            release("c", 1, &["d3"], false),
            release("d", 1, &[], false),
            release("e", 1, &["d9"], true),
            release("f", 1, &["d2", "d3"], true),
        ];
        let held = |order: &[usize]| {
            let mut fleet = fleet_of(3);
            for at in order {
                apply(&mut fleet, releases[*at].clone());
            }
            let held = fleet.devices().map(|(id, record)| (*id, record.assigned.clone().unwrap().releases));
            held.collect::<Vec<_>>()
        };
        prop_assert_eq!(held(&order), held(&[0, 1, 2, 3, 4, 5]));
    }

    /// Versions of a workload in any order end at the highest one.
    #[test]
    fn the_highest_version_holds(order in Just((1..6u64).collect::<Vec<_>>()).prop_shuffle()) {
        let mut fleet = fleet_of(2);
        for version in order {
            apply(&mut fleet, release("a", version, &[], true));
        }
        let assigned = fleet.device(&id(1)).unwrap().assigned.clone().unwrap();
        prop_assert_eq!(assigned.releases[0].version, 5);
    }
}

#[test]
fn two_machines_with_one_key_are_noticed_and_it_is_kept() {
    let mut fleet = Fleet::new(Time::from_millis(0), [], []);
    greet(&mut fleet, 1, true);
    let mut greet_as = |run: u64, wall_ms: u64| {
        let hello = Hello { run, token: None, ..hello_of(1) };
        let steps = feed(&mut fleet, 0, greeted(id(1), hello, false, wall_ms));
        let saved = steps.iter().any(|step| matches!(step, Step::Persist(Effect::SaveDevice(..))));
        (fleet.device(&id(1)).unwrap().cloned_ms, saved)
    };
    assert_eq!(greet_as(2, 20), (0, false));
    assert_eq!(greet_as(1, 30), (0, false));
    assert_eq!(greet_as(2, 40), (40, true));
    assert_eq!(greet_as(2, 50), (40, false));
}
