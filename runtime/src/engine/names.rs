//! What containers, networks and volumes of a device are called, and the labels that say so.

use wayside_config::{identity::DeviceId, workload::ModuleId};

/// Whose container it is. Containers without it, or of another device, are never touched.
pub(super) const DEVICE: &str = "wayside.device";
/// Which module it is.
pub(super) const MODULE: &str = "wayside.module";
/// The hash of what it was made from.
pub(super) const SPEC: &str = "wayside.spec";

/// The number that its password is derived from.
pub(super) const CREDENTIALS: &str = "wayside.credentials";

/// Which secrets it was made with, as JSON: what [`wayside_config::workload::ModuleSpec::secrets`] said, and no value.
pub(super) const SECRETS: &str = "wayside.secrets";

/// By which an image says that its containers write nothing into their root file system.
pub(super) const READ_ONLY: &str = "wayside.read-only";

/// The name by which modules find their daemon.
pub(super) const BROKER: &str = "wayside";

pub(super) fn network(device: &DeviceId) -> String {
    format!("wayside-{}", device.short())
}

/// `.` is in no name of a workload, a module or a volume, so two of them never make one.
pub(super) fn container(device: &DeviceId, module: &ModuleId) -> String {
    format!("wayside-{}-{}.{}", device.short(), module.workload, module.module)
}

/// What stands after the name of a container that has ended and is being removed: the next one of its module has its name. As
/// [`container`], no name of ours has it otherwise.
const LEAVING: &str = ".leaving-";

pub(super) fn leaving(device: &DeviceId, module: &ModuleId, id: &str) -> String {
    format!("{}{LEAVING}{}", container(device, module), id.get(..12).unwrap_or(id))
}

/// What stands after the name of a container that is made ahead: the one that still runs has its name.
const COMING: &str = ".coming-";

pub(super) fn coming(device: &DeviceId, module: &ModuleId, spec_hash: &str) -> String {
    format!("{}{COMING}{}", container(device, module), spec_hash.get(..12).unwrap_or(spec_hash))
}

pub(super) fn is_coming(name: &str) -> bool {
    name.contains(COMING)
}

pub(super) fn is_leaving(name: &str) -> bool {
    name.contains(LEAVING)
}

pub(super) fn volume(device: &DeviceId, workload: &str, volume: &str) -> String {
    format!("wayside-{}-{workload}.{volume}", device.short())
}

/// A filter for what carries this device's label.
pub(super) fn of_device(device: &DeviceId) -> String {
    format!("{DEVICE}={device}")
}
