mod drift;
mod holding;
mod labels;
mod order;
mod ports;
mod pulling;
mod refused;
mod restarts;
mod updates;
mod whole;

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wayside_config::{
    document::{Assignment, Member, Release, ReleaseRef},
    identity::DeviceId,
    limits::{NUMBERING, VERSION_MAX},
    workload::{Destination, ModuleId, ModuleSpec, Route, Target, Update, Workload},
};

use super::{Assigner, Effect, Event, Floors, Images, LIST_MS, Observed, Reconciler};
use crate::{
    device::spec_hash::spec_hash,
    frame::Desired,
    machine::{Machine, Step},
    testing::{at, done},
};

const ME: DeviceId = DeviceId::from_bytes([1; 32]);
const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

fn spec(image: &str) -> ModuleSpec {
    ModuleSpec { image: image.into(), ..ModuleSpec::default() }
}

fn module(workload: &str, name: &str) -> ModuleId {
    ModuleId::new(workload, name)
}

/// A workload with one module `sensor` and one route.
fn release(workload: &str, version: u64, image: &str) -> Release {
    let route = Route::new("up", "sensor", "#", Destination::Cloud);
    let modules = BTreeMap::from([("sensor".into(), spec(image))]);
    let workload = Workload {
        name: workload.into(),
        target: Target::default(),
        modules,
        leaves: BTreeMap::new(),
        twins: BTreeMap::new(),
        update: Update::default(),
        priority: Workload::PRIORITY,
        routes: vec![route],
    };
    Release { version, issued_ms: 0, expires_ms: None, workload }
}

#[derive(Clone)]
struct Document {
    assignment: Assignment,
    releases: Vec<Release>,
    sealed: Desired,
}

fn document(version: u64, releases: &[Release]) -> Document {
    let sealed = Desired {
        assignment: Bytes::from(format!("{version} {releases:?}")),
        releases: releases.iter().map(|release| Bytes::from(format!("{release:?}"))).collect(),
        ..Desired::default()
    };
    let members = vec![
        Member { device: ME, name: "ewr".into(), labels: BTreeMap::new() },
        Member { device: OTHER, name: "jfk".into(), labels: BTreeMap::new() },
    ];
    let references = releases.iter().zip(&sealed.releases).map(|(release, sealed)| ReleaseRef {
        workload: release.workload.name.clone(),
        version: release.version,
        sha256: Sha256::digest(sealed).into(),
        members: members.clone(),
    });
    let assignment = Assignment { device: ME, version, releases: references.collect() };
    Document { assignment, releases: releases.to_vec(), sealed }
}

fn event(document: Document, restored: bool) -> Event {
    let Document { assignment, releases, sealed } = document;
    let by = Assigner::Operator;
    Event::Desired { sealed, assignment: Box::new(assignment), releases, by, restored }
}

fn from_cloud(document: Document) -> Event {
    let Document { assignment, releases, sealed } = document;
    let by = Assigner::Cloud;
    Event::Desired { sealed, assignment: Box::new(assignment), releases, by, restored: false }
}

fn plant(version: u64) -> Event {
    event(document(version, &[release("plant", version, "sensor")]), false)
}

fn container(id: &str, module: Option<ModuleId>, image: &str, running: bool) -> Observed {
    let spec_hash = spec_hash(&spec(image), "net");
    let exit_code = (!running).then_some(0);
    Observed { container: id.into(), module, spec_hash, running, exit_code, health: None }
}

fn observed(containers: Vec<Observed>) -> Event {
    Event::Observed { additions: "net".into(), containers }
}

fn orphan(container: &str) -> Effect {
    Effect::RemoveOrphan { container: container.into() }
}

fn fresh() -> Reconciler {
    with(Floors::default())
}

fn with(floors: Floors) -> Reconciler {
    Reconciler::new(ME, floors, BTreeMap::new())
}

/// The engine has all images that `plant` needs.
fn looked() -> Event {
    let found = Ok(Images { missing: vec![], disk: None });
    Event::Looked { workload: "plant".into(), images: vec!["sensor".into()], found }
}

/// The versions that were persisted last.
fn saved(steps: &[Step<Effect>]) -> Option<Floors> {
    steps.iter().rev().find_map(|step| match step {
        Step::Persist(Effect::SaveFloors(floors)) => Some(floors.clone()),
        Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
    })
}

/// Whether desired state was taken; what was refused is a problem that holds `words`.
fn is_taken(reconciler: &mut Reconciler, event: Event, words: &str) -> bool {
    let effects = done(reconciler, 0, event);
    match &effects[..] {
        [Effect::Problems(problems)] => {
            assert!(problems[0].contains(words), "{problems:?}");
            false
        }
        _ => effects.iter().any(|effect| matches!(effect, Effect::Assigned(_))),
    }
}

/// A reconciler that runs version 1 of `plant`, and whose module knows.
fn running() -> Reconciler {
    let mut reconciler = fresh();
    at(&mut reconciler, 0, plant(1));
    at(&mut reconciler, 0, looked());
    at(&mut reconciler, 0, observed(vec![]));
    reconciler
}

