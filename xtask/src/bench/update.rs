//! One module of 50 changes: how long that takes, and how long the module is away. Beside Docker Compose with the same
//! services on the same engine.

mod compose;

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use wayside_tests::{
    build::{Binaries, WEATHER_IMAGE},
    cloud::Cloud,
    command::run_within,
    device::Device,
    engine::{self, docker},
    lab::Lab,
};

use self::compose::Compose;
use super::{Figure, host, median, round};

pub(super) const NAMES: [&str; 2] = ["update_one_of_50", "update_downtime"];

const MODULES: usize = 50;
const CHANGED: &str = "m25";
const WORKLOAD: &str = "fifty";
const RUNS: usize = 5;
/// For all modules to be made on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// Who runs the modules.
trait Side {
    /// The command that brings a release and waits until it runs.
    fn bring(&self, release: usize) -> Result<Command>;

    /// Whose containers they are: a label, `name=value`; and the label that names the module.
    fn labels(&self) -> (String, &'static str);
}

struct Wayside<'a> {
    lab: &'a Lab,
    cloud: &'a Cloud,
    device: &'a Device,
}

/// One update.
struct Times {
    /// From the command to the start of the new process.
    total_ms: f64,
    /// From the end of the old process to the start of the new one.
    downtime_ms: f64,
}

pub(super) fn measure(binaries: &Binaries) -> Result<[Figure; 2]> {
    let lab = Lab::with(binaries.clone())?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = devices.first().context("no device")?;
    let wayside = Wayside { lab: &lab, cloud: &cloud, device };
    let compose = Compose::find(&lab)?;
    for side in [&wayside as &dyn Side, &compose] {
        run_within(&mut side.bring(0)?, LIMIT)?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Alternating, so that both see the same machine. The first of each only warms up.
    for run in 0..=RUNS {
        let (our, their) = (update(&wayside, run + 1)?, update(&compose, run + 1)?);
        eprintln!(
            "{:.0} ms, away for {:.0} ms; {}: {:.0} ms, away for {:.0} ms",
            our.total_ms,
            our.downtime_ms,
            compose.name(),
            their.total_ms,
            their.downtime_ms
        );
        if run > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    let [total, downtime]: [fn(&Times) -> f64; 2] = [|times| times.total_ms, |times| times.downtime_ms];
    let beside = |name, of: fn(&Times) -> f64| {
        let median_of = |all: &[Times]| median(&all.iter().map(of).collect::<Vec<_>>());
        let (value, peer_value) = (median_of(&ours), median_of(&theirs));
        Figure {
            name,
            value: round(value / peer_value),
            unit: "",
            peer: Some(compose.name()),
            peer_value: Some(round(peer_value)),
            ratio: Some(round(value / peer_value)),
            runs: RUNS,
        }
    };
    Ok([beside(NAMES[0], total), beside(NAMES[1], downtime)])
}

/// Updates, and checks that the other modules kept their containers.
fn update(side: &dyn Side, release: usize) -> Result<Times> {
    let mut before = containers(side)?;
    let mut bring = side.bring(release)?;
    let begun = host::now_s()?;
    run_within(&mut bring, LIMIT)?;
    let mut after = containers(side)?;
    let old = before.remove(CHANGED).context("the module was not there")?;
    let new = after.remove(CHANGED).context("the module is not there")?;
    ensure!(old != new, "the module has the container that it had");
    ensure!(before == after && after.len() == MODULES - 1, "modules that did not change were made anew");
    let container = engine::inspect(&new)?;
    let release = format!("RELEASE={release}");
    let environment = container["Config"]["Env"].as_array().context("no environment")?;
    ensure!(environment.iter().any(|entry| *entry == *release), "it is not of {release}");
    let started = host::started_s(&container)?.context("it does not run")?;
    Ok(Times {
        total_ms: (started - begun) * 1000.0,
        downtime_ms: (started - ended_s(&old, begun)?) * 1000.0,
    })
}

/// The containers by module.
fn containers(side: &dyn Side) -> Result<BTreeMap<String, String>> {
    let (whose, module) = side.labels();
    let (filter, format) = (format!("label={whose}"), format!("{{{{.Label \"{module}\"}}}} {{{{.ID}}}}"));
    let listed = docker(["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format])?;
    let pairs = listed.lines().map(|line| {
        let (module, id) = line.split_once(' ').with_context(|| line.to_owned())?;
        let module = module.rsplit('/').next().unwrap_or(module);
        Ok((module.to_owned(), id.to_owned()))
    });
    pairs.collect()
}

/// When the process of a container ended that may be removed by now: the engine keeps what it told last.
fn ended_s(container: &str, since_s: f64) -> Result<f64> {
    let (since, until) = (format!("{since_s:.9}"), format!("{:.9}", host::now_s()?));
    let filter = format!("container={container}");
    let told = docker([
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        &filter,
        "--filter",
        "event=die",
        "--format",
        "{{.TimeNano}}",
    ])?;
    let nanos: f64 = told.lines().next().context("the engine did not tell that it ended")?.parse()?;
    Ok(nanos / 1e9)
}

impl Side for Wayside<'_> {
    fn bring(&self, release: usize) -> Result<Command> {
        let text =
            format!("{}x-wayside: {{target: all, update: {{probation: 0s}}}}\n", services(release, ""));
        let file = self.lab.compose(WORKLOAD, &format!("name: {WORKLOAD}\n{text}"))?;
        let mut command = self.lab.operator().command_at(self.cloud);
        command.args(["apply", "--timeout", &LIMIT.as_secs().to_string(), &file]);
        Ok(command)
    }

    fn labels(&self) -> (String, &'static str) {
        (format!("wayside.device={}", self.device.key().unwrap_or_default()), "wayside.module")
    }
}

/// The services of a Compose file, with `more` in each. The program does not hear the signal to end when it is the
/// first of its container; `init` is, and hands the signal on.
fn services(release: usize, more: &str) -> String {
    let service = |number: usize| {
        let name = format!("m{number:02}");
        let release = if name == CHANGED { release } else { 0 };
        format!(
            "  {name}:\n    image: {WEATHER_IMAGE}\n    command: [/weather-detector]\n    init: true\n    environment: {{STATION: EWR, RELEASE: \"{release}\"}}\n{more}"
        )
    };
    format!("services:\n{}", (0..MODULES).map(service).collect::<String>())
}
