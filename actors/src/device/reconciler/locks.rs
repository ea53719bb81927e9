//! Who holds updates back, why and until when. A lock has an end, so that nobody who is gone holds them back for ever; and it
//! outlives the daemon, for who took it was told that it is held.

use std::fmt;

use serde::{Deserialize, Serialize};
use wayside_config::{window::utc_minute, workload::ModuleId};

/// The longest that a lock holds before it has to be taken again, in milliseconds.
pub const LOCK_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// A lock's reason, in bytes.
pub const REASON_BYTES: usize = 256;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Who has the device's socket: it holds for all workloads.
    Operator,
    /// A module: it holds for its workload.
    Module(ModuleId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Module(module) => module.fmt(f),
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Whose.
    pub owner: Owner,
    /// Until when, by the wall clock in milliseconds.
    pub until_ms: u64,
    /// For a person.
    pub reason: String,
}

impl Lock {
    /// Whether it holds at this time. A clock that was set back by a year is no reason to hold for a year.
    #[must_use]
    pub const fn holds(&self, wall_ms: u64) -> bool {
        self.until_ms > wall_ms && self.until_ms - wall_ms <= LOCK_MAX_MS
    }

    pub(super) fn describe(&self) -> String {
        let Self { owner, until_ms, reason } = self;
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        format!("{owner} holds updates back until {}{reason}", utc_minute(*until_ms))
    }
}

/// All of them, each owner's once, by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks(Vec<Lock>);

impl Locks {
    /// Those that hold at this time.
    pub fn holding(&self, wall_ms: u64) -> impl Iterator<Item = &Lock> {
        self.0.iter().filter(move |lock| lock.holds(wall_ms))
    }

    /// The one that holds a workload back for longest.
    pub(super) fn longest(&self, workload: &str, wall_ms: u64) -> Option<&Lock> {
        let is_for = |lock: &&Lock| match &lock.owner {
            Owner::Operator => true,
            Owner::Module(module) => *module.workload == *workload,
        };
        self.holding(wall_ms).filter(is_for).max_by_key(|lock| lock.until_ms)
    }

    /// Takes one, in place of what the owner had; for no time at all, lets it go. Those that are over go, too.
    pub(super) fn set(&mut self, owner: Owner, for_ms: u64, mut reason: String, wall_ms: u64) {
        self.0.retain(|lock| lock.owner != owner && lock.holds(wall_ms));
        if for_ms > 0 {
            let end = (0..=REASON_BYTES.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
            reason.truncate(end.unwrap_or(0));
            let until_ms = wall_ms.saturating_add(for_ms.min(LOCK_MAX_MS));
            let at = self.0.partition_point(|lock| lock.owner < owner);
            self.0.insert(at, Lock { owner, until_ms, reason });
        }
    }

    /// Modules that are not here any more hold nothing back.
    pub(super) fn keep(&mut self, is_here: impl Fn(&ModuleId) -> bool) {
        self.0.retain(|lock| match &lock.owner {
            Owner::Operator => true,
            Owner::Module(module) => is_here(module),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_for_its_workload_until_its_end_and_never_longer_than_a_day() {
        let press = Owner::Module(ModuleId::new("plant", "press"));
        let mut locks = Locks::default();
        locks.set(press.clone(), 60_000, "filling".into(), 1_000);
        let why =
            |locks: &Locks, workload: &str, wall_ms| locks.longest(workload, wall_ms).map(Lock::describe);
        let expected = "plant/press holds updates back until 1970-01-01 00:01 UTC (filling)";
        assert_eq!(why(&locks, "plant", 60_999).as_deref(), Some(expected));
        assert_eq!((why(&locks, "plant", 61_000), why(&locks, "other", 1_000)), (None, None));
        locks.set(Owner::Operator, u64::MAX, "é".repeat(200), 2_000);
        let longest = locks.longest("plant", 2_000).unwrap();
        assert_eq!((&longest.owner, longest.until_ms), (&Owner::Operator, 2_000 + LOCK_MAX_MS));
        assert_eq!(longest.reason.len(), REASON_BYTES);
        // The clock is set back by two days: it is not held back for three.
        assert_eq!(locks.longest("plant", 0), Some(&locks.0[1]));
        locks.keep(|_| false);
        assert_eq!(locks.longest("plant", 0), None);
        locks.set(Owner::Operator, 0, String::new(), 2_000);
        assert_eq!(locks, Locks::default());
    }
}
