//! Where within an update the daemon is killed: at each change that it asks of the engine, on either side; within what it
//! writes; and at any moment.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use wayside_tests::{
    command::wait,
    device::Device,
    engine,
    relay::{Relay, Side},
};

use super::super::random::Random;

/// From when an update was applied until it has come to a change or a write: at most this, on a busy machine.
const REACHED: Duration = Duration::from_secs(25);
/// Any moment of an update is within this, in milliseconds, on a machine that is not busy.
const UPDATE_MS: u64 = 3000;
/// The writes of one kind that one thread of the daemon makes within an update, about.
const WRITES: u64 = 6;
/// `strace` has found all threads of the daemon after this.
const ATTACHED: Duration = Duration::from_millis(500);
/// What the daemon writes its documents and journals with.
const CALLS: [&str; 3] = ["fdatasync,fsync", "rename,renameat,renameat2", "pwrite64"];

/// The exit code of who ended by SIGKILL.
const KILLED: i64 = 137;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// At the nth change that it asks of the engine.
    Change(u64, Side),
    /// On entering one of its system calls that write.
    Write,
    /// By the clock alone.
    Any,
}

/// All points of an update in which so many changes are asked for, with some of those that have no number.
pub(super) fn all(changes: u64) -> Vec<Point> {
    let sides =
        (1..=changes).flat_map(|nth| [Point::Change(nth, Side::Before), Point::Change(nth, Side::After)]);
    sides.chain([Point::Write; 6]).chain([Point::Any; 3]).collect()
}

/// Makes the daemon end there. Whether it came so far.
pub(super) fn kill_at(
    point: Point,
    device: &Device,
    relay: &Relay,
    random: &mut Random,
    apply: impl FnOnce() -> Result<()>,
) -> Result<bool> {
    let was_reached = match point {
        Point::Change(nth, side) => {
            relay.set_trap(nth, side);
            apply()?;
            relay.has_caught(REACHED)
        }
        Point::Write => {
            let calls = CALLS[usize::try_from(random.below(CALLS.len() as u64))?];
            let when = 1 + random.below(WRITES);
            let mut strace = Strace::attach(device, calls, when)?;
            thread::sleep(ATTACHED);
            apply()?;
            return strace.has_killed(REACHED);
        }
        Point::Any => {
            apply()?;
            thread::sleep(Duration::from_millis(random.below(UPDATE_MS)));
            true
        }
    };
    if was_reached {
        device.signal("KILL")?;
    }
    Ok(was_reached)
}

/// A tracer of the daemon, which ends with it. It does not outlive this.
struct Strace {
    tracer: Child,
    device: Device,
}

impl Strace {
    fn attach(device: &Device, calls: &str, when: u64) -> Result<Self> {
        let pid = &engine::inspect(device.container())?["State"]["Pid"];
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string(), "-e"]);
        strace.arg(format!("trace={calls}")).arg("-e");
        strace.arg(format!("inject={calls}:signal=KILL:when={when}"));
        let tracer = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("strace")?;
        Ok(Self { tracer, device: device.clone() })
    }

    fn has_killed(&mut self, within: Duration) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            let state = &engine::inspect(self.device.container())?["State"];
            if state["Running"] == false {
                ensure!(state["ExitCode"] == KILLED, "the daemon ended by itself: {state}");
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(false)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It ends with the daemon, and leaves it as it is when it is told to end.
        if self.tracer.kill().is_ok() && wait(&mut self.tracer, Duration::from_secs(10)).is_err() {
            eprintln!("strace, process {}, may still run", self.tracer.id());
        }
    }
}