#[test]
fn desired_state_is_persisted_before_anything_is_told() {
    let mut reconciler = fresh();
    let steps = at(&mut reconciler, 0, plant(1));
    assert!(matches!(
        steps[..],
        [
            Step::Persist(Effect::SaveFloors(_)),
            Step::Persist(Effect::Save(_)),
            Step::Do(Effect::Assigned(1)),
            Step::Do(Effect::Look { .. }),
            Step::Do(Effect::Workload(..)),
            Step::Do(Effect::Routes(_)),
            Step::Do(Effect::Names(_)),
            Step::Do(Effect::Twins(_)),
            Step::Do(Effect::Clients(_)),
            Step::Do(Effect::List),
            Step::Do(Effect::Drift(_, Some(_))),
            Step::WakeAt(_),
        ]
    ));
    // Restored state is on the disk already; its versions are, unless they were lost.
    let steps = at(&mut fresh(), 0, event(document(1, &[]), true));
    let floors = saved(&steps).unwrap();
    assert!(!steps.iter().any(|step| matches!(step, Step::Persist(Effect::Save(_)))));
    let steps = at(&mut with(floors), 0, event(document(1, &[]), true));
    assert!(steps.iter().all(|step| !matches!(step, Step::Persist(_))));
}

#[test]
fn nothing_is_wanted_before_the_engine_has_said_what_it_has() {
    let mut reconciler = fresh();
    at(&mut reconciler, 0, plant(1));
    at(&mut reconciler, 0, looked());
    let sensor = module("plant", "sensor");
    let there = container("c", Some(sensor.clone()), "sensor", true);
    let want = Effect::Want {
        module: sensor.clone(),
        spec: Box::new(spec("sensor")),
        spec_hash: there.spec_hash.clone(),
    };
    let found = Effect::Found(sensor, there.clone());
    assert_eq!(done(&mut reconciler, 0, observed(vec![there.clone()])), [want, found.clone()]);
    // Told once; looked at again and again.
    assert_eq!(done(&mut reconciler, LIST_MS, Event::Woken), [Effect::List]);
    assert_eq!(done(&mut reconciler, LIST_MS, observed(vec![there])), [found]);
}

#[test]
fn of_duplicates_it_keeps_the_right_one_then_the_running_one_and_orphans_go() {
    let mut reconciler = fresh();
    at(&mut reconciler, 0, plant(1));
    at(&mut reconciler, 0, looked());
    let sensor = || Some(module("plant", "sensor"));
    let effects = done(
        &mut reconciler,
        0,
        observed(vec![
            container("old", sensor(), "other", true),
            container("right", sensor(), "sensor", true),
            container("ended", sensor(), "sensor", false),
            container("nobody's", Some(module("gone", "sensor")), "sensor", true),
            container("unreadable", None, "sensor", true),
        ]),
    );
    assert!(matches!(&effects[1], Effect::Found(_, found) if found.container == "right"));
    assert_eq!(effects[2..], ["old", "ended", "unreadable", "nobody's"].map(orphan));
}

#[test]
fn without_desired_state_nothing_is_removed() {
    let mut reconciler = fresh();
    let there = container("c", Some(module("plant", "sensor")), "sensor", true);
    assert_eq!(done(&mut reconciler, 0, Event::EngineBack), [Effect::List]);
    assert_eq!(done(&mut reconciler, 0, observed(vec![there.clone()])), []);
    // An assignment without workloads is desired state.
    at(&mut reconciler, 1, event(document(1, &[]), false));
    assert_eq!(done(&mut reconciler, 1, observed(vec![there])), [orphan("c")]);
}

#[test]
fn a_workload_that_goes_takes_its_modules_and_lets_them_remove_their_containers() {
    let mut reconciler = running();
    let sensor = module("plant", "sensor");
    let effects = done(&mut reconciler, 0, event(document(2, &[]), false));
    assert!(effects.contains(&Effect::Unwant(sensor.clone())));
    assert!(effects.contains(&Effect::Clients(vec![])));
    let there = || observed(vec![container("c", Some(module("plant", "sensor")), "sensor", true)]);
    assert_eq!(done(&mut reconciler, 0, there()), []);
    at(&mut reconciler, 0, Event::ModuleGone(sensor));
    assert_eq!(done(&mut reconciler, 0, there()), [orphan("c")]);
}

