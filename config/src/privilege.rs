//! What a container may have beyond what every container has, when its release asks and the device allows.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    compose::closest,
    workload::{ModuleId, ModuleSpec, Workload},
};

/// One thing that a release asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privilege {
    /// What.
    pub right: Right,
    /// The line of the Compose file that asks, for whoever is refused.
    pub line: u32,
}

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Right {
    /// A capability of Linux, without `CAP_`; or `ALL`.
    Capability(String),
    /// The host's network in place of the workload's own.
    HostNetwork,
    /// A device file.
    Device {
        /// On the host.
        host: String,
        /// In the container.
        container: String,
        /// Of `r`, `w` and `m`.
        permissions: String,
    },
    /// A file or folder of the host.
    HostPath {
        /// On the host.
        host: String,
        /// In the container.
        container: String,
        /// Whether the container may not write.
        read_only: bool,
    },
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(name) => write!(f, "the capability {name}"),
            Self::HostNetwork => write!(f, "the host's network"),
            Self::Device { host, .. } => write!(f, "the device {host}"),
            Self::HostPath { host, read_only: true, .. } => write!(f, "the host's {host}, to read"),
            Self::HostPath { host, read_only: false, .. } => write!(f, "the host's {host}, to write"),
        }
    }
}

/// What this device allows; nothing by default.
///
/// ```toml
/// [policy]
/// capabilities = ["NET_ADMIN"]
/// devices = ["/dev/ttyUSB0"]
/// paths = ["/etc/machine-id:ro", "/srv/data"]
/// host_network = true
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Capabilities, without `CAP_`. `ALL` allows each.
    pub capabilities: BTreeSet<String>,
    /// Device files, each by its whole path.
    pub devices: BTreeSet<String>,
    /// Files and folders of the host, each by its whole path; with `:ro` only to read. What is below one is not
    /// allowed by it: a module that may write there could put a link to anywhere in its place.
    pub paths: BTreeSet<String>,
    /// Whether modules may use the host's network.
    pub host_network: bool,
}

impl Policy {
    /// Whether a module may have it.
    #[must_use]
    pub fn allows(&self, right: &Right) -> bool {
        match right {
            Right::Capability(name) => self.capabilities.contains(name) || self.capabilities.contains("ALL"),
            Right::HostNetwork => self.host_network,
            Right::Device { host, .. } => self.devices.contains(host),
            Right::HostPath { host, read_only, .. } => {
                self.paths.contains(host) || (*read_only && self.paths.contains(&format!("{host}:ro")))
            }
        }
    }

    /// Why a module may not run here, if it may not: what it asks for, where, and what to do.
    #[must_use]
    pub fn refusal(&self, module: &ModuleId, spec: &ModuleSpec) -> Option<String> {
        let refused: Vec<_> = spec.privileges.iter().filter(|asked| !self.allows(&asked.right)).collect();
        if refused.is_empty() {
            return None;
        }
        let asks: Vec<_> =
            refused.iter().map(|asked| format!("{} (line {})", asked.right, asked.line)).collect();
        let key = |asked: &&Privilege| match asked.right {
            Right::Capability(_) => "`capabilities`",
            Right::HostNetwork => "`host_network`",
            Right::Device { .. } => "`devices`",
            Right::HostPath { .. } => "`paths`",
        };
        let keys: Vec<_> = refused.iter().map(key).collect::<BTreeSet<_>>().into_iter().collect();
        Some(format!(
            "{module} asks in its Compose file for {}, which this device does not allow: take it out, or allow it with {} under [policy] in the device's wayside.toml",
            asks.join(" and "),
            keys.join(" and ")
        ))
    }

    /// Why a workload may not run here, if it may not: of the first of its modules that may not.
    #[must_use]
    pub fn refusal_of(&self, workload: &Workload) -> Option<String> {
        workload.modules.iter().find_map(|(name, spec)| {
            self.refusal(&ModuleId::new(workload.name.as_str(), name.as_str()), spec)
        })
    }

    /// The first entry that could never allow anything, and what to write.
    pub(crate) fn mistake(&self) -> Option<(String, String)> {
        let path = |path: &String| is_host_path(path.strip_suffix(":ro").unwrap_or(path));
        let capability = self.capabilities.iter().find(|name| !is_capability(name));
        let paths = self.paths.iter().find(|entry| !path(entry));
        let devices = self.devices.iter().find(|entry| !is_host_path(entry));
        capability.map(|name| (name.clone(), capability_help(name))).or_else(|| {
            let help = "write an absolute path without `.`, `..` and `//`";
            paths.or(devices).map(|path| (path.clone(), help.to_owned()))
        })
    }
}

