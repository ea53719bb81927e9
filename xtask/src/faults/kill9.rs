//! Kills the daemon again and again while messages go through it: at random times, and on entering the nth system call of each
//! kind by which it writes, syncs, makes, renames and removes files and answers its clients.

use std::{
    fs,
    process::Stdio,
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

use super::Outcome;

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

/// A daemon that does not come to its point is killed after this.
const LATEST_MS: u64 = 1500;

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
    let mut witness =
        witness.stdin(Stdio::null()).stdout(fs::File::create(&report)?).spawn().context("the witness")?;
    let mut random = Random(seed);
    for number in 0..count {
        let point = POINTS[usize::try_from(number)? % POINTS.len()];
        live(&mut alone, point, &mut random).with_context(|| format!("kill {number} at {point:?}"))?;
        ensure!(
            witness.try_wait()?.is_none(),
            "the witness gave up after kill {number}; {}",
            alone.last_words()
        );
        if number % 50 == 49 {
            eprintln!("{} of {count}", number + 1);
        }
    }
    alone.start_again(&[])?;
    fs::write(&until, "")?;
    let ended = wait(&mut witness, WITNESS_LIMIT)?;
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

/// Numbers from a seed (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    /// Below `limit`, evenly enough.
    const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// One life of the daemon, until it is killed. `strace -D` leaves the daemon our child: killing it ends both.
fn live(alone: &mut Alone, point: Option<&str>, random: &mut Random) -> Result<()> {
    alone.kill()?;
    let begun = Instant::now();
    let (limit_ms, when) = (20 + random.below(800), 1 + random.below(200));
    let Some(calls) = point else {
        alone.spawn(&[])?;
        thread::sleep(Duration::from_millis(limit_ms));
        return alone.kill();
    };
    let inject = format!("inject={calls}:signal=KILL:when={when}");
    let trace = format!("trace={calls}");
    alone.spawn(&["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])?;
    while !alone.has_ended()? && begun.elapsed() < Duration::from_millis(LATEST_MS) {
        thread::sleep(Duration::from_millis(5));
    }
    alone.kill()
}
