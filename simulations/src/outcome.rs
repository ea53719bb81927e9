//! What came of a run, for people and for programs.

use std::{fmt, time::Duration};

use crate::{ledger::Totals, world::Counts};

/// The numbers of a run and the laws it broke.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(crate) devices: u32,
    pub(crate) seed: u64,
    pub(crate) faults: usize,
    pub(crate) virtual_ms: u64,
    pub(crate) counts: Counts,
    pub(crate) totals: Totals,
    /// Calls that modules answered, and those that they did not.
    pub(crate) calls: (u64, u64),
    /// Changes of twins that devices took.
    pub(crate) twins_changed: u64,
    pub(crate) trace_lines: u64,
    pub(crate) fingerprint: u64,
    /// Laws that were broken, in words; empty when all hold.
    pub broken: Vec<String>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Stands for the whole trace: two runs are the same when it is.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Messages that modules published and daemons accepted.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.totals.accepted
    }

    /// Calls of operators that modules answered.
    #[must_use]
    pub const fn calls_answered(&self) -> u64 {
        self.calls.0
    }

    /// Changes of twins that devices took.
    #[must_use]
    pub const fn twins_changed(&self) -> u64 {
        self.twins_changed
    }

    /// One JSON object, all of it but the time it took decided by the seed.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "devices": self.devices,
            "seed": self.seed,
            "virtual_s": self.virtual_ms as f64 / 1000.0,
            "events": self.counts.events,
            "faults": self.faults,
            "sent": self.totals.accepted,
            "expected": self.totals.expected,
            "delivered": self.totals.delivered,
            "lost": self.totals.lost(),
            "doubled": self.totals.doubled,
            "misordered": self.totals.misordered,
            "redelivered": self.totals.redelivered,
            "calls_answered": self.calls.0,
            "calls_failed": self.calls.1,
            "twins_changed": self.twins_changed,
            "daemon_restarts": self.daemon_restarts(),
            "cloud_restarts": self.cloud_restarts(),
            "module_starts": self.counts.module_starts,
            "module_crashes": self.counts.module_crashes,
            "trace_lines": self.trace_lines,
            "trace": format!("{:016x}", self.fingerprint),
            "broken": self.broken,
            "took_s": self.took.as_secs_f64(),
        })
    }

    fn daemon_restarts(&self) -> u64 {
        self.counts.daemon_starts.saturating_sub(u64::from(self.devices))
    }

    const fn cloud_restarts(&self) -> u64 {
        self.counts.cloud_starts.saturating_sub(1)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, counts, .. } = self;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<18}{value}");
        row("fleet", &format_args!("{} devices, seed {}", self.devices, self.seed))?;
        row("virtual time", &format_args!("{:.1} min", self.virtual_ms as f64 / 60_000.0))?;
        row("events", &counts.events)?;
        row("faults", &self.faults)?;
        row(
            "restarts",
            &format_args!(
                "{} of daemons, {} of the cloud; {} starts and {} crashes of modules",
                self.daemon_restarts(),
                self.cloud_restarts(),
                counts.module_starts,
                counts.module_crashes
            ),
        )?;
        row("messages", &format_args!("{} sent, to {} places each", totals.accepted, self.devices + 1))?;
        row("delivered", &format_args!("{} of {}", totals.delivered, totals.expected))?;
        row(
            "lost",
            &format_args!("{}; doubled {}; misordered {}", totals.lost(), totals.doubled, totals.misordered),
        )?;
        row("redelivered", &format_args!("{} to modules that connected anew", totals.redelivered))?;
        row("calls", &format_args!("{} answered, {} failed", self.calls.0, self.calls.1))?;
        row("trace", &format_args!("{:016x}, {} lines", self.fingerprint, self.trace_lines))?;
        row("took", &format_args!("{:.2} s", self.took.as_secs_f64()))?;
        if self.broken.is_empty() {
            return row("laws", &"all hold");
        }
        for law in &self.broken {
            row("BROKEN", law)?;
        }
        Ok(())
    }
}
