//! Kills the daemon at every step of an update, with real containers: afterwards one version runs, whole, and it is the
//! newest that is any good.

mod points;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use serde_json::Value;
use wayside_tests::{
    cloud::Cloud,
    device::Device,
    ensure::program,
    lab::Lab,
    relay::{Relay, Side},
};

use self::points::{Point, all, kill_at};
use super::{
    line::{behind, is_good, settled, workload},
    random::Random,
};

/// Fleets of one device and one cloud, each with updates of its own.
const AT_ONCE: u64 = 3;
/// The daemon is killed once more in one update of so many, while it starts again: at most so long after, in milliseconds.
const TWICE_EVERY: u64 = 4;
const AGAIN_MS: u64 = 2000;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Line {
    name: &'static str,
    updates: u64,
    kills: u64,
    /// Changes at the engine that an update asks for that can run, and one that is taken back.
    steps_good: u64,
    steps_bad: u64,
    /// Kills before the engine heard of a change, and after it had done it.
    before_change: u64,
    after_change: u64,
    /// Of all those steps, on both sides: at how many the daemon was killed at least once.
    steps_killed_at: usize,
    /// Kills on entering a write, a sync or a rename; at any moment; and while it started again.
    at_write: u64,
    at_any: u64,
    again: u64,
    /// Updates in which the step was not come to.
    not_reached: u64,
    /// Updates after which the new version runs whole.
    kept: u64,
    /// Updates that could not run, after which the version before runs whole.
    taken_back: u64,
    /// Updates after which something else was found.
    broken: u64,
    #[serde(skip)]
    killed_at: Vec<(bool, u64, Side)>,
}

/// Updates `count` times, one in three to a version that ends at once, and kills the daemon once or twice within each.
///
/// # Errors
/// When it cannot be done, or something else than one whole version was found; all of them are said.
pub(super) fn run(count: u64, seed: u64) -> Result<()> {
    program("strace", &["strace"])?;
    let done = AtomicU64::new(0);
    let lines = thread::scope(|scope| {
        let fleets = (0..AT_ONCE.min(count)).map(|fleet| {
            let done = &done;
            let share = count / AT_ONCE + u64::from(fleet < count % AT_ONCE);
            scope.spawn(move || {
                Fleet::run(fleet, share, seed, || {
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(10) {
                        eprintln!("{done} of {count}");
                    }
                })
            })
        });
        let fleets: Vec<_> = fleets.collect();
        let ended =
            fleets.into_iter().map(|fleet| fleet.join().map_err(|_| anyhow!("a thread has ended")).flatten());
        ended.collect::<Result<Vec<Line>>>()
    })?;
    let line = sum(lines);
    println!("{}", serde_json::to_string(&line)?);
    ensure!(line.broken == 0, "after {} updates not one whole version ran", line.broken);
    Ok(())
}

fn sum(lines: Vec<Line>) -> Line {
    let mut sum = Line { name: "update-kill", ..Line::default() };
    for line in lines {
        sum.updates += line.updates;
        sum.kills += line.kills;
        sum.steps_good = sum.steps_good.max(line.steps_good);
        sum.steps_bad = sum.steps_bad.max(line.steps_bad);
        sum.before_change += line.before_change;
        sum.after_change += line.after_change;
        sum.at_write += line.at_write;
        sum.at_any += line.at_any;
        sum.again += line.again;
        sum.not_reached += line.not_reached;
        sum.kept += line.kept;
        sum.taken_back += line.taken_back;
        sum.broken += line.broken;
        sum.killed_at.extend(line.killed_at);
    }
    sum.killed_at.sort_unstable_by_key(|(good, nth, side)| (*good, *nth, *side == Side::After));
    sum.killed_at.dedup();
    sum.steps_killed_at = sum.killed_at.len();
    sum
}

/// One device, its cloud, and what came of it so far.
struct Fleet<'a> {
    lab: &'a Lab,
    cloud: &'a Cloud,
    device: &'a Device,
    relay: &'a Relay,
    random: Random,
    /// The version of release 0.
    first: u64,
    /// The container that never changes.
    kept: Value,
    /// The release that runs.
    runs: u64,
    /// The release that was applied last.
    applied: u64,
    line: Line,
}

