use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use wayside_config::{
    document::TwinChange, hash::sha256, identity::DeviceId, patch::Properties, workload::ModuleId,
};

use super::{Effect, Event, TELL_MS, TELL_TWINS, Twin, Twins};
use crate::{
    frame::ToCloud,
    machine::Step,
    testing::{assert_replays, at, done},
};

fn module(name: &str) -> ModuleId {
    ModuleId::new("plant", name)
}

fn modules(names: &[&str]) -> Event {
    Event::Modules(names.iter().map(|name| (module(name), None)).collect())
}

fn twins() -> Twins {
    let mut twins = Twins::new(BTreeMap::new(), 7);
    at(&mut twins, 0, modules(&["sensor", "pump"]));
    twins
}

fn look(twins: &mut Twins, name: &str) -> Result<Box<Twin>, String> {
    let effect = done(twins, 0, Event::Look { question: 1, module: module(name) }).pop();
    let Some(Effect::Shown { question: 1, result }) = effect else { panic!("not shown: {effect:?}") };
    result
}

fn change(life: u64, version: u64, patch: &str) -> TwinChange {
    let device = DeviceId::from_bytes([1; 32]);
    TwinChange { device, name: None, module: module("sensor"), life, version, patch: patch.into() }
}

fn changed(question: Option<u64>, change: TwinChange) -> Event {
    let sha256 = sha256(format!("{change:?}").as_bytes());
    Event::Change { question, change: Box::new(change), sha256 }
}

/// What comes of a change that somebody waits for.
fn set(twins: &mut Twins, ms: u64, change: TwinChange) -> Result<Box<Twin>, String> {
    let effects = done(twins, ms, changed(Some(5), change));
    let shown = effects.into_iter().find_map(|effect| {
        if let Effect::Shown { question: 5, result } = effect { Some(result) } else { None }
    });
    shown.expect("an answer")
}

fn reported(ticket: u64, patch: &'static str) -> Event {
    let patch = Bytes::from_static(patch.as_bytes());
    Event::Reported { ticket, module: module("sensor"), patch, wall_ms: 9 }
}

