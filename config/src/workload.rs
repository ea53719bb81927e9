//! A validated workload: what a Compose file with an `x-wayside` block means.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

pub use crate::route::{BatchRule, Delivery, Destination, Route, Sample, WhenFull, WhenRemoved};
use crate::{
    leaf::Leaf,
    limits::{IMAGE_BYTES, PIDS, PULL_MAX_BYTES, SECRETS, STOP_GRACE_MS},
    patch::Properties,
    privilege::Privilege,
    secret::SecretMount,
    template::Template,
    text::Text,
    window::Window,
};

/// A versioned set of modules and routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name: lower-case letters, digits, `-`, `_`; at most 63 characters.
    pub name: String,
    /// Which devices run it.
    pub target: Target,
    /// By service name.
    pub modules: BTreeMap<String, ModuleSpec>,
    /// Things without a daemon that may connect to a device of the workload, by name. Leaves and modules share
    /// one name space.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leaves: BTreeMap<String, Leaf>,
    /// Where messages go, in the order of the file.
    pub routes: Vec<Route>,
    /// What is desired of a module when its twin begins, by module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub twins: BTreeMap<String, Properties>,
    /// How a device goes from the version before to this one.
    #[serde(default, skip_serializing_if = "Update::is_usual")]
    pub update: Update,
    /// Who has a port of the device that several of its workloads publish: from 0 to [`crate::limits::PRIORITY_MAX`], the highest.
    #[serde(default = "usual_priority", skip_serializing_if = "is_usual_priority")]
    pub priority: u8,
}

impl Workload {
    /// Of a workload that says nothing of it.
    pub const PRIORITY: u8 = 4;
}

const fn usual_priority() -> u8 {
    Workload::PRIORITY
}

/// By reference, as serde wants it.
const fn is_usual_priority(priority: &u8) -> bool {
    *priority == Workload::PRIORITY
}

/// How a device goes from one version of a workload to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// How long what changed has to run well before the version before is given up, in milliseconds: at most
    /// [`crate::limits::PROBATION_MS`]. 0 gives it up at once.
    pub probation_ms: u64,
    /// When this version may replace the one that runs, where the device has no windows of its own; empty for at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Whether who signed it wants it outside of windows, too: no file says so, but an operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
    /// What may be downloaded for the images of a version together, in bytes: at most [`PULL_MAX_BYTES`]. `None` for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_max_bytes: Option<u64>,
}

impl Update {
    /// Whether nothing else was asked for.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// What may be downloaded for the images of a version together, in bytes.
    #[must_use]
    pub fn pull_max(&self) -> u64 {
        self.pull_max_bytes.unwrap_or(PULL_MAX_BYTES).min(PULL_MAX_BYTES)
    }
}

impl Default for Update {
    fn default() -> Self {
        Self { probation_ms: 60_000, windows: Vec::new(), now: false, pull_max_bytes: None }
    }
}

/// Which devices run a workload. All conditions must hold; none means every device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Names or keys; empty for any.
    pub devices: Vec<String>,
    /// Labels the device must carry; empty for any.
    pub labels: BTreeMap<String, String>,
}

/// One container of a workload, as Compose describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSpec {
    /// Image reference.
    pub image: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Environment, without what the daemon adds.
    pub environment: BTreeMap<String, String>,
    /// Variables whose values name labels of the device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, Template>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Absolute path.
    pub working_dir: Option<String>,
    /// When it is started again.
    pub restart: Restart,
    /// Labels of the container. `wayside.` is reserved.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds between the stop signal and the kill.
    pub stop_grace_ms: u64,
    /// Instead of SIGTERM.
    pub stop_signal: Option<String>,
    /// Whether an init process reaps its children.
    pub init: bool,
    /// Whether its root file system is read-only; `None` for what its image says by the label `wayside.read-only`.
    pub read_only: Option<bool>,
    /// Paths in memory.
    pub tmpfs: Vec<String>,
    /// Memory limit in bytes; `None` for the engine's default.
    pub memory_bytes: Option<u64>,
    /// CPU limit in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Process limit.
    pub pids: Option<u32>,
    /// Named volumes and where they are mounted.
    pub volumes: Vec<VolumeMount>,
    /// Published ports.
    pub ports: Vec<PortMapping>,
    /// Secrets that it gets as files in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretMount>,
    /// What it asks for beyond what every container has; each device's policy decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Privilege>,
    /// How the engine finds out whether it is well; `None` for what its image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
    /// What has to be there before it is started, by module of the same workload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Dependency>,
}

impl ModuleSpec {
    /// What its container is made of: two with the same are one container. Where in the file something is asked for changes nothing
    /// of what it is, and whom it waits for is not in it.
    #[must_use]
    pub fn of_container(&self) -> Self {
        let mut spec = self.clone();
        spec.privileges.iter_mut().for_each(|asked| asked.line = 0);
        spec.depends_on.clear();
        spec
    }

    /// How long it has to end by itself, in milliseconds: [`STOP_GRACE_MS`] at most, whoever signed more.
    #[must_use]
    pub fn grace_ms(&self) -> u64 {
        self.stop_grace_ms.min(STOP_GRACE_MS)
    }

    /// How many processes it may have, where it says so: from 1 to [`PIDS`], whoever signed more. An engine takes 0 for no limit.
    #[must_use]
    pub fn pids_max(&self) -> Option<u32> {
        self.pids.filter(|pids| *pids > 0).map(|pids| pids.min(PIDS))
    }

