//! The least that the time can be: what signed documents told, and what was lived through since.
//!
//! A clock that is set back does not go below it, so what has expired stays expired. A clock that stands far ahead does
//! not raise it, so that what it makes seem expired is good again when the clock is.

use crate::control::Now;

/// Between two times at which what was lived through is kept.
pub(crate) const KEEP_MS: u64 = 60 * 60 * 1000;

const WORTH_KEEPING_MS: u64 = 60 * 1000;

/// A wall-clock time that is past for certain, as of an uptime of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lived {
    least_ms: u64,
    at_uptime_ms: u64,
    /// As it is on the disk.
    kept_ms: u64,
}

impl Lived {
    /// As it was kept, by a daemon that has just started.
    pub(super) const fn from_kept(least_ms: u64) -> Self {
        Self { least_ms, at_uptime_ms: 0, kept_ms: least_ms }
    }

    /// The least that the time is now.
    pub(super) const fn least_ms(&self, now: Now) -> u64 {
        self.least_ms.saturating_add(now.uptime_ms.saturating_sub(self.at_uptime_ms))
    }

    /// What the time is taken for: the wall clock's, unless that cannot be.
    pub(super) fn time_ms(&self, now: Now) -> u64 {
        now.wall_ms.max(self.least_ms(now))
    }

    /// Somebody whose word counts was at work at `told_ms`.
    pub(super) fn told(&mut self, told_ms: u64, now: Now) {
        *self = Self { least_ms: self.least_ms(now).max(told_ms), at_uptime_ms: now.uptime_ms, ..*self };
    }

    /// What is to be kept; `None` where that is hardly more than is kept, for every write wears the disk.
    pub(super) fn worth_keeping(&self, now: Now) -> Option<u64> {
        Some(self.least_ms(now)).filter(|least_ms| *least_ms >= self.kept_ms.saturating_add(WORTH_KEEPING_MS))
    }

    /// It is on the disk now.
    pub(super) const fn kept(&mut self, kept_ms: u64) {
        self.kept_ms = kept_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_follows_the_clock_and_never_goes_below_what_was_lived_through() {
        let at = |wall_ms, uptime_ms| Now { wall_ms, uptime_ms };
        let mut lived = Lived::from_kept(1000);
        assert_eq!(lived.time_ms(at(5000, 0)), 5000);
        assert_eq!(lived.time_ms(at(10, 300)), 1300);
        lived.told(4000, at(10, 400));
        assert_eq!(lived.time_ms(at(10, 500)), 4100);
        // Ten years ahead and back again: nothing stays of it.
        assert_eq!(lived.time_ms(at(u64::MAX, 600)), u64::MAX);
        assert_eq!(lived.time_ms(at(10, 700)), 4300);
        // An older word is no way back, and what was lived through is kept.
        lived.told(1, at(10, 800));
        assert_eq!(lived.least_ms(at(10, 800)), 4400);
        assert_eq!(lived.worth_keeping(at(10, 800)), None);
        assert_eq!(lived.worth_keeping(at(10, 90_000)), Some(93_600));
        lived.kept(93_600);
        assert_eq!(lived.worth_keeping(at(10, 90_000)), None);
        assert_eq!(Lived::from_kept(4400).time_ms(at(10, 0)), 4400);
    }
}
