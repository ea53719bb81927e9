//! The uplink goes and comes: nothing is lost, nothing is doubled, and the modules notice nothing.

use std::{thread, time::Duration};

use anyhow::Result;
use wayside_tests::{
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

fn once(rows: u64) -> Tally {
    Tally { sent: rows, delivered: rows, ..Tally::default() }
}
