//! One file, handed to the cloud or to a device of the LAN, runs on all devices it names.

use std::time::Duration;

use anyhow::Result;
use wayside_tests::{
    device::{Device, Options},
    lab::Lab,
    operator::Operator,
    wait::until_true,
};

use crate::workloads::idle;

#[test]
fn through_the_cloud() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a", "b", "c"])?;
    let file = lab.compose("one", &idle("one"))?;
    lab.operator().at(&cloud, &["apply", &file])?;
    for device in &devices {
        device.wait_running("one/idle")?;
    }
    until_true("the cloud to hear that all run", Duration::from_secs(20), || {
        let devices = lab.operator().json_at(&cloud, &["devices"])?;
        Ok(devices.to_string().matches("one/idle").count() >= 3)
    })?;
    lab.operator().at(&cloud, &["remove", "one"])?;
    for device in &devices {
        device.wait_gone("one/idle")?;
    }
    Ok(())
}

#[test]
fn over_the_lan_without_a_cloud() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::obeying(&lab)? };
    let devices =
        ["a", "b"].iter().map(|name| lab.device(name, &options)).collect::<Result<Vec<Device>>>()?;
    for device in &devices {
        device.wait_up()?;
    }
    let file = lab.compose("local", &idle("local"))?;
    lab.on_lan(lab.operator(), &file, &["apply", "/compose.yaml", "--lan"])?;
    for device in &devices {
        device.wait_running("local/idle")?;
    }
    Ok(())
}

#[test]
fn a_stranger_is_refused_by_the_cloud_and_by_devices() -> Result<()> {
    let lab = Lab::open()?;
    let stranger = Operator::new(lab.binaries().path("wayside"))?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let ours = lab.compose("ours", &idle("ours"))?;
    lab.operator().at(&cloud, &["apply", &ours])?;
    let file = lab.compose("foreign", &idle("foreign"))?;
    let at_cloud = stranger.try_at(&cloud, &["apply", &file])?;
    assert_eq!(at_cloud.code, 1, "{at_cloud}");
    let on_lan = lab.on_lan(&stranger, &file, &["apply", "/compose.yaml", "--lan", "--timeout", "5"]);
    assert!(on_lan.is_err(), "{on_lan:?}");
    assert!(devices[0].modules("foreign/idle")?.is_empty(), "a stranger's release runs");
    devices[0].wait_running("ours/idle")?;
    Ok(())
}

#[test]
fn a_device_that_was_away_gets_what_was_applied_from_its_neighbours() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::obeying(&lab)? };
    let devices =
        ["a", "b", "c"].iter().map(|name| lab.device(name, &options)).collect::<Result<Vec<Device>>>()?;
    for device in &devices {
        device.wait_up()?;
    }
    let [a, b, c] = devices.as_slice() else { unreachable!("three devices") };
    let apply = |name: &str, text: &str| {
        let file = lab.compose(name, text)?;
        lab.on_lan(lab.operator(), &file, &["apply", "/compose.yaml", "--lan"])
    };
    apply("first", &idle("first"))?;
    apply("second", &idle("second"))?;
    c.wait_running("first/idle")?;
    c.wait_running("second/idle")?;
    let before = c.module("first/idle")?["Id"].clone();
    c.signal("KILL")?;
    until_true("the others to miss it", Duration::from_secs(60), || {
        Ok(a.status()?["peers"].as_array().is_some_and(|peers| peers.len() == 1))
    })?;
    // Two times, with a restart of those who keep it in between: one workload changes, one goes, and one comes.
    let changed = idle("second").replace("EWR", "JFK");
    assert_ne!(changed, idle("second"));
    let said = apply("second", &changed)?;
    assert!(said.contains("is on 2 device(s); 1 away") && said.contains(": c"), "{said}");
    for keeper in [a, b] {
        keeper.signal("KILL")?;
        keeper.start_again()?;
        keeper.wait_up()?;
    }
    until_true("them to find each other again", Duration::from_secs(30), || {
        Ok(a.status()?["peers"].as_array().is_some_and(|peers| peers.len() == 1))
    })?;
    apply("third", &idle("third"))?;
    let said =
        lab.on_lan(lab.operator(), &lab.compose("third", &idle("third"))?, &["remove", "first", "--lan"])?;
    assert!(said.contains("1 away") && said.contains(": c"), "{said}");
    assert_eq!(c.module("first/idle")?["Id"], before, "it changed while the daemon was away");
    c.start_again()?;
    c.wait_running("third/idle")?;
    c.wait_gone("first/idle")?;
    until_true("the version that it missed", Duration::from_secs(30), || {
        let entries = c.module("second/idle")?["Config"]["Env"].to_string();
        Ok(entries.contains("STATION=JFK"))
    })?;
    // And once more while it is there: the numbers go on where they were.
    apply("third", &idle("third").replace("EWR", "JFK"))?;
    until_true("the next version", Duration::from_secs(30), || {
        Ok(c.module("third/idle")?["Config"]["Env"].to_string().contains("STATION=JFK"))
    })
}
