//! The uplink goes and comes: nothing is lost, nothing is doubled, and the modules notice nothing.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use wayside_tests::{
    engine::docker,
    lab::Lab,
    wait::{until, until_true},
    weather::{Expected, Tally},
};

use crate::workloads::weather;

const ROWS: usize = 1000;

#[test]
fn a_cut_and_a_restored_uplink() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["ewr"])?;
    let device = &devices[0];
    lab.operator().at(&cloud, &["apply", &lab.compose("weather", &weather(ROWS)?)?])?;
    until_true("the first messages", Duration::from_secs(40), || Ok(cloud.messages(0)?.len() > 50))?;
    device.cut_uplink()?;
    thread::sleep(Duration::from_secs(2));
    let during = cloud.messages(0)?.len();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(cloud.messages(0)?.len(), during, "the uplink is not cut");
    let status = device.status()?;
    assert!(status.to_string().contains("observations"), "its queue is not shown: {status}");
    device.restore_uplink()?;

    let expected = Expected::compute(lab.binaries(), Some(ROWS))?;
    let tally = until("all rows", Duration::from_secs(60), || {
        let tallies = expected.compare(&cloud.messages(0)?);
        Ok(tallies.get("ewr").filter(|tally| tally.delivered == ROWS as u64).cloned())
    })?;
    assert_eq!(Tally { alarms: 0, alarms_missing: 0, ..tally }, once(ROWS as u64));
    Ok(())
}

#[test]
fn the_cloud_killed_while_messages_flow() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, _devices) = lab.fleet(&["jfk"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("weather", &weather(ROWS)?)?])?;
    until_true("the first messages", Duration::from_secs(40), || Ok(cloud.messages(0)?.len() > 100))?;
    for _ in 0..2 {
        cloud.kill()?;
        cloud.start_again()?;
        thread::sleep(Duration::from_secs(2));
    }
    let expected = Expected::compute(lab.binaries(), Some(ROWS))?;
    let tally = until("all rows", Duration::from_secs(60), || {
        let tallies = expected.compare(&cloud.messages(0)?);
        Ok(tallies.get("jfk").filter(|tally| tally.delivered == ROWS as u64).cloned())
    })?;
    assert_eq!(Tally { alarms: 0, alarms_missing: 0, ..tally }, once(ROWS as u64));
    Ok(())
}

#[test]
fn a_reboot_without_any_network_runs_the_modules_and_keeps_their_messages_for_the_cloud() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["lga"])?;
    let device = &devices[0];
    lab.operator().at(&cloud, &["apply", &lab.compose("weather", &weather(ROWS)?)?])?;
    let stored = || -> Result<u64> {
        Ok(cloud
            .counts()?
            .iter()
            .filter(|count| count.route == "weather/observations")
            .map(|c| c.stored)
            .sum())
    };
    until_true("the first messages", Duration::from_secs(40), || Ok(stored()? > 20))?;
    device.cut_uplink()?;
    device.cut_lan()?;
    // The sensor sends all that it has, once in each of its lives; the daemon counts since it started.
    let all_are_in = || {
        until_true("all rows in the queue for the cloud", Duration::from_secs(60), || {
            let queues = device.status()?["queues"].clone();
            let queues = queues.as_object().context("queues")?;
            let mut ours = queues.iter().filter(|(name, _)| name.contains("weather/observations"));
            Ok(ours.any(|(_, queue)| queue["appended"] == ROWS && queue["dropped"] == 0))
        })
    };
    all_are_in()?;
    let before = stored()?;
    ensure!(before < ROWS as u64, "the uplink was cut too late for the test to show anything");

    // As by a machine that loses its power: the daemon is gone at once, and the modules with it.
    let modules = [device.module("weather/sensor")?, device.module("weather/detector")?];
    device.signal("KILL")?;
    for module in modules {
        docker(["kill", module["Id"].as_str().context("an id")?])?;
    }
    device.start_again()?;
    device.wait_up()?;
    device.wait_running("weather/sensor")?;
    device.wait_running("weather/detector")?;
    all_are_in()?;
    assert_eq!(stored()?, before, "the uplink is not cut");

    device.restore_lan()?;
    device.restore_uplink()?;
    until_true("all rows at the cloud", Duration::from_secs(60), || Ok(stored()? >= 2 * ROWS as u64))?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(stored()?, 2 * ROWS as u64, "stored twice");
    Ok(())
}

fn once(rows: u64) -> Tally {
    Tally { sent: rows, delivered: rows, ..Tally::default() }
}
