//! How a device is kept: when workloads are updated, and which images stay.

use serde::{Deserialize, Deserializer, de};

use crate::{units, window::Window};

/// An image that nothing needs goes after so long when nothing else is said, in milliseconds: a week.
pub const KEEP_UNUSED_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Which images stay on a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSettings {
    /// How long one stays that the device got and that nothing needs any more, in milliseconds.
    #[serde(rename = "keep_unused", deserialize_with = "duration")]
    pub keep_unused_ms: u64,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self { keep_unused_ms: KEEP_UNUSED_MS }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::duration_ms(&text).ok_or_else(|| de::Error::custom("expected a duration such as \"168h\""))
}

/// How workloads are updated on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSettings {
    /// When a version that runs may be replaced; empty for when each workload says. At most [`WINDOWS`].
    pub windows: Vec<Window>,
}
