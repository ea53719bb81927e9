//! Where a test may look in between two steps of a write. The product has none of it.

use std::path::Path;

/// What was just done.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only tests look")]
pub(super) enum Step<'a> {
    /// This file has these bytes and no others, as far as programs see; the disk need not have them.
    Wrote(&'a Path, &'a [u8]),
    /// The disk has what this file has.
    Synced(&'a Path),
    /// The first name took the place of the second; the disk need not know.
    Renamed(&'a Path, &'a Path),
    /// This name is gone; the disk need not know.
    Removed(&'a Path),
    /// The disk has the names in this folder.
    SyncedFolder(&'a Path),
}

#[cfg(test)]
pub(super) type Watcher = Box<dyn FnMut(Step<'_>)>;

#[cfg(test)]
thread_local! {
    /// Of this thread's writes.
    pub(super) static WATCHER: std::cell::RefCell<Option<Watcher>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
pub(super) fn at(step: Step<'_>) {
    WATCHER.with_borrow_mut(|watcher| {
        if let Some(watcher) = watcher {
            watcher(step);
        }
    });
}

#[cfg(not(test))]
#[inline]
pub(super) const fn at(_step: Step<'_>) {}
