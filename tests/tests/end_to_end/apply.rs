//! One file, handed to the cloud or to a device of the LAN, runs on all devices it names.

use std::time::Duration;

use anyhow::Result;
use wayside_tests::{
    device::{Device, Options},
    lab::Lab,
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
    lab.operator_on_lan(&file, &["apply", "/compose.yaml", "--lan"])?;
    for device in &devices {
        device.wait_running("local/idle")?;
    }
    Ok(())
}

#[test]
fn a_device_obeys_only_its_operators() -> Result<()> {
    let lab = Lab::open()?;
    let stranger = wayside_tests::operator::Operator::new(lab.binaries().path("wayside"))?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let file = lab.compose("foreign", &idle("foreign"))?;
    // The cloud may take or refuse it; the device does not run it.
    let _answer = stranger.try_at(&cloud, &["apply", "--no-wait", &file])?;
    let file = lab.compose("ours", &idle("ours"))?;
    lab.operator().at(&cloud, &["apply", &file])?;
    std::thread::sleep(Duration::from_secs(5));
    assert!(devices[0].modules("foreign/idle")?.is_empty(), "a stranger's release runs");
    Ok(())
}
