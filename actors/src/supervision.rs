//! How often a machine may be restarted after a failure, and when that is given up.

use std::collections::VecDeque;

use crate::time::Time;

/// Failures within [`WINDOW_MS`] after which a machine is given up.
pub const INTENSITY: usize = 6;
/// The time over which failures are counted.
pub const WINDOW_MS: u64 = 60_000;
/// The wait before the first restart; doubles with each failure in the window.
pub const FIRST_BACK_OFF_MS: u64 = 100;

/// The record of one machine's failures.
#[derive(Clone, Debug, Default)]
pub struct Supervision {
    failures: VecDeque<Time>,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rebuild the machine after this time.
    RestartIn {
        /// Milliseconds.
        ms: u64,
    },
    /// It fails too often: leave it and tell the parent.
    GiveUp,
}

impl Supervision {
    /// The machine failed.
    pub fn failed(&mut self, now: Time) -> Verdict {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now.millis_since(*first) > WINDOW_MS) {
            self.failures.pop_front();
        }
        if self.failures.len() >= INTENSITY {
            return Verdict::GiveUp;
        }
        Verdict::RestartIn { ms: FIRST_BACK_OFF_MS << (self.failures.len() - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_and_gives_up_within_the_window() {
        let mut supervision = Supervision::default();
        let verdicts: Vec<_> = (0..6).map(|s| supervision.failed(Time::from_millis(s * 1000))).collect();
        let waits = [100, 200, 400, 800, 1600].map(|ms| Verdict::RestartIn { ms });
        assert_eq!(verdicts[..5], waits);
        assert_eq!(verdicts[5], Verdict::GiveUp);
    }

    #[test]
    fn rare_failures_never_add_up() {
        let mut supervision = Supervision::default();
        for hour in 0..100 {
            let verdict = supervision.failed(Time::from_millis(hour * 3_600_000));
            assert_eq!(verdict, Verdict::RestartIn { ms: 100 });
        }
    }
}
