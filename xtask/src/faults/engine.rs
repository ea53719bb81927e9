//! An engine that hangs, is gone or is restarted, as one device sees it, in the middle of updates and between them:
//! afterwards one version runs, whole, and it is the newest that is any good. The engine itself goes on.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use wayside_tests::{
    command::capture_within,
    device::Device,
    engine,
    lab::Lab,
    relay::{Mode, Relay},
};

use super::{
    line::{behind, is_good, settled, workload},
    random::Random,
};

/// Between an update and the fault, whichever comes first: at most this, in milliseconds.
const UPDATE_MS: u64 = 3000;
/// What most faults last at most, and what every [`LONG_EVERY`]th lasts at least, in milliseconds.
const SHORT_MS: u64 = 15_000;
const LONG_MS: u64 = 60_000;
const LONG_EVERY: u64 = 5;
/// How much longer a long one may last, in milliseconds.
const LONGER_MS: u64 = 10_000;
/// An engine is away for so long when it is restarted, at most, in milliseconds.
const RESTART_MS: u64 = 3000;

/// The daemon answers within this, whatever the engine does.
const ANSWER: Duration = Duration::from_secs(5);
/// What is wrong with the engine has a name after this.
const NAMED: Duration = Duration::from_secs(20);
/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(500);
/// Looks at the status in a fault that lasts longer than so many [`LOOK`]s.
const LOOKS: u32 = 720;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Line {
    name: &'static str,
    updates: u64,
    hung: u64,
    gone: u64,
    restarted: u64,
    /// How long it was hung in all, in seconds.
    hung_s: u64,
    /// Updates after which the new version runs whole.
    kept: u64,
    /// Updates that could not run, after which the version before runs whole.
    taken_back: u64,
    /// Updates after which something else was found, or in which the daemon did not answer, named nothing, or ended.
    broken: u64,
    /// How long the engine was gone in one piece at the end, and how long after that the newest version ran whole.
    away_s: u64,
    recovered_ms: u64,
    /// Answers of the daemon while the engine was away, and the slowest of them.
    answers: u64,
    slowest_answer_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Hung,
    /// Hung, then restarted by somebody.
    HungAndRestarted,
    Gone,
    Restarted,
}

struct Loop<'a> {
    device: &'a Device,
    relay: &'a Relay,
    random: Random,
    line: Line,
    /// When the daemon began.
    since: Value,
}

/// Updates `count` times, one in three to a version that ends at once, with one fault for each; then twice with an engine
/// that is gone for `away`, if that is any time: in the middle of the first, and before the second begins.
///
/// # Errors
/// When it cannot be done, or it was not as it should be after each; all of them are said.
pub(super) fn run(count: u64, seed: u64, away: Duration) -> Result<()> {
    let lab = Lab::open()?;
    let relay = Relay::start(&lab.folder()?)?;
    let (cloud, device) = behind(&lab, &relay)?;
    let apply = |release: u64| {
        let file = lab.compose("line", &workload(release))?;
        lab.operator().at(&cloud, &["apply", "--no-wait", &file]).map(drop)
    };
    apply(0)?;
    settled(&device, 0, None)?;
    let first = device.status()?["versions"]["line"]["version"].as_u64().context("no version")?;
    let kept = device.module("line/keep")?["Id"].clone();
    let since = engine::inspect(device.container())?["State"]["StartedAt"].clone();
    let line = Line { name: "engine", updates: count, ..Line::default() };
    let mut all = Loop { device: &device, relay: &relay, random: Random(seed), line, since };
    let mut runs = 0;
    for release in 1..=count {
        let (expected, bad) = if is_good(release) { (release, None) } else { (runs, Some(first + release)) };
        let faulty = all.fault(release, || apply(release));
        relay.seem(Mode::Passing);
        let outcome = faulty.and_then(|()| {
            settled(&device, expected, bad)?;
            runs = expected;
            ensure!(device.module("line/keep")?["Id"] == kept, "the module that never changes was made anew");
            all.never_ended()
        });
        if let Err(error) = outcome {
            all.line.broken += 1;
            eprintln!("update {release}: {error:#}");
        } else if expected == release {
            all.line.kept += 1;
        } else {
            all.line.taken_back += 1;
        }
    }
    if !away.is_zero() {
        // The first of two that are good, after all that were.
        let release = count + 3 - count % 3;
        if let Err(error) = all.long_away(away, release, &apply) {
            all.line.broken += 1;
            eprintln!("away for {} s: {error:#}", away.as_secs());
        }
    }
    let line = all.line;
    println!("{}", serde_json::to_string(&line)?);
    ensure!(line.broken == 0, "after {} updates it was not as it should be", line.broken);
    Ok(())
}