#[test]
fn what_may_not_replace_the_held_state_is_a_problem_and_changes_nothing() {
    let plant = |version| release("plant", version, "sensor");
    let good = document(6, &[plant(5)]);
    let with = |change: fn(&mut Document)| {
        let mut document = good.clone();
        change(&mut document);
        document
    };
    for (bad, words) in [
        (with(|bad| bad.assignment.device = OTHER), "it is for device"),
        (document(4, &[plant(9)]), "its assignment is version 4, and version 5 was taken"),
        (document(5, &[plant(9)]), "its assignment is version 5, and version 5 was taken"),
        (document(6, &[plant(4)]), "workload plant is version 4, and version 5 was taken"),
        (with(|bad| bad.assignment.releases[0].sha256[0] ^= 1), "its releases are not those"),
        (with(|bad| bad.assignment.releases[0].version = 6), "its releases are not those"),
        (with(|bad| bad.releases.clear()), "its releases are not those"),
        (document(6, &[plant(5), plant(5)]), "its releases are not those"),
        (with(|bad| bad.assignment.releases[0].members.truncate(0)), "does not list this device"),
    ] {
        let mut reconciler = fresh();
        at(&mut reconciler, 0, event(document(5, &[plant(5)]), true));
        let offered = bad.assignment.version;
        let effects = done(&mut reconciler, 0, event(bad, false));
        let [Effect::NotTaken { version, reason }, Effect::Problems(problems)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert!(problems[0].contains(words) && *reason == problems[0], "{problems:?}");
        assert_eq!(*version, offered);
        // What is held, once more, changes nothing but that nothing is refused any more.
        let again = done(&mut reconciler, 0, event(document(5, &[plant(5)]), false));
        assert_eq!(again, [Effect::Problems(vec![])]);
        assert!(done(&mut reconciler, 0, event(good.clone(), false)).contains(&Effect::Assigned(6)));
    }
}

#[test]
fn versions_of_what_was_taken_off_and_of_what_was_lost_are_remembered() {
    let plant = |version| release("plant", version, "sensor");
    let mut reconciler = fresh();
    at(&mut reconciler, 0, event(document(3, &[plant(7)]), false));
    let floors = saved(&at(&mut reconciler, 0, event(document(4, &[]), false))).unwrap();
    let refused = "workload plant is version 6, and version 7 was taken";
    assert!(!is_taken(&mut reconciler, event(document(5, &[plant(6)]), false), refused));
    // The daemon begins again, and nothing of the desired state is readable.
    let mut reconciler = with(floors);
    assert!(!is_taken(&mut reconciler, event(document(5, &[plant(6)]), false), refused));
    assert!(!is_taken(&mut reconciler, event(document(3, &[plant(7)]), false), "version 4 was taken"));
    assert!(is_taken(&mut reconciler, event(document(5, &[plant(7)]), false), ""));
}

#[test]
fn what_did_not_reach_the_disk_is_taken_when_it_comes_again() {
    let mut reconciler = running();
    let floors = saved(&at(&mut reconciler, 0, plant(2))).unwrap();
    // The versions were written, the desired state was not, and the daemon began again.
    let mut reconciler = with(floors);
    let before = event(document(1, &[release("plant", 1, "sensor")]), true);
    assert!(is_taken(&mut reconciler, before, ""));
    let mut other = document(2, &[release("plant", 2, "sensor")]);
    other.sealed.assignment = Bytes::from_static(b"other");
    assert!(!is_taken(&mut reconciler, event(other, false), "version 2 was taken"));
    assert!(is_taken(&mut reconciler, plant(2), ""));
}

#[test]
fn only_an_operator_begins_a_new_numbering_and_only_the_next() {
    let at_version = |version| document(version, &[]);
    let mut reconciler = fresh();
    let refused = "only an operator may begin";
    assert!(!is_taken(&mut reconciler, from_cloud(at_version(VERSION_MAX)), refused));
    assert!(!is_taken(&mut reconciler, from_cloud(at_version(NUMBERING)), refused));
    // The most that whoever has the cloud's key can do: every version of this numbering is used up.
    assert!(is_taken(&mut reconciler, from_cloud(at_version(NUMBERING - 1)), ""));
    assert!(!is_taken(&mut reconciler, from_cloud(at_version(NUMBERING)), refused));
    assert!(!is_taken(&mut reconciler, event(at_version(2 * NUMBERING), false), refused));
    assert!(is_taken(&mut reconciler, event(at_version(NUMBERING), false), ""));
    // From here on the cloud goes on as well.
    assert!(is_taken(&mut reconciler, from_cloud(at_version(NUMBERING + 1)), ""));
}

#[test]
fn a_lost_engine_is_a_problem_until_it_answers() {
    let mut reconciler = running();
    let lost = Event::EngineLost { problem: "start Docker".into() };
    let effects = done(&mut reconciler, 0, lost.clone());
    assert_eq!(effects[0], Effect::Problems(vec!["start Docker".into()]));
    assert!(matches!(&effects[1..], [Effect::Drift(what, Some(_))] if what == "plant/sensor"), "{effects:?}");
    assert_eq!(done(&mut reconciler, 0, lost), []);
    assert_eq!(done(&mut reconciler, 0, Event::EngineBack), [Effect::List]);
    assert_eq!(done(&mut reconciler, 0, observed(vec![]))[1], Effect::Problems(vec![]));
}

#[test]
fn a_container_made_with_other_additions_is_replaced() {
    let mut reconciler = running();
    let other = Event::Observed { additions: "other net".into(), containers: vec![] };
    assert!(matches!(done(&mut reconciler, 0, other)[0], Effect::Want { .. }));
}
