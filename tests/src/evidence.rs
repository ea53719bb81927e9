//! What the hosts of the open laboratory said last, for the error of whoever waited for them in vain.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{command::capture_within, engine};

/// Lines of each host.
const LINES: &str = "25";

/// An engine that hangs is not asked for more.
const LIMIT: Duration = Duration::from_secs(10);

/// Containers of the open laboratory: there is one at a time on a machine.
static HOSTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A host was started.
pub(crate) fn add(container: &str) {
    hosts().push(container.to_owned());
}

/// The laboratory is closed.
pub(crate) fn clear() {
    hosts().clear();
}

/// The end of each host's log; empty when there is no host.
#[must_use]
pub fn last_words() -> String {
    let hosts = hosts().clone();
    let mut words = String::new();
    for host in hosts {
        let log = capture_within(&mut engine::command(["logs", "--tail", LINES, &host]), LIMIT);
        words.push_str(&format!("\n-- the last lines of {host}:\n"));
        match log {
            Ok(log) => words.push_str(&(log.stdout + &log.stderr)),
            Err(error) => {
                words.push_str(&format!("{error:#}"));
                break;
            }
        }
    }
    words
}

fn hosts() -> MutexGuard<'static, Vec<String>> {
    HOSTS.lock().unwrap_or_else(PoisonError::into_inner)
}
