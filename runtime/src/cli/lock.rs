//! `wayside lock` and `wayside unlock`: hold updates of the device on this machine back, and let them go on.

use std::path::PathBuf;

use clap::Args;
use wayside_actors::device::reconciler::{LOCK_MAX_MS, REASON_BYTES};
use wayside_config::units::duration_ms;

use super::{failure::Failure, output, view::describe_lock};
use crate::{
    control::{Answer, Ask, Client},
    state::{control_socket, default_folder},
};

/// Hold updates of the device on this machine back
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside lock                                         for an hour
  wayside lock --for 8h --reason \"the line is full\"    for a shift; `wayside status` shows it
  wayside unlock                                       let updates go on

What runs is not replaced by another version of its workload as long as a lock holds, also after a restart of the device. New
versions are got meanwhile; a version that fails is taken back, and modules that end are started again.")]
pub(super) struct LockArgs {
    /// For so long, at most 24h
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = lock_ms)]
    for_ms: u64,
    /// Why, for whoever looks
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    here: HereArgs,
}

/// Let updates of the device on this machine go on
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside unlock                                       end what `wayside lock` began
  wayside unlock weather/press                         end the lock of a module")]
pub(super) struct UnlockArgs {
    /// Whose lock: `operator`, or WORKLOAD/MODULE
    #[arg(default_value = "operator")]
    owner: String,
    #[command(flatten)]
    here: HereArgs,
}

#[derive(Debug, Args)]
struct HereArgs {
    /// The state directory of the daemon on this machine
    #[arg(long, value_name = "DIR", env = "WAYSIDE_STATE")]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl LockArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.here.ask(&Ask::Lock { for_ms: self.for_ms, reason: self.reason })
    }
}

impl UnlockArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.here.ask(&Ask::Unlock { owner: Some(self.owner) })
    }
}

impl HereArgs {
    /// Asks, and shows who holds updates back now.
    fn ask(&self, ask: &Ask) -> Result<(), Failure> {
        let socket = control_socket(&self.state.clone().unwrap_or_else(default_folder));
        let Answer::Locks { locks } = Client::connect(&socket)?.ask(ask)? else {
            return Err(super::site::unexpected());
        };
        if self.json {
            return output::json(&locks);
        }
        if locks.is_empty() {
            return output::text("nobody holds updates back");
        }
        locks.iter().try_for_each(|lock| output::text(&describe_lock(lock)))
    }
}

fn lock_ms(text: &str) -> Result<u64, String> {
    duration_ms(text)
        .filter(|ms| (1..=LOCK_MAX_MS).contains(ms))
        .ok_or_else(|| "expected a duration of at most 24h, such as `30m`".into())
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_BYTES {
        return Err(format!("a reason has at most {REASON_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_an_end_within_a_day() {
        assert_eq!((lock_ms("90m"), lock_ms("24h")), (Ok(5_400_000), Ok(LOCK_MAX_MS)));
        for wrong in ["0s", "25h", "", "soon"] {
            assert!(lock_ms(wrong).is_err(), "{wrong}");
        }
        assert!(reason(&"x".repeat(REASON_BYTES)).is_ok() && reason(&"x".repeat(REASON_BYTES + 1)).is_err());
    }
}