/// Whether this names a capability: `NET_ADMIN`.
pub(crate) fn is_capability(text: &str) -> bool {
    CAPABILITIES.contains(&text)
}

/// What to write in place of a name that is no capability's.
pub(crate) fn capability_help(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    match closest(upper.strip_prefix("CAP_").unwrap_or(&upper), &CAPABILITIES) {
        Some(near) => format!("did you mean `{near}`? Write the name of a capability of Linux, without CAP_"),
        None => "write the name of a capability of Linux without CAP_, such as `NET_ADMIN`".into(),
    }
}

/// Those of Linux 5.9, after which none came, and all of them.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Whether this is an absolute path in the one form that entries of a policy have.
pub(crate) fn is_host_path(text: &str) -> bool {
    let plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == ':');
    text.len() <= 4096 && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(host: &str, read_only: bool) -> Right {
        Right::HostPath { host: host.into(), container: "/x".into(), read_only }
    }

    fn policy(text: &str) -> Policy {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_is_allowed_that_is_not_named() {
        let device =
            Right::Device { host: "/dev/a".into(), container: "/dev/a".into(), permissions: "r".into() };
        let all = [Right::Capability("NET_ADMIN".into()), Right::HostNetwork, device, path("/srv", true)];
        for right in &all {
            assert!(!Policy::default().allows(right), "{right}");
        }
        let open =
            policy("capabilities = ['ALL']\ndevices = ['/dev/a']\npaths = ['/srv']\nhost_network = true");
        assert!(all.iter().all(|right| open.allows(right)));
    }

    #[test]
    fn a_path_is_allowed_as_it_is_written_and_nothing_below_it() {
        let policy = policy("paths = ['/srv/data', '/etc/id:ro']");
        assert!(policy.allows(&path("/srv/data", false)) && policy.allows(&path("/srv/data", true)));
        assert!(policy.allows(&path("/etc/id", true)) && !policy.allows(&path("/etc/id", false)));
        for other in ["/srv/data/x", "/srv", "/srv/data/", "/srv/database", "/"] {
            assert!(!policy.allows(&path(other, true)), "{other}");
        }
    }

    #[test]
    fn a_refusal_names_what_and_the_line() {
        let asks = [(Right::Capability("NET_ADMIN".into()), 7), (Right::HostNetwork, 8)];
        let privileges = asks.map(|(right, line)| Privilege { right, line }).into();
        let spec = ModuleSpec { privileges, ..ModuleSpec::default() };
        let id = "w/m".parse().unwrap();
        let some = policy("host_network = true");
        assert_eq!(
            some.refusal(&id, &spec).unwrap(),
            "w/m asks in its Compose file for the capability NET_ADMIN (line 7), which this device does not allow: take it out, or allow it with `capabilities` under [policy] in the device's wayside.toml"
        );
        assert!(
            Policy::default()
                .refusal(&id, &spec)
                .unwrap()
                .contains("(line 7) and the host's network (line 8)")
        );
        assert!(
            Policy::default()
                .refusal(&id, &spec)
                .unwrap()
                .contains("`capabilities` and `host_network` under")
        );
        assert_eq!(policy("capabilities = ['NET_ADMIN']\nhost_network = true").refusal(&id, &spec), None);
    }

    #[test]
    fn a_capability_that_linux_has_not_is_named_with_the_nearest() {
        let near = policy("capabilities = ['NET_ADMN']").mistake().unwrap();
        assert_eq!(near.0, "NET_ADMN");
        assert!(near.1.starts_with("did you mean `NET_ADMIN`?"), "{near:?}");
        assert!(capability_help("cap_sys_tim").starts_with("did you mean `SYS_TIME`?"));
        assert!(!capability_help("EVERYTHING_THERE_IS").contains("did you mean"));
        assert!(CAPABILITIES.is_sorted());
    }

    #[test]
    fn an_entry_that_allows_nothing_is_a_mistake() {
        for wrong in [
            "capabilities = ['CAP_net']",
            "capabilities = ['CAP_NET_ADMIN']",
            "capabilities = ['NET_ADMN']",
            "paths = ['srv']",
            "paths = ['/a/../b']",
            "devices = ['/dev//a']",
        ] {
            assert!(policy(wrong).mistake().is_some(), "{wrong}");
        }
        assert_eq!(policy("capabilities = ['ALL']\npaths = ['/a:ro']\ndevices = ['/dev/a']").mistake(), None);
    }
}
