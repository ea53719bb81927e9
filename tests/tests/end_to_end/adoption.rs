//! The daemon comes and goes; the containers stay.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use wayside_tests::{
    build::WEATHER_IMAGE,
    device::Device,
    engine::{self, docker},
    lab::Lab,
    wait::until_true,
};

use crate::workloads::idle;

#[test]
fn a_killed_daemon_adopts_its_containers() -> Result<()> {
    let lab = Lab::open()?;
    let device = with_module(&lab)?;
    let before = device.module("one/idle")?;
    device.signal("KILL")?;
    assert!(runs(&before)?, "the module runs without the daemon");
    device.start_again()?;
    device.wait_up()?;
    std::thread::sleep(Duration::from_secs(3));
    let after = device.module("one/idle")?;
    assert_eq!(life(&before), life(&after), "the same container, not started again");
    Ok(())
}

#[test]
fn a_module_that_ended_meanwhile_is_started() -> Result<()> {
    let lab = Lab::open()?;
    let device = with_module(&lab)?;
    let before = device.module("one/idle")?;
    device.signal("KILL")?;
    docker(["kill", id(&before)])?;
    device.start_again()?;
    device.wait_up()?;
    assert_eq!(device.wait_running("one/idle")?["Id"], before["Id"], "started, not made anew");
    Ok(())
}

#[test]
fn an_orphan_is_removed_and_nothing_else() -> Result<()> {
    let lab = Lab::open()?;
    let device = with_module(&lab)?;
    let mine = format!("wayside.device={}", device.key()?);
    let orphan = bystander(&lab, "orphan", &[&mine, "wayside.module=gone/idle", "wayside.spec=00"])?;
    let stranger =
        bystander(&lab, "stranger", &["wayside.device=somebody-else", "wayside.module=gone/idle"])?;
    let plain = bystander(&lab, "plain", &[])?;
    device.signal("KILL")?;
    device.start_again()?;
    device.wait_up()?;
    until_true(
        "the orphan to be removed",
        Duration::from_secs(30),
        || Ok(engine::inspect(&orphan).is_err()),
    )?;
    for other in [stranger, plain] {
        assert!(runs(&engine::inspect(&other)?)?, "{other} is not ours and was touched");
    }
    Ok(())
}

#[test]
fn a_terminated_daemon_leaves_its_modules_running() -> Result<()> {
    let lab = Lab::open()?;
    let device = with_module(&lab)?;
    let before = device.module("one/idle")?;
    device.signal("TERM")?;
    assert_eq!(device.wait_ended(Duration::from_secs(15))?, 0, "{}", device.log()?);
    assert!(runs(&before)?, "the module was stopped");
    device.start_again()?;
    device.wait_up()?;
    assert_eq!(life(&before), life(&device.wait_running("one/idle")?));
    Ok(())
}

#[test]
fn a_boot_without_any_network_starts_the_modules() -> Result<()> {
    let lab = Lab::open()?;
    let device = with_module(&lab)?;
    let before = device.module("one/idle")?;
    device.signal("KILL")?;
    docker(["kill", id(&before)])?;
    device.cut_uplink()?;
    device.cut_lan()?;
    device.start_again()?;
    device.wait_up()?;
    device.wait_running("one/idle")?;
    Ok(())
}

fn with_module(lab: &Lab) -> Result<Device> {
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let file = lab.compose("one", &idle("one"))?;
    lab.operator().at(&cloud, &["apply", &file])?;
    let device = devices.remove(0);
    device.wait_running("one/idle")?;
    Ok(device)
}

/// A container that the daemon did not make.
fn bystander(lab: &Lab, name: &str, labels: &[&str]) -> Result<String> {
    let (container, ours) = (lab.name(name), lab.label());
    let mut arguments = vec!["run", "--detach", "--name", &container, "--label", &ours];
    for label in labels {
        arguments.extend(["--label", label]);
    }
    arguments.extend([WEATHER_IMAGE, "/weather-sensor"]);
    docker(arguments)?;
    Ok(container)
}

/// What changes when a container is made or started again.
fn life(container: &Value) -> [&Value; 4] {
    let state = &container["State"];
    [&container["Id"], &container["RestartCount"], &state["StartedAt"], &state["Pid"]]
}

fn id(container: &Value) -> &str {
    container["Id"].as_str().unwrap_or_default()
}

fn runs(container: &Value) -> Result<bool> {
    Ok(engine::inspect(id(container))?["State"]["Running"] == true)
}
