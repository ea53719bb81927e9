//! Several workloads publish the same port: the one of the highest priority has it.

use wayside_config::workload::PortMapping;

use super::{
    updates::device::{Device, version},
    *,
};
use crate::report::Phase;

/// A version whose `sensor` publishes port 8080.
fn publishing(workload: &str, number: u64, priority: u8) -> Release {
    let mut release = version(workload, number);
    release.workload.priority = priority;
    let port = PortMapping { host_ip: None, host_port: 8080, container_port: 80, udp: false };
    if let Some(sensor) = release.workload.modules.get_mut("sensor") {
        sensor.ports.push(port);
    }
    release
}

fn asks_for(device: &Device) -> Vec<&str> {
    let looks = device.effects.iter().filter_map(|effect| {
        let Effect::Look { workload, .. } = effect else { return None };
        Some(workload.as_str())
    });
    looks.collect()
}

/// The engine has all images of a workload.
fn has(device: &mut Device, workload: &str, number: u64) {
    let images = vec!["pump".to_owned(), format!("sensor:{number}")];
    let found = Ok(Images { missing: vec![], disk: None });
    device.tell(Event::Looked { workload: workload.into(), images, found });
}

#[test]
fn the_lower_priority_is_not_prepared_and_says_which_two_want_the_port() {
    let mut device = Device::new();
    device.assign(&[publishing("a", 1, 4), publishing("b", 1, 5)]);
    assert_eq!(asks_for(&device), ["b"]);
    let expected = "version 1 of a waits: a/sensor publishes port 8080/tcp of the device, which b/sensor has (priority 5, and this workload 4): publish another port, or change a `priority` under `x-wayside`";
    assert_eq!(device.status("a").problem, expected);
    assert_eq!(device.status("b").problem, "");
    // It has its turn when the other one goes.
    device.assign(&[publishing("a", 1, 4)]);
    assert_eq!(asks_for(&device), ["a"]);
    assert_eq!(device.status("a").problem, "");
}

#[test]
fn of_the_same_priority_the_one_that_has_it_keeps_it() {
    let mut device = Device::new();
    device.assign(&[publishing("b", 1, 4)]);
    has(&mut device, "b", 1);
    device.assign(&[publishing("a", 1, 4), publishing("b", 1, 4)]);
    assert!(device.status("a").problem.contains("which b/sensor has"), "{:?}", device.status("a"));
    device.assign(&[publishing("a", 1, 4), version("b", 2)]);
    assert_eq!(asks_for(&device), ["a", "b"]);
}

#[test]
fn who_runs_with_it_leaves_it_to_a_higher_priority_when_that_is_ready_and_not_before() {
    let mut device = Device::new();
    device.assign(&[publishing("low", 1, 4)]);
    has(&mut device, "low", 1);
    device.list();
    device.runs(&["low/pump", "low/sensor"]);
    device.assign(&[publishing("high", 1, 9), publishing("low", 1, 4)]);
    assert_eq!(device.status("low").problem, "");
    let goes = |device: &Device| {
        let gone = device.effects.iter().filter_map(|effect| {
            let Effect::Unwant(module) = effect else { return None };
            Some(module.to_string())
        });
        gone.collect::<Vec<_>>()
    };
    assert_eq!(goes(&device), [""; 0]);
    has(&mut device, "high", 1);
    assert_eq!(goes(&device), ["low/pump", "low/sensor"]);
    let status = device.status("low").clone();
    assert!(status.problem.starts_with("low is stopped: low/sensor publishes port 8080/tcp"), "{status:?}");
    assert_eq!(status.phase, Phase::Switching);
    // That nothing of it runs is no proof that it runs well.
    device.pass(10 * 60_000);
    assert!(device.lives["low"].trial.is_some());
    // The higher one goes, and it is there again.
    device.assign(&[publishing("low", 1, 4)]);
    for name in ["pump", "sensor"] {
        device.tell(Event::ModuleGone(module("low", name)));
    }
    device.list();
    assert_eq!(device.wanted(), ["pump", "sensor:1"]);
    assert_eq!(device.status("low").problem, "");
}
