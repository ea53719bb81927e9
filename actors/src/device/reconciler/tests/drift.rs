//! What is not as it should be is named, with since when and why.

use super::{
    updates::device::{Device, PROBATION_MS, version},
    *,
};
use crate::{
    device::reconciler::Lag,
    report::{Health, ModuleState},
};

/// What, and how it is, since when and why, or that it is well.
type Told<'a> = (&'a str, Option<(&'a str, u64, &'a str)>);

/// What was told of drift just now.
fn drift(device: &Device) -> Vec<Told<'_>> {
    let drift = device.effects.iter().filter_map(|effect| {
        let Effect::Drift(what, lag) = effect else { return None };
        let lag = lag
            .as_ref()
            .map(|Lag { reported, since, why, .. }| (reported.as_str(), since.as_millis(), why.as_str()));
        Some((what.as_str(), lag))
    });
    drift.collect()
}

#[test]
fn a_version_that_does_not_run_yet_and_its_modules_are_named_until_they_do() {
    let mut device = Device::new();
    device.now = 50;
    device.assign(&[version("plant", 1)]);
    assert_eq!(drift(&device), [("plant", Some(("none", 50, "preparing")))]);
    device.now = 70;
    device.has_images();
    let modules = |why| ["plant/pump", "plant/sensor"].map(|module| (module, Some(("none", 70, why))));
    assert_eq!(drift(&device), [("plant", None), modules("")[0], modules("")[1]]);
    device.list();
    assert_eq!(drift(&device), [], "they are told, and have said nothing");
    device.says("plant/pump", ModuleState::Starting, None);
    assert_eq!(drift(&device), [("plant/pump", Some(("starting", 70, "no answer")))]);
    device.runs(&["plant/pump"]);
    assert_eq!(drift(&device), [("plant/pump", None)]);
    device.runs(&["plant/pump"]);
    assert_eq!(drift(&device), [], "said once");
}

#[test]
fn who_fails_again_and_again_is_not_well_in_between() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    device.now = 1_000_000;
    device.says("plant/sensor", ModuleState::BackOff, Some(3));
    assert_eq!(drift(&device), [("plant/sensor", Some(("back-off", 1_000_000, "no answer")))]);
    device.now += 5_000;
    device.runs(&["plant/sensor"]);
    assert_eq!(drift(&device), [("plant/sensor", None)]);
    device.now += 5_000;
    device.says_of_health("plant/sensor", ModuleState::Running, None, Some(Health::Unhealthy));
    assert_eq!(drift(&device), [("plant/sensor", Some(("running, unhealthy", 1_000_000, "no answer")))]);
    device.runs(&["plant/sensor"]);
    device.now += 60_000;
    device.says("plant/sensor", ModuleState::BackOff, Some(3));
    assert_eq!(
        drift(&device),
        [("plant/sensor", Some(("back-off", 1_070_000, "no answer")))],
        "it was well for a minute"
    );
}

#[test]
fn a_version_that_was_taken_back_is_still_desired_and_says_why_it_does_not_run() {
    let mut device = Device::updating();
    device.sensor_fails(3);
    let told = drift(&device);
    let (reported, _, why) = told.iter().find(|(what, _)| *what == "plant").unwrap().1.unwrap();
    assert_eq!(reported, "version 1");
    assert!(why.contains("version 2 of plant was taken back: sensor exited with 3"), "{why}");
    // A new one takes its place.
    device.assign(&[version("plant", 3)]);
    device.has_images();
    assert!(drift(&device).contains(&("plant", None)));
}

#[test]
fn modules_that_are_to_go_are_named_until_they_are_gone() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.assign(&[]);
    let told = drift(&device);
    assert!(told.contains(&("plant/pump", Some(("stopping", device.now, "")))), "{told:?}");
    for module in ["pump", "sensor"] {
        device.tell(Event::ModuleGone(ModuleId::new("plant", module)));
    }
    assert!(drift(&device).contains(&("plant/sensor", None)));
    device.tell(Event::HealthRestarted);
    assert_eq!(drift(&device), [], "nothing is left");
}

#[test]
fn a_health_that_was_restarted_hears_it_again() {
    let mut device = Device::updating();
    device.says("plant/sensor", ModuleState::BackOff, Some(3));
    let since = device.now;
    device.now += 10;
    device.tell(Event::HealthRestarted);
    assert!(
        drift(&device).contains(&("plant/sensor", Some(("back-off", since, "no answer")))),
        "{:?}",
        drift(&device)
    );
}