#[test]
fn what_is_desired_is_kept_before_it_is_told_and_delivered() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    let steps = at(&mut twins, 1, changed(Some(5), change(life, 1, r#"{"interval_ms": 500}"#)));
    let body = Bytes::from_static(br#"{"version":1,"desired":{"interval_ms":500}}"#);
    assert!(matches!(&steps[0], Step::Persist(Effect::Save(_, twin)) if twin.desired.version == 1));
    assert_eq!(steps[1], Step::Do(Effect::Deliver { module: module("sensor"), body: body.clone() }));
    assert!(matches!(&steps[2], Step::Do(Effect::Shown { question: 5, result: Ok(_) })));
    // And again when the module appears.
    let wanted = Event::Wanted { module: module("sensor") };
    assert_eq!(done(&mut twins, 2, wanted), [Effect::Deliver { module: module("sensor"), body }]);
}

#[test]
fn a_change_is_taken_once_in_order_and_by_the_twin_that_it_is_for() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    assert!(set(&mut twins, 0, change(life, 2, "{}")).unwrap_err().contains("at version 0"));
    assert_eq!(set(&mut twins, 0, change(life, 1, r#"{"a":1}"#)).unwrap().desired.version, 1);
    // The very same one may come again; another one for the same version may not.
    assert_eq!(set(&mut twins, 0, change(life, 1, r#"{"a":1}"#)).unwrap().desired.version, 1);
    assert!(set(&mut twins, 0, change(life, 1, r#"{"a":2}"#)).unwrap_err().contains("already"));
    assert_eq!(
        set(&mut twins, 0, change(life, 2, r#"{"b":2}"#)).unwrap().desired.properties,
        r#"{"a":1,"b":2}"#
    );
    // Taken off and back: what was signed for the twin before is nothing to this one.
    at(&mut twins, 0, modules(&["pump"]));
    assert!(look(&mut twins, "sensor").unwrap_err().contains("runs no plant/sensor"));
    at(&mut twins, 0, modules(&["sensor", "pump"]));
    assert!(set(&mut twins, 0, change(life, 1, r#"{"a":1}"#)).unwrap_err().contains("earlier twin"));
    assert_eq!(look(&mut twins, "sensor").unwrap().desired.version, 0);
}

#[test]
fn what_is_reported_is_kept_before_routes_take_it_and_it_is_acknowledged() {
    let mut twins = twins();
    let steps = at(&mut twins, 0, reported(1, r#"{"firmware": "1.2", "ready": true}"#));
    let [Step::Persist(Effect::Save(..)), Step::Persist(Effect::Save(_, twin)), Step::Do(published)] =
        &steps[..]
    else {
        panic!("{steps:?}")
    };
    assert_eq!((twin.reported.version, twin.desired.version), (1, 0));
    let whole = |ticket| {
        let body = br#"{"version":1,"reported":{"firmware":"1.2","ready":true}}"#;
        Effect::Publish { ticket, module: module("sensor"), body: Bytes::from_static(body), wall_ms: 9 }
    };
    assert_eq!(*published, whole(1));
    // What says nothing new is not written again, and goes along the routes again.
    assert_eq!(at(&mut twins, 0, reported(2, r#"{"ready": true}"#)), [Step::Do(whole(2))]);
    at(&mut twins, 0, reported(3, r#"{"ready": null}"#));
    let twin = look(&mut twins, "sensor").unwrap();
    assert_eq!((twin.reported.version, twin.reported.properties.as_str()), (2, r#"{"firmware":"1.2"}"#));
    for bad in ["[]", "{", "7"] {
        let effects = done(&mut twins, 0, reported(4, bad));
        assert!(matches!(&effects[..], [Effect::Refuse { ticket: 4, .. }]), "{effects:?}");
    }
    let patch = Bytes::from_static(b"{}");
    let stranger = Event::Reported { ticket: 5, module: module("valve"), patch, wall_ms: 9 };
    assert!(matches!(&done(&mut twins, 0, stranger)[..], [Effect::Refuse { ticket: 5, .. }]));
}

#[test]
fn twins_outlive_the_machine_and_end_with_their_modules() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    let twin = set(&mut twins, 0, change(life, 1, r#"{"a":1}"#)).unwrap();
    let mut again = Twins::new(BTreeMap::from([(module("sensor"), (*twin).clone())]), 8);
    // Nobody has said yet what runs, and nothing is thrown away.
    assert_eq!(look(&mut again, "sensor"), Ok(twin));
    assert!(look(&mut again, "pump").is_err());
    assert_eq!(at(&mut again, 0, modules(&["sensor"])), []);
    assert_eq!(at(&mut again, 0, modules(&[])), [Step::Persist(Effect::Drop(module("sensor")))]);
}

#[test]
fn a_twin_begins_with_what_its_workload_desires_and_only_operators_change_it_then() {
    let mut twins = Twins::new(BTreeMap::new(), 7);
    let desiring = |text: &str| {
        let properties = Properties::try_from(text.to_owned()).unwrap();
        Event::Modules(vec![(module("sensor"), Some(properties)), (module("pump"), None)])
    };
    let steps = at(&mut twins, 0, desiring(r#"{"a":1}"#));
    assert!(
        matches!(&steps[..], [Step::Persist(Effect::Save(of, _))] if *of == module("sensor")),
        "{steps:?}"
    );
    let twin = look(&mut twins, "sensor").unwrap();
    assert_eq!((twin.desired.version, twin.desired.properties.as_str()), (0, r#"{"a":1}"#));
    assert_eq!(look(&mut twins, "pump").unwrap().desired.properties, "{}");
    // A later version of the file is for twins that begin later, and changes nothing of this one.
    assert_eq!(at(&mut twins, 0, desiring(r#"{"a":2}"#)), []);
    let twin = set(&mut twins, 0, change(twin.life, 1, r#"{"b":3}"#)).unwrap();
    assert_eq!(twin.desired.properties, r#"{"a":1,"b":3}"#);
    at(&mut twins, 0, modules(&["pump"]));
    at(&mut twins, 0, desiring(r#"{"a":2}"#));
    assert_eq!(look(&mut twins, "sensor").unwrap().desired.properties, r#"{"a":2}"#);
}

#[test]
fn the_cloud_hears_of_all_twins_and_then_of_those_that_change_once_a_second() {
    let mut twins = twins();
    at(&mut twins, 0, reported(1, r#"{"n":0}"#));
    let effects = done(&mut twins, 10, Event::CloudUp);
    assert_eq!(effects[0], Effect::Tell(vec![ToCloud::TwinNames(vec![module("sensor")])]));
    assert!(matches!(&frames(&effects)[1..], [ToCloud::Twin(of, _)] if *of == module("sensor")));
    let steps = at(&mut twins, 20, reported(2, r#"{"n":1}"#));
    assert!(matches!(steps.last(), Some(Step::WakeAt(at)) if at.as_millis() == 10 + TELL_MS));
    at(&mut twins, 30, reported(3, r#"{"n":2}"#));
    let told = done(&mut twins, 10 + TELL_MS, Event::Woken);
    assert!(matches!(&frames(&told)[..], [ToCloud::Twin(_, twin)] if twin.reported.version == 3), "{told:?}");
    assert_eq!(at(&mut twins, 5000, Event::Woken), []);
    let none = Effect::Tell(vec![ToCloud::TwinNames(Vec::new())]);
    assert!(done(&mut twins, 6000, modules(&["pump"])).contains(&none));
    at(&mut twins, 7000, Event::CloudDown);
    at(&mut twins, 7000, modules(&["sensor"]));
    let effects = done(&mut twins, 9000, reported(4, r#"{"n":3}"#));
    assert!(matches!(effects[..], [Effect::Publish { ticket: 4, .. }]), "{effects:?}");
}

#[test]
fn a_change_through_the_cloud_that_is_not_taken_is_a_problem_until_one_is() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    let told = done(&mut twins, 0, changed(None, change(life + 1, 1, "{}")));
    let [Effect::Tell(frames), Effect::Problems(problems)] = &told[..] else { panic!("{told:?}") };
    // What holds instead comes before, so that the cloud knows what was taken.
    let [ToCloud::Twin(..), ToCloud::TwinRefused { reason, .. }] = &frames[..] else { panic!("{told:?}") };
    assert!(reason.contains("earlier twin") && problems[0].contains(reason.as_str()), "{told:?}");
    let again = done(&mut twins, 0, changed(None, change(life + 1, 1, "{}")));
    assert!(matches!(again[..], [Effect::Tell(_)]), "{again:?}");
    let said = Effect::Problems(problems.clone());
    assert_eq!(
        done(&mut twins, 0, Event::HealthRestarted),
        [said],
        "a health that begins anew knows nothing"
    );
    let told = done(&mut twins, 0, changed(None, change(life, 1, "{}")));
    assert!(told.contains(&Effect::Problems(Vec::new())), "{told:?}");
}

#[test]
fn what_the_cloud_brings_again_is_no_other_change() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    at(&mut twins, 0, Event::CloudUp);
    let told = done(&mut twins, 10, changed(None, change(life, 1, r#"{"a":1}"#)));
    // At once, for the cloud waits to bring what follows.
    assert!(matches!(&frames(&told)[..], [ToCloud::Twin(_, twin)] if twin.desired.version == 1), "{told:?}");
    set(&mut twins, 20, change(life, 2, r#"{"b":1}"#)).unwrap();
    let again = done(&mut twins, 30, changed(None, change(life, 1, r#"{"a":1}"#)));
    assert_eq!(again, []);
    let sha256 = sha256(format!("{:?}", change(life, 1, r#"{"a":1}"#)).as_bytes());
    let unverified = Event::Unverified { sha256, reason: "its operator is none any more".into() };
    assert_eq!(done(&mut twins, 40, unverified), []);
    let told = done(&mut twins, TELL_MS, Event::Woken);
    assert!(matches!(&frames(&told)[..], [ToCloud::Twin(_, twin)] if twin.desired.version == 2), "{told:?}");
}

#[test]
fn what_found_no_room_is_said_again_after_a_pause_and_a_few_at_a_time() {
    let names: Vec<_> = (0..3 * TELL_TWINS).map(|number| format!("m{number:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut twins = Twins::new(BTreeMap::new(), 7);
    at(&mut twins, 0, modules(&names));
    names.iter().for_each(|name| drop(look(&mut twins, name)));
    let (mut now, mut told) = (0, done(&mut twins, 0, Event::CloudUp));
    let mut heard: BTreeMap<ModuleId, usize> = BTreeMap::new();
    let mut names_told = 0;
    for round in 0..40 {
        assert!(told.len() <= 1 + TELL_TWINS, "{}", told.len());
        for (at_frame, effect) in told.into_iter().enumerate() {
            let Effect::Tell(frames) = effect else { panic!("{effect:?}") };
            // For a while there is room for little.
            if round < 5 && at_frame % 5 != 0 {
                assert_eq!(done(&mut twins, now, Event::Untold(frames)), []);
                continue;
            }
            for frame in frames {
                if let ToCloud::Twin(module, _) = frame {
                    *heard.entry(module).or_default() += 1;
                } else {
                    assert!(matches!(frame, ToCloud::TwinNames(_)), "{frame:?}");
                    names_told += 1;
                }
            }
        }
        assert_eq!(done(&mut twins, now + TELL_MS / 2, Event::CloudUp), [], "before the pause is over");
        now += TELL_MS;
        told = done(&mut twins, now, Event::Woken);
    }
    assert!(told.is_empty() && names_told == 1);
    assert!(heard.len() == names.len() && heard.values().all(|times| *times == 1), "{heard:?}");
}

#[test]
fn a_refusal_that_found_no_room_leads_to_a_word_of_its_twin() {
    let mut twins = twins();
    let life = look(&mut twins, "sensor").unwrap().life;
    at(&mut twins, 0, Event::CloudUp);
    let refused = |twins: &mut Twins, ms, life| {
        let told = done(twins, ms, changed(None, change(life, 1, "{}")));
        let Some(Effect::Tell(frames)) = told.into_iter().next() else { panic!("nothing told") };
        assert_eq!(frames.len(), 2);
        frames
    };
    let frames_of_sensor = refused(&mut twins, 10, life + 1);
    at(&mut twins, 10, Event::Untold(frames_of_sensor));
    let told = done(&mut twins, 10 + TELL_MS, Event::Woken);
    assert!(matches!(&frames(&told)[..], [ToCloud::Twin(of, _)] if *of == module("sensor")), "{told:?}");
    // One whose twin is not known, for nobody verified it.
    let unverified = done(&mut twins, 2000, Event::Unverified { sha256: [1; 32], reason: "no".into() });
    at(&mut twins, 2000, Event::Untold(frames(&unverified)));
    let told = done(&mut twins, 2000 + TELL_MS, Event::Woken);
    assert!(matches!(&frames(&told)[..], [ToCloud::Twin(..)]), "{told:?}");
    // A module that is gone has no twin: then which there are is what holds.
    at(&mut twins, 4000, modules(&["pump"]));
    let gone = refused(&mut twins, 8000, life);
    assert!(matches!(&gone[0], ToCloud::TwinNames(names) if names.is_empty()), "{gone:?}");
}

fn frames(effects: &[Effect]) -> Vec<ToCloud> {
    let told = effects
        .iter()
        .filter_map(|effect| if let Effect::Tell(frames) = effect { Some(frames.clone()) } else { None });
    told.flatten().collect()
}

fn event() -> impl Strategy<Value = Event> {
    let patch = prop::sample::select(vec![r#"{"a":1}"#, r#"{"a":null}"#, r#"{"b":{"c":2}}"#, "[]", "{"]);
    let names = prop::sample::subsequence(vec!["sensor", "pump"], 0..=2);
    prop_oneof![
        1 => names.prop_map(|names| modules(&names)),
        2 => Just(Event::Wanted { module: module("sensor") }),
        4 => (any::<u64>(), patch.clone()).prop_map(|(ticket, patch)| reported(ticket, patch)),
        2 => Just(Event::Look { question: 1, module: module("sensor") }),
        6 => (prop::option::of(Just(5)), 1u64..6, patch)
            .prop_map(|(question, version, patch)| changed(question, change(0, version, patch))),
        1 => Just(Event::CloudUp),
        1 => Just(Event::CloudDown),
        2 => Just(Event::Woken),
    ]
}

proptest! {
    /// Versions count each change by one, whatever comes in whatever order; what is told was persisted before; and
    /// the disk always holds what the machine holds.
    #[test]
    fn versions_count_and_the_disk_is_never_behind(
        events in prop::collection::vec((0u64..800, event()), 0..80),
    ) {
        let mut machine = twins();
        let mut disk: BTreeMap<ModuleId, Twin> = BTreeMap::new();
        let (mut now, mut log) = (0, vec![(0, modules(&["sensor", "pump"]))]);
        for (after_ms, event) in events {
            now += after_ms;
            // Changes are for the twin that there is.
            let event = if let Event::Change { question, mut change, .. } = event {
                change.life = disk.get(&change.module).map_or(0, |twin| twin.life);
                changed(question, *change)
            } else {
                event
            };
            log.push((now, event.clone()));
            for step in at(&mut machine, now, event) {
                match step {
                    Step::Persist(Effect::Save(module, twin)) => {
                        if let Some(before) = disk.get(&module).filter(|before| before.life == twin.life) {
                            let by = (twin.desired.version - before.desired.version)
                                + (twin.reported.version - before.reported.version);
                            prop_assert_eq!(by, 1);
                        } else {
                            prop_assert_eq!((twin.desired.version, twin.reported.version), (0, 0));
                        }
                        disk.insert(module, *twin);
                    }
                    Step::Persist(Effect::Drop(module)) => {
                        prop_assert!(disk.remove(&module).is_some());
                    }
                    Step::Persist(other) => prop_assert!(false, "not to be persisted: {:?}", other),
                    Step::Do(Effect::Tell(frames)) => {
                        for frame in frames {
                            if let ToCloud::Twin(module, twin) = frame {
                                prop_assert_eq!(disk.get(&module), Some(&*twin));
                            }
                        }
                    }
                    Step::Do(Effect::Shown { result: Ok(twin), .. }) => {
                        prop_assert_eq!(disk.get(&module("sensor")), Some(&*twin));
                    }
                    Step::Do(_) | Step::WakeAt(_) => {}
                }
            }
        }
        assert_replays(|| Twins::new(BTreeMap::new(), 7), &log);
    }
}
