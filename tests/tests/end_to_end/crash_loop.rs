//! A module that ends again and again is started ever more rarely, and does not hold up anything else.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use wayside_tests::{build::WEATHER_IMAGE, lab::Lab};

#[test]
fn a_crashing_module_backs_off() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    // A rate that is no number ends the program at once, with code 1.
    let text = format!(
        "name: loop\n\
         services:\n\
         \x20 crash:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-sensor]\n\
         \x20   environment: {{SENSOR_RATE: x}}\n\
         \x20 good:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-detector]\n\
         \x20   environment: {{STATION: EWR}}\n\
         x-wayside: {{target: all}}\n"
    );
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("loop", &text)?])?;
    devices[0].wait_running("loop/good")?;
    let started = Instant::now();
    let (mut starts, mut seen) = (BTreeSet::new(), Vec::new());
    while started.elapsed() < Duration::from_secs(25) {
        if let Ok(container) = devices[0].module("loop/crash")
            && starts.insert(container["State"]["StartedAt"].to_string())
        {
            seen.push(started.elapsed());
        }
        thread::sleep(Duration::from_millis(200));
    }
    assert!((3..=7).contains(&starts.len()), "{} starts in 25 s", starts.len());
    let waits: Vec<_> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 2 && waits.is_sorted(), "{waits:?}");
    let status = devices[0].status()?;
    let module = &status["modules"]["loop/crash"];
    assert_eq!(module["exit_code"], 1, "{status}");
    assert!(module["restarts"].as_u64() >= Some(2), "{status}");
    assert_eq!(status["modules"]["loop/good"]["restarts"], 0, "{status}");
    Ok(())
}
