//! The demo in small: three devices, one daemon killed, every row and alarm once.

use std::time::Duration;

use anyhow::Result;
use wayside_tests::{
    lab::Lab,
    wait::{until, until_true},
    weather::{DEVICES, Expected, Tally},
};

use crate::workloads;

const ROWS: usize = 1000;

#[test]
fn every_row_and_alarm_arrives_once() -> Result<()> {
    let lab = Lab::open()?;
    let expected = Expected::compute(lab.binaries(), Some(ROWS))?;
    let (cloud, devices) = lab.fleet(&DEVICES)?;
    lab.operator().at(&cloud, &["apply", &lab.compose("weather", &workloads::weather(ROWS)?)?])?;
    until_true("the first messages", Duration::from_secs(60), || Ok(cloud.messages(0)?.len() > 200))?;
    devices[1].signal("KILL")?;
    devices[1].start_again()?;
    let (rows, alarms) = expected.totals();
    assert!(alarms > 3, "too few alarms to tell");
    let sum = until("all rows and alarms", Duration::from_secs(120), || {
        let sum = Tally::sum(expected.compare(&cloud.messages(0)?).values());
        Ok((sum.delivered == rows && sum.alarms_missing == 0).then_some(sum))
    })?;
    assert!(sum.is_whole(), "{sum:?}");
    Ok(())
}