impl Fleet<'_> {
    fn run(number: u64, count: u64, seed: u64, mut told: impl FnMut()) -> Result<Line> {
        let lab = Lab::open()?;
        let relay = Relay::start(&lab.folder()?)?;
        let (cloud, device) = behind(&lab, &relay)?;
        let mut fleet = Fleet {
            lab: &lab,
            cloud: &cloud,
            device: &device,
            relay: &relay,
            random: Random(seed.wrapping_mul(1000).wrapping_add(number)),
            first: 0,
            kept: Value::Null,
            runs: 0,
            applied: 0,
            line: Line::default(),
        };
        fleet.apply(0)?;
        settled(&device, 0, None)?;
        fleet.first = device.status()?["versions"]["line"]["version"].as_u64().context("no version")?;
        fleet.kept = device.module("line/keep")?["Id"].clone();
        // Without a kill, to see how many steps there are.
        let [mut good, mut bad] = [0, 0];
        for _ in 0..3 {
            let before = relay.changes();
            let release = fleet.applied + 1;
            fleet.apply(release)?;
            fleet.outcome(release)?;
            let changes = if is_good(release) { &mut good } else { &mut bad };
            *changes = (relay.changes() - before).max(*changes);
        }
        (fleet.line.steps_good, fleet.line.steps_bad) = (good, bad);
        let (good, bad) = (all(good), all(bad));
        // Each fleet has every so manieth of each.
        let (skipped, step) = (usize::try_from(number)?, usize::try_from(AT_ONCE)?);
        let mut of_good = good.iter().cycle().skip(skipped).step_by(step);
        let mut of_bad = bad.iter().cycle().skip(skipped).step_by(step);
        for _ in 0..count {
            let release = fleet.applied + 1;
            let points = if is_good(release) { &mut of_good } else { &mut of_bad };
            let point = *points.next().context("there is a step")?;
            fleet.update(release, point)?;
            told();
        }
        Ok(fleet.line)
    }

    fn apply(&mut self, release: u64) -> Result<()> {
        self.applied = release;
        bring(self.lab, self.cloud, release)
    }

    /// An update with a kill in it.
    fn update(&mut self, release: u64, point: Point) -> Result<()> {
        self.applied = release;
        self.line.updates += 1;
        let (lab, cloud) = (self.lab, self.cloud);
        let was_killed =
            kill_at(point, self.device, self.relay, &mut self.random, || bring(lab, cloud, release))?;
        if was_killed {
            self.line.kills += 1;
            match point {
                Point::Change(nth, side) => {
                    self.line.killed_at.push((is_good(release), nth, side));
                    match side {
                        Side::Before => self.line.before_change += 1,
                        Side::After => self.line.after_change += 1,
                    }
                }
                Point::Write => self.line.at_write += 1,
                Point::Any => self.line.at_any += 1,
            }
            self.device.start_again()?;
            if self.random.below(TWICE_EVERY) == 0 {
                thread::sleep(Duration::from_millis(self.random.below(AGAIN_MS)));
                self.device.signal("KILL")?;
                self.device.start_again()?;
                self.line.kills += 1;
                self.line.again += 1;
            }
        } else {
            self.line.not_reached += 1;
        }
        if let Err(error) = self.outcome(release) {
            self.line.broken += 1;
            eprintln!("update {release} of a fleet, killed at {point:?}: {error:#}");
        } else if self.runs == release {
            self.line.kept += 1;
        } else {
            self.line.taken_back += 1;
        }
        Ok(())
    }

    /// Waits until the update has come to its end: one version runs, whole.
    fn outcome(&mut self, release: u64) -> Result<()> {
        let (expected, bad) =
            if is_good(release) { (release, None) } else { (self.runs, Some(self.first + release)) };
        settled(self.device, expected, bad)?;
        self.runs = expected;
        ensure!(
            self.device.module("line/keep")?["Id"] == self.kept,
            "the module that never changes was made anew"
        );
        Ok(())
    }
}

fn bring(lab: &Lab, cloud: &Cloud, release: u64) -> Result<()> {
    let file = lab.compose("line", &workload(release))?;
    lab.operator().at(cloud, &["apply", "--no-wait", &file]).map(drop)
}
