//! Kills the daemon again and again while messages go through it: at random times, and on entering the nth system call of each
//! kind by which it writes, syncs, makes, renames and removes files and answers its clients.

use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wayside_tests::{
    alone::{Alone, LEAVES, PASSWORD},
    build::Binaries,
    command::{capture, wait},
    ensure::program,
};

use super::{Outcome, random::Random};

/// What the daemon is killed on entering; nothing is by time alone.
const POINTS: [Option<&str>; 7] = [
    None,
    Some("pwrite64"),
    Some("fdatasync"),
    Some("openat"),
    Some("rename,renameat,renameat2"),
    Some("unlink,unlinkat,rmdir"),
    Some("sendto,write,writev"),
];

/// A daemon that does not come to its point is killed after this, or after as long as it took to start and the same again.
const LATEST: Duration = Duration::from_millis(1500);

/// What the witness takes after the last kill, and some.
const WITNESS_LIMIT: Duration = Duration::from_secs(180);

/// Kills `count` times.
///
/// # Errors
/// When the daemon does not come up any more, or the witness cannot go on.
pub(super) fn run(count: u64, seed: u64) -> Result<Outcome> {
    program("strace", &["strace"])?;
    let binaries = Binaries::build(false)?;
    let mut alone = Alone::start(&binaries)?;
    alone.apply(&["kept: { from: pub/kept, to: sub }"])?;
    let until = alone.folder().join("end");
    let mut witness = alone.namespace().command(binaries.path("wayside-witness"));
    witness.args(["--address", LEAVES, "--publisher", "bench/pub", "--subscriber", "bench/sub"]);
    witness.args(["--password", PASSWORD, "--topic", "kept", "--until"]).arg(&until);
    let report = alone.folder().join("witness.json");
    witness.stdin(Stdio::null()).stdout(fs::File::create(&report)?);
    let mut witness = Witness(witness.spawn().context("the witness")?);
    let mut random = Random(seed);
    alone.kill()?;
    let begun = Instant::now();
    alone.start_again(&[])?;
    let latest = LATEST + begun.elapsed() * 2;
    for number in 0..count {
        let round = usize::try_from(number)?;
        let point = POINTS[round % POINTS.len()];
        // By turns in the middle of its start, and with messages under way.
        let is_up = round / POINTS.len() % 2 == 1;
        live(&mut alone, point, is_up, latest, &mut random)
            .with_context(|| format!("kill {number} at {point:?}"))?;
        ensure!(
            witness.0.try_wait()?.is_none(),
            "the witness gave up after kill {number}; {}",
            alone.last_words()
        );
        if number % 50 == 49 {
            eprintln!("{} of {count}", number + 1);
        }
    }
    alone.start_again(&[])?;
    fs::write(&until, "")?;
    let ended = wait(&mut witness.0, WITNESS_LIMIT)?;
    let said = fs::read_to_string(&report)?;
    ensure!(ended.is_some() && !said.is_empty(), "the witness said nothing: {}", alone.last_words());
    eprint!("{said}");
    let said: Value = serde_json::from_str(&said)?;
    let number = |name: &str| said[name].as_u64().context("no count");
    ensure!(number("acknowledged")? > count, "nearly nothing went through the daemon");
    let problems = capture(alone.command().args(["status", "--json"]))?;
    ensure!(
        !problems.stdout.contains("is damaged"),
        "the daemon says that its queues are damaged: {problems}"
    );
    Ok(Outcome {
        runs: count,
        lost: number("lost")?,
        doubled: number("doubled")?,
        misordered: number("misordered")?,
    })
}

/// The program that publishes and subscribes: it does not outlive the faults.
struct Witness(Child);

impl Drop for Witness {
    fn drop(&mut self) {
        // It may have ended already.
        if self.0.kill().is_ok() && wait(&mut self.0, Duration::from_secs(10)).is_err() {
            eprintln!("the witness, process {}, may still run", self.0.id());
        }
    }
}

/// One life of the daemon, until it is killed. `strace -D` leaves the daemon our child: killing it ends both.
fn live(
    alone: &mut Alone,
    point: Option<&str>,
    is_up: bool,
    latest: Duration,
    random: &mut Random,
) -> Result<()> {
    alone.kill()?;
    let begun = Instant::now();
    let Some(calls) = point else {
        if is_up {
            alone.start_again(&[])?;
        } else {
            alone.spawn(&[])?;
        }
        thread::sleep(Duration::from_millis(20 + random.below(800)));
        return alone.kill();
    };
    let when = 1 + random.below(if is_up { 3000 } else { 200 });
    let inject = format!("inject={calls}:signal=KILL:when={when}");
    let trace = format!("trace={calls}");
    alone.spawn(&["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])?;
    while !alone.has_ended()? && begun.elapsed() < latest {
        thread::sleep(Duration::from_millis(5));
    }
    alone.kill()
}
