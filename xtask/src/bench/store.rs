//! The durable queue alone: how fast, beside a plain file and NATS JetStream, and what a long backlog costs.

mod nats;

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::{build::workspace, command::run_within};

use self::nats::Nats;
use super::{Figure, median, round};

const RUNS: usize = 3;
const SECONDS: u64 = 8;
const BACKLOG_MESSAGES: u64 = 10_000_000;

const RUN_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The program that measures, and a folder on the disk that builds are on. Removed in the end.
pub(super) struct Program {
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    pub(super) fn build() -> Result<Self> {
        let path = super::program::build("store")?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        let folder = target.join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self { path, folder })
    }

    /// Runs one part, on an empty folder unless `is_kept`, and gives the line that it ends with.
    fn run(&self, part: &str, numbers: &[u64], is_kept: bool) -> Result<Value> {
        let folder = self.folder.join("state");
        if !is_kept && folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut command = Command::new(&self.path);
        command.arg(part).arg(&folder).args(numbers.iter().map(u64::to_string));
        let said = run_within(&mut command, RUN_LIMIT)?;
        let line = said.lines().last().with_context(|| format!("`{part}` said nothing"))?;
        eprintln!("{part} {numbers:?}: {line}");
        Ok(serde_json::from_str(line)?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not removed: {error}", self.folder.display());
        }
    }
}

/// The queue and its peers in turn, so that all see the same machine.
pub(super) fn queue(program: &Program) -> Result<Vec<Figure>> {
    let nats = Nats::find()?;
    let mut rates: Vec<(&'static str, Vec<f64>)> = vec![("append and fdatasync", Vec::new())];
    rates.extend(nats.iter().flat_map(Nats::modes).map(|(name, _)| (name, Vec::new())));
    let (mut ours, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let run = program.run("queue", &[SECONDS], false)?;
        ours.push(number(&run, "msgs_s")?);
        p99.push(number(&run, "p99_ms")?);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of messages")]
        let group = number(&run, "group")?.max(1.0) as u64;
        let limit = program.run("append", &[SECONDS, group], false)?;
        rates[0].1.push(number(&limit, "msgs_s")?);
        for (at, (name, sync)) in nats.iter().flat_map(Nats::modes).enumerate() {
            let server = nats.as_ref().context("no server")?.start(&program.folder.join("nats"), sync)?;
            eprint!("{name}: ");
            let run = program.run("jetstream", &[u64::from(server.port()), SECONDS], false)?;
            rates[at + 1].1.push(number(&run, "msgs_s")?);
        }
    }
    let value = median(&ours);
    let beside = |(peer, rates): (&'static str, Vec<f64>)| {
        let peer_value = median(&rates);
        Figure {
            name: "queue_durable_msgs_s",
            value: round(value),
            unit: "msg/s",
            peer: Some(peer),
            peer_value: Some(round(peer_value)),
            ratio: Some(round(value / peer_value)),
            runs: RUNS,
        }
    };
    let mut figures: Vec<Figure> = rates.into_iter().map(beside).collect();
    figures.push(Figure::alone("queue_commit_p99_ms", &p99, "ms"));
    Ok(figures)
}

/// Memory is the most of growing and draining.
pub(super) fn backlog(program: &Program) -> Result<[Figure; 3]> {
    let grown = program.run("grow", &[BACKLOG_MESSAGES], false)?;
    let drained = program.run("drain", &[], true)?;
    let rss = number(&grown, "rss_mb")?.max(number(&drained, "rss_mb")?);
    Ok([
        Figure::alone("backlog_rss_mb", &[rss], "MB"),
        Figure::alone("backlog_open_ms", &[number(&drained, "open_ms")?], "ms"),
        Figure::alone("backlog_disk_ratio", &[number(&grown, "disk_ratio")?], ""),
    ])
}

fn number(line: &Value, name: &str) -> Result<f64> {
    line[name].as_f64().with_context(|| format!("no `{name}` in {line}"))
}
