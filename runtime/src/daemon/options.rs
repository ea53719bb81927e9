//! How a daemon is asked to run.

use std::path::PathBuf;

use wayside_config::settings::{Settings, is_device_name};

/// What `wayside up` takes.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// The settings file with what the command line puts in its place.
    pub settings: Settings,
    /// Whether modules are stopped with the daemon. Otherwise they run on and are found again.
    pub stop_modules: bool,
    /// Where to record the events of every actor, for a replay.
    pub record: Option<PathBuf>,
}

impl UpOptions {
    /// The device's name: as set, or the host's.
    pub(super) fn name(&self) -> String {
        self.settings.name.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let name: String = host
                .trim()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
                .take(64)
                .collect();
            if is_device_name(&name) { name } else { "device".into() }
        })
    }
}
