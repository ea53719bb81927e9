//! The durable queue in figures, beside what it could reach at most and beside NATS JetStream. `cargo bench-all` runs it,
//! one part a process, and reads the JSON line that each part ends with.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic, and prints")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod append;
mod backlog;
mod jetstream;
mod messages;
mod queue;

use std::{path::PathBuf, time::Duration};

/// What each part takes of a message.
const PAYLOAD_BYTES: usize = 256;

/// Messages that are under way.
const UNDER_WAY: u64 = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(part), Some(dir)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: store PART FOLDER [NUMBER...]; `cargo bench-all` knows the parts");
        return;
    };
    let dir = PathBuf::from(dir);
    let mut number = |default: u64| arguments.next().map_or(default, |number| number.parse().unwrap());
    let line = match part.as_str() {
        "queue" => queue::measure(&dir, Duration::from_secs(number(10)), number(16), number(UNDER_WAY)),
        "append" => append::measure(&dir, Duration::from_secs(number(10)), number(1000)),
        "jetstream" => jetstream::measure(
            number(4222) as u16,
            Duration::from_secs(number(10)),
            number(UNDER_WAY) as usize,
        ),
        "grow" => backlog::grow(&dir, number(10_000_000)),
        "drain" => backlog::drain(&dir),
        other => panic!("no part is called {other}"),
    };
    println!("{line}");
}
