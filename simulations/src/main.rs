//! The program `wayside-sim`: lives through a fleet's weather in seconds.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use wayside_simulations::{fault::FaultKind, scenario::Scenario};

/// Runs a fleet and its cloud on a virtual clock, with faults, from a seed.
///
/// The machines are the real ones; network, disks, container engines and modules are models. At the end
/// every accepted message must be at each of its destinations, once and in order, and every device must
/// run what it should. The same seed gives the same run.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  wayside-sim
  wayside-sim --devices 20 --minutes 60 --seed 7
  wayside-sim --faults kill,cloud --trace run.txt
  wayside-sim --faults none --json

Exit codes: 0 all laws hold, 1 a law is broken or the trace cannot be written, 2 usage."
)]
struct Options {
    /// Devices on one LAN.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    devices: u32,
    /// Where all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual minutes in which modules publish and things go wrong.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// Messages a second that each device publishes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rate: u64,
    /// What goes wrong.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    faults: Vec<Weather>,
    /// Write every event to this file.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// What may go wrong, as it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weather {
    /// Everything below.
    All,
    /// Nothing.
    None,
    /// Daemons die and are started again.
    Kill,
    /// Uplinks are cut.
    Cut,
    /// The cloud's service dies and is started again.
    Cloud,
    /// The LAN falls in two.
    Part,
    /// Modules crash and the LAN loses messages.
    Wear,
}

impl Weather {
    const fn kind(self) -> Option<FaultKind> {
        match self {
            Self::Kill => Some(FaultKind::Kill),
            Self::Cut => Some(FaultKind::Cut),
            Self::Cloud => Some(FaultKind::Cloud),
            Self::Part => Some(FaultKind::Part),
            Self::All | Self::None | Self::Wear => None,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where nobody reads the reason either, the exit code has to do.
            let _ = writeln!(io::stderr(), "wayside-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let trace: Option<Box<dyn Write>> = match &options.trace {
        None => None,
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Some(Box::new(BufWriter::new(file)))
        }
    };
    let mut scenario = Scenario::new(options.seed, options.devices, options.minutes);
    scenario.period_ms = 1000 / options.rate;
    let all = [Weather::Kill, Weather::Cut, Weather::Cloud, Weather::Part, Weather::Wear];
    let weather = if options.faults.contains(&Weather::All) { &all[..] } else { &options.faults };
    let kinds: Vec<_> = weather.iter().filter_map(|weather| weather.kind()).collect();
    scenario = scenario.with_faults(&kinds);
    if weather.contains(&Weather::Wear) {
        scenario = scenario.with_wear();
    }
    let outcome = scenario.run(trace).context("cannot write the trace")?;
    if options.json {
        writeln!(io::stdout(), "{}", outcome.json())?;
    } else {
        write!(io::stdout(), "{outcome}")?;
    }
    Ok(outcome.broken.is_empty())
}
