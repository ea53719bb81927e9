//! Whether a version that is ready may replace the one that runs: not while somebody holds updates back, nor outside of
//! maintenance windows. What is got beforehand, a version that is taken back, and a module that is started again ask nobody.

use wayside_config::window::{utc_minute, wait_ms};

use super::Reconciler;
use crate::{
    device::reconciler::{Effect, Owner, course::HeldBack},
    machine::Effects,
    time::Time,
};

/// A change of who holds updates back.
pub(super) struct Taking {
    pub(super) owner: Owner,
    pub(super) for_ms: u64,
    pub(super) reason: String,
    pub(super) wall_ms: u64,
    pub(super) ticket: Option<u64>,
}

impl Reconciler {
    /// This is the time that was asked for: those that are ready may go on, or not.
    pub(super) fn decide(&mut self, wall_ms: u64, now: Time, out: &mut Effects<Effect>) {
        let asking = self.courses.iter().filter(|(_, course)| course.asks()).map(|(name, _)| name.clone());
        for name in asking.collect::<Vec<_>>() {
            let held = self.held_back(&name, wall_ms);
            self.course(&name, now, out, |course, acts| course.decide(held, now, acts));
        }
    }

    fn held_back(&self, name: &str, wall_ms: u64) -> Option<HeldBack> {
        if let Some(lock) = self.locks.longest(name, wall_ms) {
            return Some(HeldBack { why: lock.describe(), wait_ms: lock.until_ms - wall_ms });
        }
        let update = &self.courses.get(name)?.target().release.workload.update;
        // The device's own word goes before that of the release.
        let windows = if self.windows.is_empty() { &update.windows } else { &self.windows };
        let wait_ms = if update.now { 0 } else { wait_ms(windows, wall_ms) };
        let opens = || utc_minute(wall_ms.saturating_add(wait_ms));
        (wait_ms > 0)
            .then(|| HeldBack { why: format!("the next maintenance window opens at {}", opens()), wait_ms })
    }

    /// Somebody holds updates back, or lets them go on.
    pub(super) fn lock(&mut self, taking: Taking, now: Time, out: &mut Effects<Effect>) {
        let Taking { owner, for_ms, reason, wall_ms, ticket } = taking;
        if let (Owner::Module(module), Some(ticket)) = (&owner, ticket)
            && self.spec(module).is_none()
        {
            let reason = format!("{module} is no module of this device, so it has nothing to hold back");
            return out.push(Effect::LockRefused { ticket, reason });
        }
        let before = self.locks.clone();
        self.locks.set(owner, for_ms, reason, wall_ms);
        if self.locks != before {
            out.persist(Effect::SaveLocks(self.locks.clone()));
        }
        if let Some(ticket) = ticket {
            out.push(Effect::LockTaken { ticket });
        }
        if for_ms == 0 {
            for name in self.courses.keys().cloned().collect::<Vec<_>>() {
                self.course(&name, now, out, |course, acts| course.ask_again(acts));
            }
        }
    }

    /// Modules that are gone hold nothing back any more.
    pub(super) fn forget_locks(&mut self, out: &mut Effects<Effect>) {
        let mut locks = std::mem::take(&mut self.locks);
        let before = locks.clone();
        locks.keep(|module| self.spec(module).is_some());
        self.locks = locks;
        if self.locks != before {
            out.persist(Effect::SaveLocks(self.locks.clone()));
        }
    }
}
