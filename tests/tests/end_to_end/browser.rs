//! The cloud's page in a real browser.

use std::{fs, process::Command, time::Duration};

use anyhow::{Result, ensure};
use wayside_tests::{cloud::Cloud, command::run, ensure::program, lab::Lab, wait::until_true};

use crate::workloads::idle;

#[test]
fn the_page_shows_devices_and_modules() -> Result<()> {
    program("chromium", &["chromium", "fonts-dejavu-core"])?;
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["ewr", "jfk"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("one", &idle("one"))?])?;
    for device in &devices {
        device.wait_running("one/idle")?;
    }
    until_true("devices and modules on the page", Duration::from_secs(60), || {
        let page = chromium(&lab, &cloud, &["--dump-dom"])?;
        Ok(["ewr", "jfk", "idle"].iter().all(|word| page.contains(word)))
    })?;
    let picture = lab.binaries().path("page.png");
    let option = format!("--screenshot={}", picture.to_string_lossy());
    chromium(&lab, &cloud, &[&option, "--window-size=1280,800"])?;
    ensure!(fs::metadata(&picture)?.len() > 5_000, "the picture is empty");
    Ok(())
}

fn chromium(lab: &Lab, cloud: &Cloud, arguments: &[&str]) -> Result<String> {
    let profile = format!("--user-data-dir={}", lab.folder()?.to_string_lossy());
    let mut browser = Command::new("chromium");
    // The sandbox needs a user other than root. The page keeps a connection open: time is limited.
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--timeout=6000", &profile]);
    run(browser.args(arguments).arg(cloud.page()))
}
