//! Where a test may look in between two steps of a write. The product has none of it.

use std::path::Path;

/// What was just done.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only tests look")]
pub(super) enum Step<'a> {
    /// Something was written that the device need not have.
    Wrote(&'static str),
    /// The device has this file, or the names in this folder.
    Synced(&'a Path),
    /// sled opened the segment in this folder, and synced what it changed in its files.
    Opened(&'a Path),
}

/// A handle that each part of a store has.
#[derive(Clone, Default)]
pub(super) struct Steps {
    #[cfg(test)]
    pub(super) watcher: std::sync::Arc<std::sync::Mutex<Option<Watcher>>>,
}

#[cfg(test)]
pub(super) type Watcher = Box<dyn FnMut(Step<'_>) + Send>;

impl Steps {
    #[cfg(test)]
    pub(super) fn at(&self, step: Step<'_>) {
        if let Some(watcher) = super::folder::lock(&self.watcher).as_mut() {
            watcher(step);
        }
    }

    #[cfg(not(test))]
    #[inline]
    pub(super) const fn at(&self, _step: Step<'_>) {}
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}
