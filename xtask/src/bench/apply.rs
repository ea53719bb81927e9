//! From `wayside apply` to the container running, beside a bare `docker run` of the same image.

use std::time::Duration;

use anyhow::{Context, Result};
use wayside_tests::{
    build::{Binaries, WEATHER_IMAGE},
    cloud::Cloud,
    device::Device,
    engine::{self, docker},
    lab::Lab,
    wait::until,
};

use super::{Figure, host, median, round};

const RUNS: usize = 7;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn measure(binaries: &Binaries) -> Result<Figure> {
    let lab = Lab::with(binaries.clone())?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = devices.first().context("no device")?;
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    // Alternating, so that both see the same machine. The first of each only warms up.
    for run in 0..=RUNS {
        let applied = applied(&lab, &cloud, device, run)?;
        let bare_run = bare_run(&lab, run)?;
        if run > 0 {
            ours.push(applied);
            bare.push(bare_run);
        }
    }
    let (value, peer_value) = (median(&ours), median(&bare));
    Ok(Figure {
        name: "apply_to_running_ratio",
        value: round(value / peer_value),
        unit: "",
        peer: Some("docker run (ms)"),
        peer_value: Some(round(peer_value)),
        ratio: Some(round(value / peer_value)),
        runs: RUNS,
    })
}

/// Milliseconds from the command to the start of the process.
fn applied(lab: &Lab, cloud: &Cloud, device: &Device, run: usize) -> Result<f64> {
    let name = format!("bench{run}");
    let text = format!(
        "name: {name}\nservices:\n  one:\n    image: {WEATHER_IMAGE}\n    command: [/weather-detector]\n"
    );
    let file = lab.compose(&name, &text)?;
    let begun = host::now_s()?;
    lab.operator().at(cloud, &["apply", "--no-wait", &file])?;
    let module = format!("{name}/one");
    let started = until(&module, LIMIT, || host::started_s(&device.module(&module)?))?;
    lab.operator().at(cloud, &["remove", &name])?;
    device.wait_gone(&module)?;
    Ok((started - begun) * 1000.0)
}

fn bare_run(lab: &Lab, run: usize) -> Result<f64> {
    let name = lab.name(&format!("bare{run}"));
    let (label, network) = (lab.label(), lab.name("lan"));
    let begun = host::now_s()?;
    docker([
        "run",
        "--detach",
        "--name",
        &name,
        "--label",
        &label,
        "--network",
        &network,
        WEATHER_IMAGE,
        "/weather-sensor",
    ])?;
    let started = host::started_s(&engine::inspect(&name)?)?.context("it did not start")?;
    docker(["rm", "--force", &name])?;
    Ok((started - begun) * 1000.0)
}
