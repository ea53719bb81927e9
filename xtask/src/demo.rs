//! A year of weather on three devices, with faults; at the end everything has arrived once and in order.

mod faults;
mod progress;
mod table;

use std::{
    io::{IsTerminal, stdin, stdout},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use serde::Serialize;
use wayside_tests::{
    build::{Binaries, example},
    cloud::Cloud,
    device::Device,
    ensure::container_engine,
    evidence::last_words,
    lab::Lab,
    weather::{DEVICES, Expected, Tally},
};

use faults::{Faults, Stage};
use progress::Progress;

/// From the start of the workload to the last message, with room for a slow machine.
const RUN_LIMIT: Duration = Duration::from_secs(420);

/// How long after the last expected message something more might still arrive.
const SETTLE: Duration = Duration::from_secs(3);

/// What `cargo demo` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Print plain lines, and as the last line one JSON object.
    #[arg(long)]
    headless: bool,
    /// Leave everything up at the end, until Enter or Ctrl-C. So it is anyway in a terminal without --headless.
    #[arg(long)]
    keep: bool,
}

/// The last line of `--headless`.
#[derive(Serialize)]
struct Summary {
    devices: usize,
    sent: u64,
    delivered: u64,
    lost: u64,
    duplicates: u64,
    misordered: u64,
    alarms: u64,
    uplink_cuts: u32,
    daemon_kills: u32,
    cloud_restarts: u32,
    wall_s: u64,
}

/// Runs the demo.
///
/// # Errors
/// When something is missing, does not come up, or a message is lost, doubled or out of order.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    container_engine()?;
    let begun = Instant::now();
    eprintln!("building the binaries and their images");
    let binaries = Binaries::build(false)?;
    let expected = Expected::compute(&binaries, None)?;
    let lab = Lab::with(binaries)?;
    // So that nobody takes a long build for a demo that stands still.
    eprintln!("built in {} s; the demo begins", begun.elapsed().as_secs());
    let started = Instant::now();
    let (cloud, devices) = lab.fleet(&DEVICES)?;
    println!("The page is at {} while this runs.", cloud.page());

    let compose = example("weather").join("compose.yaml");
    lab.operator().at(&cloud, &["apply", &compose.to_string_lossy()])?;
    wait_modules(&devices)?;
    let live = stdout().is_terminal() && !arguments.headless;
    let stages = follow(&cloud, &devices, &expected, live)?;
    thread::sleep(SETTLE);

    let tallies = expected.compare(&cloud.messages(0)?);
    let sum = Tally::sum(tallies.values());
    let wall_s = started.elapsed().as_secs();
    table::print(&tallies, &sum, &stages, wall_s);
    if arguments.keep || live {
        keep(&cloud)?;
    }
    if arguments.headless {
        let count = |stage| u32::try_from(stages.iter().filter(|past| **past == stage).count());
        let summary = Summary {
            devices: tallies.len(),
            sent: sum.sent,
            delivered: sum.delivered,
            lost: sum.lost,
            duplicates: sum.duplicates,
            misordered: sum.misordered,
            alarms: sum.alarms,
            uplink_cuts: count(Stage::UplinkBack)?,
            daemon_kills: count(Stage::DaemonBack)?,
            cloud_restarts: count(Stage::CloudBack)?,
            wall_s,
        };
        println!("{}", serde_json::to_string(&summary)?);
    }
    verdict(&sum)
}

fn wait_modules(devices: &[Device]) -> Result<()> {
    for device in devices {
        for module in ["weather/sensor", "weather/detector"] {
            device.wait_running(module)?;
        }
    }
    Ok(())
}

/// Shows progress and makes the faults until everything expected has arrived. Returns what was done.
fn follow(cloud: &Cloud, devices: &[Device], expected: &Expected, live: bool) -> Result<Vec<Stage>> {
    let mut faults = Faults::new(cloud, devices);
    let mut progress = Progress::new(expected, live);
    let started = Instant::now();
    loop {
        // While the cloud is down the last count stands.
        let unanswered = match cloud.counts() {
            Ok(counts) => {
                progress.count(&counts);
                None
            }
            Err(error) => Some(error),
        };
        let share = progress.share();
        if let Some(stage) = faults.step(share)? {
            progress.tell(stage.words());
        }
        progress.show();
        if progress.is_complete() && faults.are_over() {
            progress.end();
            return Ok(faults.into_past());
        }
        if started.elapsed() > RUN_LIMIT {
            progress.end();
            return Err(late(cloud, devices, expected, unanswered));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// What is missing, and what everybody says of it.
fn late(
    cloud: &Cloud,
    devices: &[Device],
    expected: &Expected,
    unanswered: Option<anyhow::Error>,
) -> anyhow::Error {
    if let Some(error) = unanswered {
        eprintln!("the cloud does not answer: {error:#}");
    }
    for device in devices {
        let status = device.wayside(&["status"]).unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("{}: {status}", device.name());
    }
    let found = match cloud.messages(0) {
        Ok(messages) => format!("{:?}", Tally::sum(expected.compare(&messages).values())),
        Err(error) => format!("the cloud does not say what it has: {error:#}"),
    };
    anyhow!("not everything arrived within {} s: {found}{}", RUN_LIMIT.as_secs(), last_words())
}

/// Waits for Enter. Without anybody to press it: until this process is ended.
fn keep(cloud: &Cloud) -> Result<()> {
    println!("\nEverything is still up: {}\nPress Enter to take it down.", cloud.page());
    if stdin().is_terminal() {
        stdin().read_line(&mut String::new())?;
        return Ok(());
    }
    loop {
        thread::park();
    }
}

fn verdict(sum: &Tally) -> Result<()> {
    ensure!(
        sum.is_whole(),
        "{} lost, {} duplicates, {} misordered, {} foreign; alarms: {} wrong, {} missing",
        sum.lost,
        sum.duplicates,
        sum.misordered,
        sum.foreign,
        sum.alarms_wrong,
        sum.alarms_missing
    );
    Ok(())
}
