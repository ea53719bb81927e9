//! A version that is ready is held back: by a lock, by a window. What else the device does is not.

use super::{
    updates::device::{Device, version},
    *,
};
use crate::{
    device::reconciler::{FAILURES, LOCK_MAX_MS, Owner},
    report::{ModuleState, Phase},
};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn lock(owner: Owner, for_ms: u64, wall_ms: u64, ticket: Option<u64>) -> Event {
    Event::Lock { owner, for_ms, reason: "filling a tank".into(), wall_ms, ticket }
}

fn sensor() -> Owner {
    Owner::Module(module("plant", "sensor"))
}

/// Version 2 runs and is committed.
fn settled() -> Device {
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(60_000);
    assert_eq!(device.status("plant").phase, Phase::Running);
    device
}

/// Version 3 is assigned, and its images are there.
fn comes(device: &mut Device, change: impl FnOnce(&mut Release)) {
    let mut release = version("plant", 3);
    change(&mut release);
    device.assign(&[release]);
    device.has_images();
}

#[test]
fn a_module_holds_updates_of_its_workload_back_and_lets_them_go_on() {
    let mut device = settled();
    device.tell(lock(sensor(), HOUR_MS, device.now, Some(7)));
    assert_eq!(device.effects, [Effect::LockTaken { ticket: 7 }]);
    comes(&mut device, |_| {});
    let status = device.status("plant").clone();
    assert_eq!((status.version, status.coming, status.phase), (2, Some(3), Phase::Preparing));
    let expected = "version 3 of plant is ready and waits: plant/sensor holds updates back until 1970-01-01 01:02 UTC (filling a tank); version 2 runs on";
    assert_eq!(status.problem, expected);
    assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::Problems(_))), "that is no problem");
    // Another daemon holds to it, for the module was told so.
    device.kill();
    device.has_images();
    assert_eq!(device.status("plant").version, 2);
    device.tell(lock(sensor(), 0, device.now, Some(8)));
    assert!(device.effects.contains(&Effect::LockTaken { ticket: 8 }));
    device.has_images();
    assert_eq!((device.status("plant").version, device.status("plant").problem.as_str()), (3, ""));
}

#[test]
fn a_lock_ends_by_itself_when_its_module_is_dead() {
    let mut device = settled();
    device.tell(lock(sensor(), u64::MAX, device.now, None));
    comes(&mut device, |_| {});
    let mut waited_ms = 0;
    while device.status("plant").version == 2 {
        device.pass(60_000);
        waited_ms += 60_000;
        device.has_images();
        assert!(waited_ms <= LOCK_MAX_MS, "it is held back for ever");
    }
    assert_eq!(waited_ms, LOCK_MAX_MS);
}

#[test]
fn an_operator_holds_all_back_and_ends_locks_of_others() {
    let mut device = settled();
    device.tell(lock(Owner::Operator, HOUR_MS, device.now, None));
    device.tell(lock(sensor(), HOUR_MS, device.now, None));
    comes(&mut device, |_| {});
    device.tell(lock(Owner::Operator, 0, device.now, None));
    device.has_images();
    assert!(device.status("plant").problem.contains("plant/sensor holds updates back"));
    device.tell(lock(sensor(), 0, device.now, None));
    device.has_images();
    assert_eq!(device.status("plant").version, 3);
}

#[test]
fn a_lock_of_another_workload_or_of_nobody_holds_nothing_back() {
    let mut device = settled();
    device.tell(lock(Owner::Module(module("plant", "ghost")), HOUR_MS, device.now, Some(1)));
    assert!(matches!(device.effects[..], [Effect::LockRefused { ticket: 1, .. }]));
    device.assign(&[version("other", 1), version("plant", 2)]);
    device.has_images();
    device.tell(lock(Owner::Module(module("other", "sensor")), HOUR_MS, device.now, Some(2)));
    let other = version("other", 1);
    device.assign(&[other.clone(), version("plant", 3)]);
    device.has_images();
    assert_eq!(device.status("plant").version, 3);
    // Who is taken off holds nothing back when it comes again.
    device.assign(&[version("plant", 3)]);
    assert_eq!(device.locks, Default::default());
}

#[test]
fn a_version_waits_for_the_window_and_only_to_replace_one() {
    let mut device = Device::new();
    // A Thursday at midnight.
    device.windows = vec!["thu 02:00-03:00".parse().unwrap()];
    device.kill();
    device.assign(&[version("plant", 1)]);
    device.has_images();
    assert_eq!(device.status("plant").version, 1, "the first version interrupts nothing");
    device.assign(&[version("plant", 3)]);
    device.has_images();
    let problem = device.status("plant").problem.clone();
    assert!(
        problem.contains("waits: the next maintenance window opens at 1970-01-01 02:00 UTC"),
        "{problem}"
    );
    device.pass(2 * HOUR_MS - 1);
    device.has_images();
    assert_eq!(device.status("plant").version, 1);
    device.pass(1);
    device.has_images();
    assert_eq!(device.status("plant").version, 3);
}

#[test]
fn the_devices_windows_go_before_those_of_the_release_and_an_operator_before_both() {
    let never_now = |release: &mut Release| {
        release.workload.update.windows = vec!["sun 02:00-03:00".parse().unwrap()];
    };
    let mut device = settled();
    comes(&mut device, never_now);
    assert!(device.status("plant").problem.contains("window opens at 1970-01-04 02:00 UTC"));
    device.windows = vec!["thu 00:00-24:00".parse().unwrap()];
    device.kill();
    device.has_images();
    assert_eq!(device.status("plant").version, 3);

    let mut device = settled();
    comes(&mut device, |release| {
        never_now(release);
        release.workload.update.now = true;
    });
    assert_eq!(device.status("plant").version, 3);

    // Not before a lock: who holds one back knows what an operator far away does not.
    let mut device = settled();
    device.tell(lock(sensor(), HOUR_MS, device.now, None));
    comes(&mut device, |release| release.workload.update.now = true);
    assert_eq!(device.status("plant").version, 2);
}

#[test]
fn nobody_holds_back_what_is_taken_back() {
    let mut device = Device::updating();
    device.tell(lock(sensor(), HOUR_MS, device.now, None));
    device.sensor_fails(FAILURES);
    assert_eq!((device.status("plant").version, device.status("plant").phase), (1, Phase::RollingBack));
    device.list();
    assert_eq!(device.wanted(), ["sensor:1"]);
    device.says("plant/sensor", ModuleState::Running, None);
    assert_eq!(device.status("plant").phase, Phase::Running);
}

#[test]
fn images_that_went_while_it_was_held_back_are_got_again() {
    let mut device = settled();
    device.tell(lock(sensor(), HOUR_MS, device.now, None));
    comes(&mut device, |_| {});
    device.tell(lock(sensor(), 0, device.now, None));
    let images = vec!["pump".to_owned(), "sensor:3".into()];
    let missing = vec!["sensor:3".to_owned()];
    let found = Ok(Images { missing: missing.clone(), disk: None });
    device.tell(Event::Looked { workload: "plant".into(), images, found });
    assert!(
        device
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Pull { images, .. } if *images == missing))
    );
    device.tell(Event::Got { image: "sensor:3".into() });
    device.tell(Event::Pulled { workload: "plant".into(), images: missing, result: Ok(()) });
    assert_eq!(device.status("plant").version, 3);
}
