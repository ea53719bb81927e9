//! A new version comes: prepared while the one before runs on, tried, and kept or taken back whole.

pub(super) mod device;

use self::device::{Device, PROBATION_MS, version};
use wayside_config::{
    limits,
    privilege::{Privilege, Right},
};

use super::*;
use crate::{
    device::reconciler::{Disk, FAILURES, NotPulled, RETRY, STARTS},
    report::{Health, ModuleState, Phase},
};

#[test]
fn nothing_of_the_version_that_runs_is_touched_until_all_images_are_there() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    device.assign(&[version("plant", 3)]);
    let (workload, images) = ("plant".to_owned(), vec!["pump".to_owned(), "sensor:3".into()]);
    assert!(device.effects.contains(&Effect::Look { workload: workload.clone(), images: images.clone() }));
    assert_eq!(device.routes(), ["up2"]);
    device.list();
    assert_eq!(device.wanted(), [""; 0]);
    // No room, no network, and then both.
    let mib = |free: u64| Some(Disk { free_bytes: free << 20, total_bytes: 1 << 30 });
    let missing = vec!["sensor:3".to_owned()];
    let looked = |disk| Event::Looked {
        workload: workload.clone(),
        images: images.clone(),
        found: Ok(Images { missing: missing.clone(), disk }),
    };
    device.tell(looked(mib(200)));
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.coming, status.phase), (2, Some(3), Phase::Preparing));
    assert!(status.problem.contains("200 MiB of 1024 are free"), "{}", status.problem);
    assert!(status.problem.contains("version 2 runs on"), "{}", status.problem);
    device.pass(RETRY.first_ms);
    assert!(matches!(device.effects[..], [Effect::Look { .. }, ..]));
    device.tell(looked(mib(500)));
    let max_bytes = limits::PULL_MAX_BYTES;
    let pull = Effect::Pull { workload: workload.clone(), images: missing.clone(), max_bytes };
    assert!(device.effects.contains(&pull));
    let pulled = |result| {
        let (workload, images) = (workload.clone(), missing.clone());
        Event::Pulled { workload, images, result }
    };
    device.tell(pulled(Err(NotPulled::Failed("no route to host".into()))));
    assert!(device.status("plant").problem.contains("version 3 of plant waits: no route to host"));
    // The engine, or its network, is back: nobody waits for the back-off.
    device.tell(Event::EngineBack);
    assert!(device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. })));
    device.tell(looked(mib(500)));
    device.tell(pulled(Ok(())));
    assert_eq!(device.routes(), ["up3"]);
    device.list();
    assert_eq!(device.wanted(), ["sensor:3"]);
    // An answer to an older question changes nothing.
    device.tell(pulled(Ok(())));
    assert_eq!(device.effects, []);
}

#[test]
fn what_the_device_does_not_allow_is_not_prepared_and_what_runs_runs_on() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    let mut asking = version("plant", 3);
    let sensor = asking.workload.modules.get_mut("sensor").unwrap();
    sensor.privileges = vec![Privilege { right: Right::HostNetwork, line: 7 }];
    device.assign(&[asking.clone()]);
    assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. })));
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.coming), (2, Some(3)));
    let says = "plant/sensor asks in its Compose file for the host's network (line 7)";
    assert!(status.problem.contains(says) && status.problem.ends_with("; version 2 runs on"), "{status:?}");
    // Nothing but another policy or another version changes that.
    for event in [Event::EngineBack, Event::Woken] {
        device.tell(event);
        assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. })));
    }
    device.kill();
    assert!(device.status("plant").problem.contains(says));
    device.policy.host_network = true;
    device.kill();
    device.has_images();
    assert_eq!(device.routes(), ["up3"]);
}

#[test]
fn the_wait_for_images_grows_to_five_minutes() {
    let mut device = Device::updating();
    device.assign(&[version("plant", 3)]);
    let looks = |device: &Device| device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. }));
    for failures in 0..20 {
        let (workload, images) = ("plant".into(), vec!["pump".into(), "sensor:3".into()]);
        device.tell(Event::Looked { workload, images, found: Err("hung".into()) });
        // It is shortened by up to a quarter, so that not all devices of a site ask at once.
        let wait_ms = RETRY.wait_ms(failures);
        device.pass(wait_ms - wait_ms / 4 - 1);
        assert!(!looks(&device), "too soon after {failures} failures");
        device.pass(wait_ms / 4 + 1);
        assert!(looks(&device), "late after {failures} failures");
    }
    assert_eq!(RETRY.wait_ms(19), 5 * 60 * 1000);
}

#[test]
fn what_ran_well_for_its_probation_is_committed() {
    let mut device = Device::updating();
    assert_eq!(device.status("plant").phase, Phase::Switching);
    device.pass(10 * PROBATION_MS);
    assert_eq!(device.lives["plant"].committed.as_ref().unwrap().release.version, 1);
    device.runs(&["plant/sensor"]);
    assert_eq!(device.status("plant").phase, Phase::Probation);
    device.pass(PROBATION_MS - 1);
    assert_eq!(device.status("plant").phase, Phase::Probation);
    device.pass(1);
    let life = &device.lives["plant"];
    assert_eq!((life.committed.as_ref().unwrap().release.version, &life.trial), (2, &None));
    assert_eq!(device.status("plant").phase, Phase::Running);
}

