//! What the hosts of the open laboratory said last, for the error of whoever waited for them in vain.

use std::{cell::RefCell, time::Duration};

use crate::{command::capture_within, engine};

/// Lines of each host.
const LINES: &str = "25";

/// An engine that hangs is not asked for more.
const LIMIT: Duration = Duration::from_secs(10);

thread_local! {
    /// Containers of the laboratory that this thread has opened: each test has a thread of its own.
    static HOSTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A host was started.
pub(crate) fn add(container: &str) {
    HOSTS.with_borrow_mut(|hosts| hosts.push(container.to_owned()));
}

/// The laboratory is closed.
pub(crate) fn clear() {
    HOSTS.with_borrow_mut(Vec::clear);
}

/// The end of each host's log; empty when there is no host.
#[must_use]
pub fn last_words() -> String {
    let hosts = HOSTS.with_borrow(Clone::clone);
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
