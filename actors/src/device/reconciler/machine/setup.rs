//! How a reconciler is set up.

use std::collections::BTreeMap;

use wayside_config::{privilege::Policy, window::Window};

use super::Reconciler;
use crate::device::reconciler::{Locks, Pulled};

impl Reconciler {
    /// With what modules may ask for on this device; without, they may ask for nothing.
    #[must_use]
    pub fn allowing(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// With the labels that the device was granted; without, it has none.
    #[must_use]
    pub fn labelled(self, labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..self }
    }

    /// With the device's own windows, and with who holds updates back, as that was persisted.
    #[must_use]
    pub fn holding(self, windows: Vec<Window>, locks: Locks) -> Self {
        Self { windows, locks, ..self }
    }

    /// With the images that were got here, as that was persisted, and how long one stays that nothing needs.
    #[must_use]
    pub fn sweeping(self, pulled: Pulled, keep_unused_ms: u64) -> Self {
        Self { pulled, keep_unused_ms, ..self }
    }
}