    /// How much memory it may have, where it says so, of `most_bytes` that any may: in bytes. An engine takes 0 for no limit.
    #[must_use]
    pub fn memory_max(&self, most_bytes: Option<u64>) -> Option<u64> {
        let own = self.memory_bytes.filter(|bytes| *bytes > 0);
        own.into_iter().chain(most_bytes).min()
    }

    /// What no Compose file could have given it, if anything: what a device hands on to its engine it checks itself, whoever signed it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        if !is_image(&self.image) {
            return Some(format!("the image `{}`", self.image.escape_debug()));
        }
        let label = self.labels.keys().find(|label| label.starts_with("wayside."));
        let address = self.ports.iter().filter_map(|port| port.host_ip.as_deref());
        let mut addresses = address.filter(|ip| ip.parse::<IpAddr>().is_err());
        label
            .map(|label| format!("the label `{}`", label.escape_debug()))
            .or_else(|| addresses.next().map(|ip| format!("the address `{}` for a port", ip.escape_debug())))
            .or_else(|| (self.secrets.len() > SECRETS).then(|| format!("{} secrets", self.secrets.len())))
    }
}

/// How the engine finds out whether a module is well. What is `None`, and an empty test, is as the image says, else as the engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `CMD` and a program with its arguments, `CMD-SHELL` and a line for the shell, or `NONE`.
    pub test: Vec<String>,
    /// Milliseconds between two runs.
    pub interval_ms: Option<u64>,
    /// Milliseconds that a run may take.
    pub timeout_ms: Option<u64>,
    /// Failures in a row that make a module unhealthy.
    pub retries: Option<u32>,
    /// Milliseconds after the start in which failures do not count.
    pub start_period_ms: Option<u64>,
    /// Milliseconds between two runs within that time.
    pub start_interval_ms: Option<u64>,
}

impl HealthCheck {
    /// Whether it says that there is no check.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.test.first().is_some_and(|first| first == "NONE")
    }
}

/// What a module needs another one for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// What has to be so before the module is started.
    pub condition: Condition,
    /// Whether the module is started again when the other one was replaced.
    pub restart: bool,
    /// Whether the module waits for one that has failed.
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self { condition: Condition::Started, restart: false, required: true }
    }
}

/// What has to be so of a module that others depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It was started.
    Started,
    /// Its health check says that it is well.
    Healthy,
    /// It ended with code 0.
    Completed,
}

/// A named volume in a container. Volumes of a workload are the device's own, kept across updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// The volume, without the workload's name.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// A port of the container published on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Address to listen on; `None` for the engine's default.
    pub host_ip: Option<String>,
    /// Port on the device.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Whether UDP rather than TCP.
    pub udp: bool,
}

/// When a module is started again after it ended. As in Compose; the default here is `unless-stopped`,
/// for a device has nobody to start it by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    No,
    /// Always.
    Always,
    /// Unless an operator stopped it; the same as always here.
    #[default]
    UnlessStopped,
    /// Only when it ended with a code other than 0, at most this often when given.
    OnFailure {
        /// Attempts; `None` for no limit.
        max_retries: Option<u32>,
    },
}

/// A module or a leaf of a workload. Shown as `workload/module`. Cheap to clone: every message on its way names some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModuleId {
    /// The workload's name.
    pub workload: Text,
    /// The service's name, or the leaf's.
    pub module: Text,
}

impl ModuleId {
    /// The module or leaf `module` of `workload`.
    #[must_use]
    pub fn new(workload: impl Into<Text>, module: impl Into<Text>) -> Self {
        Self { workload: workload.into(), module: module.into() }
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workload, self.module)
    }
}

/// The text is not `workload/module`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected WORKLOAD/MODULE, each of lower-case letters, digits, `-` and `_`")]
pub struct BadModuleId;

impl FromStr for ModuleId {
    type Err = BadModuleId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (workload, module) = text.split_once('/').ok_or(BadModuleId)?;
        if !is_name(workload) || !is_name(module) {
            return Err(BadModuleId);
        }
        Ok(Self { workload: workload.into(), module: module.into() })
    }
}

/// Whether `text` may name a workload, a module or a route: 1 to 63 of `a-z 0-9 - _`, beginning with a letter or digit.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

/// Whether `text` may name an image: up to [`IMAGE_BYTES`] of `A-Z a-z 0-9 . _ - / : @ [ ]`, beginning with a letter, a digit or a
/// bracket, without `..` and `//`. Engines and registries ask for more; this keeps a name from being part of another question to them.
#[must_use]
pub fn is_image(text: &str) -> bool {
    let is_allowed = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'[' | b']')
    };
    text.len() <= IMAGE_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && text.bytes().all(is_allowed)
        && !text.contains("..")
        && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_may_use_is_bounded_whoever_signed_more() {
        let of = |pids, memory_bytes, stop_grace_ms| ModuleSpec {
            pids,
            memory_bytes,
            stop_grace_ms,
            ..Default::default()
        };
        let much = of(Some(u32::MAX), Some(u64::MAX), u64::MAX);
        assert_eq!(
            (much.pids_max(), much.memory_max(Some(7)), much.grace_ms()),
            (Some(PIDS), Some(7), STOP_GRACE_MS)
        );
        let none = of(Some(0), Some(0), 0);
        assert_eq!((none.pids_max(), none.memory_max(Some(7)), none.memory_max(None)), (None, Some(7), None));
        let some = of(Some(77), Some(5), 90_000);
        assert_eq!((some.pids_max(), some.memory_max(Some(7)), some.grace_ms()), (Some(77), Some(5), 90_000));
        assert_eq!(some.memory_max(None), Some(5));
    }
}
