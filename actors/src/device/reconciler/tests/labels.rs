//! Modules whose environment names labels of the device.

use wayside_config::template::Part;

use super::{updates::device::Device, *};
use crate::report::Phase;

/// `sensor` wants the label `plant`, and `pump` none.
fn labelled(number: u64) -> Release {
    let mut release = updates::device::version("plant", number);
    let sensor = release.workload.modules.get_mut("sensor").unwrap();
    sensor.templates = BTreeMap::from([("PLANT".into(), vec![Part::Label("plant".into())])]);
    release
}

fn plant(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("plant".to_owned(), value.to_owned())])
}

/// What modules are told to run, with the variable.
fn wanted(device: &Device) -> Vec<(String, Option<String>)> {
    let wanted = device.effects.iter().filter_map(|effect| {
        let Effect::Want { module, spec, .. } = effect else { return None };
        Some((module.to_string(), spec.environment.get("PLANT").cloned()))
    });
    wanted.collect()
}

fn running() -> Device {
    let mut device = Device::new();
    device.tell(Event::Labels(plant("p7")));
    device.labels = plant("p7");
    device.assign(&[labelled(1)]);
    device.has_images();
    device.list();
    device
}

#[test]
fn a_changed_label_changes_the_modules_that_use_it_and_no_other() {
    let mut device = running();
    let both = [("plant/pump".to_owned(), None), ("plant/sensor".to_owned(), Some("p7".to_owned()))];
    assert_eq!(wanted(&device), both);
    let mut labels = plant("p7");
    labels.insert("line".into(), "3".into());
    device.tell(Event::Labels(labels));
    device.list();
    assert_eq!(wanted(&device), []);
    device.tell(Event::Labels(plant("p8")));
    device.list();
    assert_eq!(wanted(&device), [("plant/sensor".to_owned(), Some("p8".to_owned()))]);
}

#[test]
fn a_version_that_wants_a_label_that_is_not_there_waits_for_it() {
    let mut device = Device::new();
    device.assign(&[labelled(1)]);
    assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. })));
    let says = "plant/sensor wants the label `plant` in PLANT, and this device was not granted one";
    assert!(device.status("plant").problem.contains(says), "{:?}", device.status("plant"));
    device.tell(Event::Labels(plant("p7")));
    device.has_images();
    device.list();
    assert_eq!(wanted(&device).len(), 2);
    assert_eq!(device.status("plant").phase, Phase::Switching);
    assert_eq!(device.status("plant").problem, "");
}

#[test]
fn what_runs_stays_as_it_is_when_its_label_is_taken_away_also_after_a_restart() {
    let mut device = running();
    device.tell(Event::Labels(BTreeMap::new()));
    let problems = device.effects.iter().rev().find_map(|effect| {
        let Effect::Problems(problems) = effect else { return None };
        Some(problems.concat())
    });
    assert!(problems.is_some_and(|problems| problems.contains("what runs already runs on as it is")));
    let runs = || container("c1", Some(module("plant", "sensor")), "of another label", true);
    device.tell(observed(vec![runs()]));
    assert!(
        !device
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Unwant(_) | Effect::RemoveOrphan { .. }))
    );
    device.labels.clear();
    device.kill();
    device.tell(observed(vec![runs()]));
    assert_eq!(wanted(&device), [("plant/pump".to_owned(), None)]);
    assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::RemoveOrphan { .. })));
}
