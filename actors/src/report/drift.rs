//! What is not as it should be: named, with what is instead, since when, and why.

use serde::{Deserialize, Serialize};

use super::{MAX_MODULES, MAX_WORKLOADS};

/// What a device reports as not as it should be, at most.
pub const MAX_DRIFT: usize = MAX_MODULES + MAX_WORKLOADS;
/// How it should be, or is, in bytes, at most.
pub const MAX_DRIFT_WORD_BYTES: usize = 128;

/// A workload or a module that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What should be, such as `version 7` or `running`.
    pub desired: String,
    /// What is, such as `version 6`, `back-off` or `none`.
    pub reported: String,
    /// Since when, by the device's wall clock in milliseconds; at most since its daemon started.
    pub since_ms: u64,
    /// Why, in words, where that is known.
    pub why: String,
}
