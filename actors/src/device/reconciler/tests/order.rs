//! Modules that depend on others: started after them, stopped before them.

use wayside_config::workload::{Condition, Dependency};

use super::{updates::device::Device, *};
use crate::report::{Health, ModuleState};

/// `web` depends on `base` as said, and `base` on nobody.
fn workload(version: u64, base: &str, dependency: Dependency) -> Release {
    let mut release = release("plant", version, base);
    let sensor = release.workload.modules.remove("sensor").unwrap();
    release.workload.modules.insert("base".into(), sensor);
    let depends_on = BTreeMap::from([("base".into(), dependency)]);
    release.workload.modules.insert("web".into(), ModuleSpec { depends_on, ..spec("web") });
    release.workload.routes.clear();
    release
}

fn on(condition: Condition) -> Dependency {
    Dependency { condition, ..Dependency::default() }
}

fn assigned(dependency: Dependency) -> Device {
    let mut device = Device::new();
    device.assign(&[workload(1, "base:1", dependency)]);
    device.has_images();
    device.list();
    device
}

fn unwanted(device: &Device) -> Vec<&str> {
    let gone = device.effects.iter().filter_map(|effect| {
        let Effect::Unwant(module) = effect else { return None };
        Some(&*module.module)
    });
    gone.collect()
}

#[test]
fn a_module_is_started_when_what_it_depends_on_is_as_its_condition_says() {
    use ModuleState::{BackOff, Ended, Running};
    let healthy = Some(Health::Healthy);
    for (condition, not_yet, then) in [
        (Condition::Started, (ModuleState::Creating, None, None), (Running, None, None)),
        (Condition::Healthy, (Running, None, Some(Health::Starting)), (Running, None, healthy)),
        (Condition::Completed, (Running, None, None), (Ended, Some(0), None)),
        (Condition::Completed, (Ended, Some(1), None), (Ended, Some(0), None)),
        (Condition::Healthy, (BackOff, Some(1), None), (Running, None, healthy)),
    ] {
        let mut device = assigned(on(condition));
        assert_eq!(device.wanted(), ["base:1"], "{condition:?}");
        assert!(device.status("plant").problem.starts_with("web waits until base is "));
        let (state, exit_code, health) = not_yet;
        device.says_of_health("plant/base", state, exit_code, health);
        device.list();
        assert_eq!(device.wanted(), [""; 0], "{condition:?}");
        let (state, exit_code, health) = then;
        device.says_of_health("plant/base", state, exit_code, health);
        assert!(device.effects.contains(&Effect::List), "nobody looks: {condition:?}");
        device.list();
        assert_eq!(device.wanted(), ["web"], "{condition:?}");
        assert!(!device.status("plant").problem.contains("waits"));
    }
}

#[test]
fn one_that_is_not_required_holds_nobody_up_when_it_has_failed() {
    let mut device = assigned(Dependency { required: false, ..on(Condition::Healthy) });
    device.says_of_health("plant/base", ModuleState::Running, None, Some(Health::Starting));
    device.list();
    assert_eq!(device.wanted(), [""; 0]);
    device.says("plant/base", ModuleState::BackOff, Some(1));
    device.list();
    assert_eq!(device.wanted(), ["web"]);
}

#[test]
fn what_runs_already_is_adopted_and_not_stopped_to_wait() {
    let mut device = assigned(on(Condition::Healthy));
    device.kill();
    let web = container("w", Some(module("plant", "web")), "web", true);
    let old = container("b", Some(module("plant", "base")), "base:0", true);
    device.tell(observed(vec![web, old]));
    assert_eq!(device.wanted(), ["base:1", "web"]);
    // It ended while nobody watched: then it waits, and its container stays.
    device.kill();
    let web = container("w", Some(module("plant", "web")), "web", false);
    device.tell(observed(vec![web]));
    assert_eq!(device.wanted(), ["base:1"]);
    assert!(!device.effects.contains(&orphan("w")), "{:?}", device.effects);
}

#[test]
fn modules_go_after_those_that_depend_on_them() {
    let mut device = assigned(on(Condition::Started));
    device.runs(&["plant/base"]);
    device.list();
    device.assign(&[]);
    assert_eq!(unwanted(&device), ["web"]);
    // The container of the one that waits is nobody's orphan.
    device.tell(observed(vec![container("b", Some(module("plant", "base")), "base:1", true)]));
    assert!(!device.effects.contains(&orphan("b")), "{:?}", device.effects);
    // Nor does it go because something else changes meanwhile.
    device.assign(&[release("other", 1, "sensor")]);
    assert_eq!(unwanted(&device), [""; 0]);
    device.tell(Event::ModuleGone(module("plant", "web")));
    assert_eq!(unwanted(&device), ["base"]);
}

#[test]
fn one_that_wants_to_be_started_again_after_another_one_is() {
    for restart in [true, false] {
        let dependency = Dependency { restart, ..on(Condition::Started) };
        let mut device = assigned(dependency);
        device.runs(&["plant/base"]);
        device.list();
        device.runs(&["plant/web"]);
        device.assign(&[workload(2, "base:2", dependency)]);
        device.has_images();
        device.list();
        assert_eq!(device.wanted(), ["base:2"]);
        device.runs(&["plant/base"]);
        device.list();
        let again = Effect::Restart(module("plant", "web"));
        assert_eq!(device.effects.contains(&again), restart, "{:?}", device.effects);
        device.list();
        assert!(!device.effects.contains(&again), "again and again");
    }
}
