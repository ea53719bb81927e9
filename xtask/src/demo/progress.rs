//! How far the demo is: one live line in a terminal, a plain line now and then elsewhere.

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    time::{Duration, Instant},
};

use wayside_tests::{
    cloud::Count,
    weather::{DEVICES, Expected},
};

const PLAIN_EVERY: Duration = Duration::from_secs(5);
const BAR: u64 = 14;

pub(crate) struct Progress {
    live: bool,
    started: Instant,
    shown: Option<Instant>,
    rows: BTreeMap<&'static str, (u64, u64)>,
    alarms: (u64, u64),
}

impl Progress {
    pub(crate) fn new(expected: &Expected, live: bool) -> Self {
        let rows = DEVICES.iter().map(|name| (*name, (0, expected.rows(name)))).collect();
        Self { live, started: Instant::now(), shown: None, rows, alarms: (0, expected.totals().1) }
    }

    /// Takes what the cloud has stored.
    pub(crate) fn count(&mut self, counts: &[Count]) {
        self.alarms.0 = 0;
        for count in counts {
            if count.route.ends_with("observations") {
                if let Some(rows) = self.rows.get_mut(count.device_name.as_str()) {
                    rows.0 = count.stored;
                }
            } else {
                self.alarms.0 += count.stored;
            }
        }
    }

    /// The share of all observations that has arrived.
    pub(crate) fn share(&self) -> f64 {
        let (have, all) = self.rows.values().fold((0, 0), |sum, rows| (sum.0 + rows.0, sum.1 + rows.1));
        #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^52")]
        let share = have as f64 / all.max(1) as f64;
        share
    }

    /// Whether as much has arrived as is expected.
    pub(crate) fn is_complete(&self) -> bool {
        self.rows.values().all(|(have, all)| have >= all) && self.alarms.0 >= self.alarms.1
    }

    /// A thing that happened, on a line of its own.
    pub(crate) fn tell(&mut self, words: &str) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        println!("{clear}{:>4} s  {words}", self.started.elapsed().as_secs());
        self.shown = None;
    }

    /// Where it is now.
    pub(crate) fn show(&mut self) {
        if !self.live && self.shown.is_some_and(|when| when.elapsed() < PLAIN_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let mut line = format!("{:>4} s ", self.started.elapsed().as_secs());
        for (name, (have, all)) in &self.rows {
            line.push_str(&format!(" {name} {} {have:>4}/{all} ", bar(*have, *all)));
        }
        line.push_str(&format!(" alarms {}", self.alarms.0));
        if self.live {
            print!("\r\x1b[2K{line}");
            // A terminal that is gone ends the demo elsewhere.
            let _flushed = stdout().flush();
        } else {
            println!("{line}");
        }
    }

    /// The live line is over.
    pub(crate) fn end(&self) {
        if self.live {
            println!();
        }
    }
}

fn bar(have: u64, all: u64) -> String {
    let full = (have * BAR / all.max(1)).min(BAR);
    (0..BAR).map(|place| if place < full { '#' } else { '.' }).collect()
}
