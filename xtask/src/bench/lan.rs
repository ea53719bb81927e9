//! A workload for 20 devices of one LAN without a cloud, beside as many `docker run` at once, which is what the engine
//! that they share allows.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use wayside_tests::{
    build::{Binaries, WEATHER_IMAGE},
    device::Options,
    engine::{self, docker},
    lab::Lab,
    wait::until,
};

use super::{Figure, host, median, round};

pub(super) const NAME: &str = "lan_apply_20_devices_ms";

const DEVICES: usize = 20;
const RUNS: usize = 5;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn measure(binaries: &Binaries) -> Result<Figure> {
    let lab = Lab::with(binaries.clone())?;
    let options = Options { no_wan: true, ..Options::obeying(&lab)? };
    let devices = (0..DEVICES).map(|number| lab.device(&format!("d{number}"), &options));
    for device in devices.collect::<Result<Vec<_>>>()? {
        device.wait_up()?;
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // Alternating, so that both see the same machine. The first of ours admits the devices, and is not counted.
    for run in 0..=RUNS {
        let (applied, side_by_side) = (applied_ms(&lab, run)?, side_by_side_ms(&lab)?);
        if run > 0 {
            ours.push(applied);
            bare.push(side_by_side);
        }
    }
    let (value, peer_value) = (median(&ours), median(&bare));
    Ok(Figure {
        name: NAME,
        value: round(value),
        unit: "ms",
        peer: Some("20 docker run (ms)"),
        peer_value: Some(round(peer_value)),
        ratio: Some(round(value / peer_value)),
        runs: RUNS,
    })
}

/// From the start of the operator's process to that of the last module's.
fn applied_ms(lab: &Lab, run: usize) -> Result<f64> {
    let workload = format!("lan{run}");
    let text = format!(
        "name: {workload}\nservices:\n  one:\n    image: {WEATHER_IMAGE}\n    command: [/weather-detector]\n    init: true\n    environment: {{STATION: EWR}}\nx-wayside: {{target: all}}\n"
    );
    let file = lab.compose(&workload, &text)?;
    let apply = ["apply", "/compose.yaml", "--lan", "--no-wait"];
    let operator = lab.ready_on_lan(lab.operator(), &file, &apply)?;
    docker(["start", "--attach", &operator])?;
    let state = engine::inspect(&operator)?["State"].clone();
    docker(["rm", &operator])?;
    let label = format!("wayside.module={workload}/one");
    let modules = until("all modules to run", LIMIT, || {
        let running = running_with(&label)?;
        Ok((running.len() == DEVICES).then_some(running))
    })?;
    let starts = starts_s(&modules)?;
    let time_s = |name: &str| host::epoch_s(state[name].as_str().context("the operator has no times")?);
    let (begun, handed_over) = (time_s("StartedAt")?, time_s("FinishedAt")?);
    let ms = |time_s: f64| (time_s - begun) * 1000.0;
    let (first, last) = (ms(earliest(&starts)), ms(latest(&starts)));
    let handed_over = ms(handed_over);
    eprintln!(
        "{workload}: all handed over after {handed_over:.0} ms, modules run from {first:.0} to {last:.0} ms"
    );
    lab.on_lan(lab.operator(), &file, &["remove", &workload, "--lan"])?;
    until("all modules to be removed", LIMIT, || {
        Ok(engine::containers_with(&label)?.is_empty().then_some(()))
    })?;
    Ok(last)
}

/// As many containers of the same image, each by a command of its own, all at once.
fn side_by_side_ms(lab: &Lab) -> Result<f64> {
    let (label, network) = (lab.label(), lab.name("lan"));
    let begun = host::now_s()?;
    let containers = thread::scope(|scope| {
        let run = || {
            docker([
                "run",
                "--detach",
                "--init",
                "--env",
                "STATION=EWR",
                "--label",
                &label,
                "--network",
                &network,
                WEATHER_IMAGE,
                "/weather-detector",
            ])
        };
        let runs: Vec<_> = (0..DEVICES).map(|_| scope.spawn(run)).collect();
        let ended =
            runs.into_iter().map(|run| run.join().map_err(|_| anyhow!("a thread has ended")).flatten());
        ended.collect::<Result<Vec<String>>>()
    })?;
    let ms = (latest(&starts_s(&containers)?) - begun) * 1000.0;
    docker(["rm", "--force"].into_iter().chain(containers.iter().map(String::as_str)))?;
    eprintln!("{DEVICES} times `docker run`: {ms:.0} ms");
    Ok(ms)
}

fn running_with(label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let ids = docker(["ps", "--quiet", "--no-trunc", "--filter", &filter, "--filter", "status=running"])?;
    Ok(ids.lines().map(str::to_owned).collect())
}

/// When their processes began.
fn starts_s(containers: &[String]) -> Result<Vec<f64>> {
    let inspect = ["inspect", "--format", "{{.State.StartedAt}}"];
    let times = docker(inspect.into_iter().chain(containers.iter().map(String::as_str)))?;
    times.lines().map(host::epoch_s).collect()
}

fn earliest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn latest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}