impl Loop<'_> {
    /// An update and a fault, in any order.
    fn fault(&mut self, release: u64, apply: impl Fn() -> Result<()>) -> Result<()> {
        let long = release.is_multiple_of(LONG_EVERY);
        let random = &mut self.random;
        let fault = match random.below(4) {
            0 if !long => Fault::Gone,
            1 if !long => Fault::Restarted,
            2 => Fault::HungAndRestarted,
            _ => Fault::Hung,
        };
        let lasts_ms = match fault {
            Fault::Restarted => 1000 + random.below(RESTART_MS),
            Fault::Hung | Fault::HungAndRestarted if long => LONG_MS + random.below(LONGER_MS),
            Fault::Hung | Fault::HungAndRestarted | Fault::Gone => 1000 + random.below(SHORT_MS),
        };
        let update_first = random.below(3) > 0;
        let between = Duration::from_millis(random.below(UPDATE_MS));
        let stopped = random.below(2) == 0;
        eprintln!(
            "update {release}: {} {fault:?} for {lasts_ms} ms, {} ms between",
            if update_first { "then" } else { "within" },
            between.as_millis()
        );
        if update_first {
            apply()?;
            thread::sleep(between);
        }
        let away = if stopped { Mode::Gone } else { Mode::Refusing };
        let (mode, count) = match fault {
            Fault::Hung | Fault::HungAndRestarted => (Mode::Hanging, &mut self.line.hung),
            Fault::Gone => (away, &mut self.line.gone),
            Fault::Restarted => (away, &mut self.line.restarted),
        };
        *count += 1;
        let begun = Instant::now();
        self.relay.seem(mode);
        if !update_first {
            thread::sleep(between);
            apply()?;
        }
        self.answers_until(begun, Duration::from_millis(lasts_ms))?;
        if mode == Mode::Hanging {
            self.line.hung_s += begun.elapsed().as_secs();
        }
        if matches!(fault, Fault::HungAndRestarted) {
            self.line.restarted += 1;
            self.relay.seem(away);
            thread::sleep(Duration::from_millis(1000 + self.random.below(RESTART_MS)));
        }
        Ok(())
    }

    /// An update, an engine that is gone before that is done, and another update half way to its return.
    fn long_away(&mut self, away: Duration, release: u64, apply: &impl Fn(u64) -> Result<()>) -> Result<()> {
        let half = |part: &str| eprintln!("{part} of {} s without an engine", away.as_secs());
        apply(release)?;
        let begun = Instant::now();
        self.relay.seem(Mode::Gone);
        half("the first half");
        self.answers_until(begun, away / 2)?;
        apply(release + 1)?;
        half("the second half");
        self.answers_until(begun, away)?;
        self.line.away_s = begun.elapsed().as_secs();
        self.relay.seem(Mode::Passing);
        let back = Instant::now();
        settled(self.device, release + 1, None)?;
        self.line.recovered_ms = u64::try_from(back.elapsed().as_millis())?;
        self.line.updates += 2;
        self.line.gone += 1;
        self.never_ended()
    }

    /// The daemon answers all the time, and soon says what is wrong.
    fn answers_until(&mut self, begun: Instant, lasts: Duration) -> Result<()> {
        loop {
            let asked = Instant::now();
            let mut ask = engine::command(["exec", self.device.container(), "/wayside", "status", "--json"]);
            let answer = capture_within(&mut ask, ANSWER).context("the daemon did not answer")?;
            ensure!(answer.code == 0, "the daemon did not answer: {answer}");
            self.line.answers += 1;
            let took_ms = u64::try_from(asked.elapsed().as_millis())?;
            self.line.slowest_answer_ms = self.line.slowest_answer_ms.max(took_ms);
            let status: Value = serde_json::from_str(&answer.stdout).context(answer.stdout)?;
            let problems = status["problems"].to_string();
            if asked.duration_since(begun) > NAMED && !problems.contains("no container engine answers") {
                bail!("after {} s the daemon names {problems}", begun.elapsed().as_secs());
            }
            if begun.elapsed() >= lasts {
                return Ok(());
            }
            thread::sleep(LOOK.max(lasts / LOOKS).min(lasts.saturating_sub(begun.elapsed())));
        }
    }

    fn never_ended(&self) -> Result<()> {
        let state = &engine::inspect(self.device.container())?["State"];
        ensure!(state["Running"] == true && state["StartedAt"] == self.since, "the daemon ended: {state}");
        Ok(())
    }
}
