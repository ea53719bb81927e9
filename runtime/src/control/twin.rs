//! A module's twin, as it is shown.

use serde::{Deserialize, Serialize};
use wayside_actors::device::twins::Twin;
use wayside_config::workload::ModuleId;

/// A module's twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinView {
    /// `workload/module`.
    pub module: String,
    /// Which twin of the module it is.
    pub life: u64,
    /// How often what is desired was changed.
    pub desired_version: u64,
    /// What operators want.
    pub desired: serde_json::Value,
    /// How often what is reported changed.
    pub reported_version: u64,
    /// What the module says of itself.
    pub reported: serde_json::Value,
}

impl TwinView {
    /// How a twin is shown.
    #[must_use]
    pub fn new(module: &ModuleId, twin: &Twin) -> Self {
        // What the machine keeps is JSON.
        let value = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Self {
            module: module.to_string(),
            life: twin.life,
            desired_version: twin.desired.version,
            desired: value(&twin.desired.properties),
            reported_version: twin.reported.version,
            reported: value(&twin.reported.properties),
        }
    }
}
