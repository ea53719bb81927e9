//! Devices on one LAN find each other.

use std::time::Duration;

use anyhow::Result;
use wayside_tests::{
    device::{Device, Options},
    lab::Lab,
    wait::until_true,
};

#[test]
fn three_devices_find_each_other_and_notice_who_is_gone() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::default() };
    let devices =
        ["a", "b", "c"].iter().map(|name| lab.device(name, &options)).collect::<Result<Vec<Device>>>()?;
    for device in &devices {
        device.wait_up()?;
    }
    let waiting = |table: &str| table.matches("waits to be admitted").count();
    until_true("three devices in the lobby", Duration::from_secs(20), || {
        Ok(waiting(&devices[0].wayside(&["devices"])?) == 3)
    })?;
    devices[0].wayside(&["approve", "--all", "--yes"])?;
    for device in &devices {
        until_true("two neighbours", Duration::from_secs(20), || Ok(peers(device)? == 2))?;
    }
    let table = devices[0].wayside(&["devices"])?;
    for name in ["a", "b", "c"] {
        assert!(table.lines().any(|line| line.split_whitespace().any(|word| word == name)), "{table}");
    }
    devices[1].signal("KILL")?;
    until_true("one neighbour", Duration::from_secs(30), || Ok(peers(&devices[0])? == 1))?;
    devices[1].start_again()?;
    until_true("two neighbours again", Duration::from_secs(30), || Ok(peers(&devices[0])? == 2))
}

fn peers(device: &Device) -> Result<usize> {
    Ok(device.status()?["peers"].as_array().map_or(0, Vec::len))
}