#[test]
fn what_fails_three_times_is_taken_back_whole_and_says_why() {
    let mut device = Device::updating();
    device.sensor_fails(FAILURES - 1);
    assert_eq!(device.status("plant").version, 2);
    device.sensor_fails(1);
    assert_eq!(device.routes(), ["up1"]);
    let why = "version 2 of plant was taken back: sensor exited with 3 three times in 4 s; version 1 runs";
    assert!(device.effects.contains(&Effect::Problems(vec![why.into()])), "{:?}", device.effects);
    assert_eq!(device.status("plant").phase, Phase::RollingBack);
    device.list();
    // The module that never changed is not told anything.
    assert_eq!(device.wanted(), ["sensor:1"]);
    device.runs(&["plant/sensor"]);
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.phase, status.problem.as_str()), (1, Phase::Running, why));
    // Not tried again: not after a restart, not when another workload's change names it anew.
    device.kill();
    assert!(device.effects.contains(&Effect::Problems(vec![why.into()])));
    device.assign(&[version("other", 1), version("plant", 2)]);
    assert_eq!(device.status("plant").coming, None);
    assert_eq!(device.status("other").coming, Some(1));
    // A higher version is.
    device.assign(&[version("plant", 3)]);
    device.has_images();
    assert_eq!((device.status("plant").version, device.status("plant").problem.as_str()), (3, ""));
    assert!(!device.lives.contains_key("other"));
}

#[test]
fn an_end_that_is_final_takes_back_at_once_and_a_good_one_counts_as_well() {
    let mut device = Device::updating();
    device.says("plant/sensor", ModuleState::Ended, Some(7));
    assert!(device.status("plant").problem.contains("sensor exited with 7 and is not to be started again"));
    let mut device = Device::updating();
    device.says("plant/sensor", ModuleState::Ended, Some(0));
    device.pass(PROBATION_MS);
    assert_eq!(device.status("plant").phase, Phase::Running);
    let mut device = Device::updating();
    for _ in 0..FAILURES {
        device.says("plant/sensor", ModuleState::Creating, None);
        device.says("plant/sensor", ModuleState::Failed, None);
    }
    assert!(device.status("plant").problem.contains("taken back: sensor could not be run"));
}

#[test]
fn a_version_that_is_not_healthy_does_not_pass_and_an_unhealthy_one_is_taken_back_at_once() {
    let mut device = Device::updating();
    device.says_of_health("plant/sensor", ModuleState::Running, None, Some(Health::Starting));
    device.pass(10 * PROBATION_MS);
    assert_eq!((device.status("plant").version, device.status("plant").phase), (2, Phase::Switching));
    device.says_of_health("plant/sensor", ModuleState::Running, None, Some(Health::Healthy));
    assert_eq!(device.status("plant").phase, Phase::Probation);
    device.says_of_health("plant/sensor", ModuleState::Running, None, Some(Health::Unhealthy));
    assert!(device.status("plant").problem.contains("was taken back: sensor is unhealthy (no answer)"));
}

#[test]
fn each_failure_begins_the_probation_anew() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS - 1000);
    device.sensor_fails(1);
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS - 1);
    assert_eq!(device.status("plant").phase, Phase::Probation);
    device.pass(1);
    assert_eq!(device.status("plant").phase, Phase::Running);
}

#[test]
fn a_module_that_did_not_change_takes_nothing_back() {
    let mut device = Device::updating();
    for _ in 0..10 {
        device.says("plant/pump", ModuleState::Running, None);
        device.says("plant/pump", ModuleState::BackOff, Some(1));
    }
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    assert_eq!((device.status("plant").version, device.status("plant").phase), (2, Phase::Running));
}

#[test]
fn what_an_engine_that_goes_away_does_to_modules_counts_for_nobody() {
    let mut device = Device::updating();
    device.sensor_fails(FAILURES - 1);
    device.tell(Event::EngineLost { problem: "start Docker".into() });
    device.sensor_fails(5);
    device.tell(Event::EngineBack);
    device.list();
    device.runs(&["plant/sensor"]);
    device.sensor_fails(FAILURES - 1);
    assert_eq!(device.status("plant").version, 2);
    // While it is away no probation passes.
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.tell(Event::EngineLost { problem: "start Docker".into() });
    device.pass(10 * PROBATION_MS);
    assert_eq!(device.lives["plant"].committed.as_ref().unwrap().release.version, 1);
    device.list();
    device.pass(PROBATION_MS);
    assert_eq!(device.lives["plant"].committed.as_ref().unwrap().release.version, 2);
}

#[test]
fn a_first_version_has_nothing_to_go_back_to_and_the_one_that_mends_it_does_not_wait() {
    let mut device = Device::new();
    device.assign(&[version("plant", 1)]);
    assert_eq!((device.status("plant").version, device.status("plant").coming), (0, Some(1)));
    assert_eq!(device.routes(), ["up1"]);
    device.has_images();
    device.list();
    assert_eq!(device.wanted(), ["pump", "sensor:1"]);
    device.runs(&["plant/pump"]);
    device.sensor_fails(7);
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.phase), (1, Phase::Switching));
    assert!(status.problem.contains("version 1 of plant fails, and there is none to go back to: sensor"));
    device.assign(&[version("plant", 2)]);
    device.has_images();
    device.list();
    assert_eq!(device.wanted(), ["sensor:2"]);
    // The module that goes on as it was is known to run well.
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.phase, status.problem.as_str()), (2, Phase::Running, ""));
}

#[test]
fn what_comes_replaces_what_is_tried_and_goes_back_to_what_was_committed() {
    let mut device = Device::updating();
    device.sensor_fails(FAILURES - 1);
    device.assign(&[version("plant", 3)]);
    device.has_images();
    device.list();
    assert_eq!(device.wanted(), ["sensor:3"]);
    // What the module said of version 2 is not held against version 3.
    device.sensor_fails(FAILURES - 1);
    assert_eq!(device.status("plant").version, 3);
    device.sensor_fails(1);
    assert_eq!(device.status("plant").version, 1);
}

#[test]
fn of_two_workloads_only_the_one_that_fails_goes_back() {
    let mut device = Device::new();
    for number in 1..=2 {
        device.assign(&[version("other", number), version("plant", number)]);
        let looks: Vec<_> = device.effects.clone();
        for effect in looks {
            if let Effect::Look { workload, images } = effect {
                let found = Ok(Images { missing: vec![], disk: None });
                device.tell(Event::Looked { workload, images, found });
            }
        }
        device.list();
        if number == 1 {
            device.runs(&["other/pump", "other/sensor", "plant/pump", "plant/sensor"]);
            device.pass(PROBATION_MS);
        }
    }
    device.runs(&["other/sensor"]);
    device.sensor_fails(FAILURES);
    assert_eq!(device.routes(), ["up2", "up1"]);
    device.list();
    assert_eq!(device.wanted(), ["sensor:1"]);
    device.pass(PROBATION_MS);
    assert_eq!((device.status("other").version, device.status("plant").version), (2, 1));
    assert_eq!(device.status("other").phase, Phase::Running);
}

#[test]
fn a_trial_goes_on_after_a_restart_from_its_beginning_and_not_for_ever() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS - 1);
    device.kill();
    device.list();
    device.runs(&["plant/pump", "plant/sensor"]);
    device.pass(PROBATION_MS - 1);
    assert_eq!(device.status("plant").phase, Phase::Probation);
    device.sensor_fails(FAILURES);
    assert_eq!(device.status("plant").version, 1);
    // Something in it may be what ends the daemon, or the device.
    let mut device = Device::updating();
    for _ in 0..STARTS {
        device.kill();
        assert_eq!(device.status("plant").version, 2);
    }
    device.kill();
    assert_eq!(device.status("plant").version, 1);
    assert!(device.status("plant").problem.contains("was started 5 times within its probation"));
}

#[test]
fn without_a_probation_and_without_a_changed_module_there_is_no_trial() {
    let mut device = Device::updating();
    let mut third = version("plant", 3);
    third.workload.update.probation_ms = 0;
    device.assign(&[third]);
    device.has_images();
    let life = &device.lives["plant"];
    assert_eq!((life.committed.as_ref().unwrap().release.version, &life.trial), (3, &None));
    let mut fourth = version("plant", 3);
    (fourth.version, fourth.workload.routes) = (4, vec![]);
    device.assign(&[fourth]);
    device.has_images();
    assert_eq!(device.lives["plant"].committed.as_ref().unwrap().release.version, 4);
    device.list();
    assert_eq!(device.wanted(), ["sensor:3"]);
}

#[test]
fn containers_are_left_alone_while_the_first_version_that_is_known_is_prepared() {
    // A daemon of before there were trials ran this; or what was known of the workload was damaged.
    let mut reconciler = fresh();
    at(&mut reconciler, 0, event(document(1, &[version("plant", 1)]), true));
    let there = container("c", Some(module("plant", "pump")), "pump", true);
    let orphan = container("o", Some(module("gone", "pump")), "pump", true);
    let effects = done(&mut reconciler, 0, observed(vec![there, orphan]));
    assert_eq!(effects, [super::orphan("o")]);
}

#[test]
fn a_second_version_within_the_probation_of_the_first_goes_back_to_the_last_that_proved_itself() {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS / 2);
    device.assign(&[version("plant", 3)]);
    device.has_images();
    device.list();
    assert_eq!(device.status("plant").version, 3);
    device.sensor_fails(FAILURES);
    let status = device.status("plant").clone();
    assert_eq!(status.version, 1, "version 2 ran, and had not proven that it runs well");
    assert!(status.problem.starts_with("version 3 of plant was taken back: "), "{status:?}");
    assert!(status.problem.ends_with("; version 1 runs"), "{status:?}");
    let record = |effect: &Effect| matches!(effect, Effect::TakenBack { version: 3, .. });
    assert_eq!(device.effects.iter().filter(|effect| record(effect)).count(), 1);
}
