//! The keys of Compose: which are supported, and what to say of the others.

use std::ops::Range;

use crate::diagnostic::{Problems, quote};

/// A place in the file where only certain keys stand.
pub(super) struct Keys {
    /// As messages call the place.
    pub(super) place: &'static str,
    /// What may stand there.
    pub(super) supported: &'static [&'static str],
    /// What Compose knows and Wayside does not, each with the way out.
    pub(super) refused: &'static [(&'static str, &'static str)],
}

impl Keys {
    /// Reports a key that is not supported here.
    pub(super) fn refuse(&self, key: &str, span: &Range<usize>, problems: &mut Problems) {
        if let Some((_, help)) = self.refused.iter().find(|(name, _)| *name == key) {
            problems.error(span, format!("{} is not supported", quote(key)), *help);
            return;
        }
        let help = closest(key, self.supported).map_or_else(
            || format!("remove it; supported here: {}", self.supported.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        problems.error(span, format!("unknown key {} in {}", quote(key), self.place), help);
    }
}

/// The candidate at most two edits away from `key`, the nearest first.
pub(crate) fn closest<'a>(key: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (edits(key, candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= 2 && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over bytes; large at once when the lengths are far apart.
fn edits(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The top of the file.
pub(super) const TOP: Keys = Keys {
    place: "a Compose file",
    supported: &["name", "services", "volumes", "secrets", "x-wayside", "version"],
    refused: &[
        ("networks", "remove it: the modules of a workload share one network on each device"),
        (
            "configs",
            "not supported yet; remove it, and put small settings in `environment`, or use `secrets`",
        ),
        ("include", "not supported yet; put all services in one file"),
        ("models", "not supported yet; remove it"),
    ],
};

/// A named volume.
pub(super) const VOLUME: Keys = Keys {
    place: "a volume",
    supported: &[],
    refused: &[
        ("driver", "remove it: volumes are the engine's own local ones"),
        ("driver_opts", "remove it: volumes are the engine's own local ones"),
        ("external", "remove it: volumes of a workload are made on each device"),
        ("labels", "not supported yet; remove it"),
        ("name", "remove it: the volume is named by its key"),
    ],
};

/// The `x-wayside` block.
pub(super) const WAYSIDE: Keys = Keys {
    place: "`x-wayside`",
    supported: &["target", "leaves", "routes", "twins", "update", "priority"],
    refused: &[],
};

/// `x-wayside.update`.
pub(super) const UPDATE: Keys =
    Keys { place: "`update`", supported: &["probation", "windows", "pull_max"], refused: &[] };

/// A leaf.
pub(super) const LEAF: Keys = Keys {
    place: "a leaf",
    supported: &["password", "certificate", "publish", "subscribe"],
    refused: &[("username", "remove it: it is WORKLOAD/LEAF")],
};

/// `x-wayside.target`.
pub(super) const TARGET: Keys = Keys { place: "`target`", supported: &["devices", "labels"], refused: &[] };

/// A route.
pub(super) const ROUTE: Keys = Keys {
    place: "a route",
    supported: &[
        "from",
        "to",
        "where",
        "priority",
        "ttl",
        "delivery",
        "buffer",
        "when_full",
        "batch",
        "sample",
        "when_removed",
    ],
    refused: &[],
};

/// A route's `to` in its long form.
pub(super) const TO: Keys = Keys { place: "`to`", supported: &["module", "where"], refused: &[] };

/// A route's `batch`.
pub(super) const BATCH: Keys = Keys { place: "`batch`", supported: &["messages", "within"], refused: &[] };

/// A route's `sample`.
pub(super) const SAMPLE: Keys = Keys { place: "`sample`", supported: &["every", "interval"], refused: &[] };

/// A service.
pub(super) const SERVICE: Keys = Keys {
    place: "a service",
    supported: &[
        "image",
        "command",
        "entrypoint",
        "environment",
        "working_dir",
        "user",
        "restart",
        "labels",
        "stop_grace_period",
        "stop_signal",
        "init",
        "read_only",
        "tmpfs",
        "mem_limit",
        "cpus",
        "pids_limit",
        "volumes",
        "ports",
        "cap_add",
        "devices",
        "network_mode",
        "healthcheck",
        "depends_on",
        "secrets",
    ],
    refused: SERVICE_REFUSED,
};

/// A service's `healthcheck`.
pub(super) const HEALTH: Keys = Keys {
    place: "`healthcheck`",
    supported: &["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"],
    refused: &[],
};

/// One entry of a service's `depends_on`.
pub(super) const DEPENDENCY: Keys =
    Keys { place: "`depends_on`", supported: &["condition", "restart", "required"], refused: &[] };

/// A secret at the top of the file.
pub(super) const SECRET: Keys = Keys {
    place: "a secret",
    supported: &["external", "file", "environment"],
    refused: &[
        ("name", "remove it: the secret is named by its key"),
        ("labels", "remove it: a secret has none"),
        ("driver", "remove it: devices get secrets from `wayside secret set`"),
        ("driver_opts", "remove it: devices get secrets from `wayside secret set`"),
        ("template_driver", "remove it: a secret is delivered as it was set"),
    ],
};

/// A secret of a service in its long form.
pub(super) const SERVICE_SECRET: Keys = Keys {
    place: "a secret of a service",
    supported: &["source", "target", "uid", "gid", "mode"],
    refused: &[],
};

const LATER: &str = "not supported yet; remove it";
const NETWORK: &str = "remove it: the modules of a workload share one network on each device";
const CPU: &str = "use `cpus`";
const MEMORY: &str = "use `mem_limit`";
const PRIVILEGE: &str = "remove it: modules run without privileges";

const SERVICE_REFUSED: &[(&str, &str)] = &[
    ("annotations", "use `labels`"),
    ("attach", "remove it: `wayside logs` shows what a module writes"),
    ("blkio_config", LATER),
    ("build", "build and push the image first, then name it with `image`"),
    ("cap_drop", "remove it: modules have no capabilities but those of `cap_add`"),
    ("cgroup", PRIVILEGE),
    ("cgroup_parent", PRIVILEGE),
    ("configs", "not supported yet; put small settings in `environment`"),
    ("container_name", "remove it: containers are named by device, workload and service"),
    ("cpu_count", CPU),
    ("cpu_percent", CPU),
    ("cpu_period", CPU),
    ("cpu_quota", CPU),
    ("cpu_rt_period", CPU),
    ("cpu_rt_runtime", CPU),
    ("cpu_shares", CPU),
    ("cpuset", CPU),
    ("credential_spec", LATER),
    ("deploy", "use `mem_limit`, `cpus` and `restart`; which devices run it stands in `x-wayside.target`"),
    ("develop", "remove it before the workload is applied"),
    ("device_cgroup_rules", PRIVILEGE),
    ("dns", NETWORK),
    ("dns_opt", NETWORK),
    ("dns_search", NETWORK),
    ("domainname", NETWORK),
    ("env_file", "write the variables under `environment`: the file is not on the device"),
    ("expose", "remove it: modules reach each other by routes; `ports` publishes on the device"),
    ("extends", "not supported yet; write the service out, or use a YAML anchor"),
    ("external_links", NETWORK),
    ("extra_hosts", NETWORK),
    ("gpus", LATER),
    ("group_add", PRIVILEGE),
    ("hostname", NETWORK),
    ("ipc", PRIVILEGE),
    ("isolation", LATER),
    ("label_file", "write the labels under `labels`"),
    ("links", NETWORK),
    ("logging", "remove it: the daemon reads what a module writes"),
    ("mac_address", NETWORK),
    ("mem_reservation", MEMORY),
    ("mem_swappiness", MEMORY),
    ("memswap_limit", MEMORY),
    ("models", LATER),
    ("networks", NETWORK),
    ("oom_kill_disable", MEMORY),
    ("oom_score_adj", MEMORY),
    ("pid", PRIVILEGE),
    ("platform", "remove it: the image is chosen for the device it runs on"),
    ("post_start", LATER),
    ("pre_stop", LATER),
    ("privileged", PRIVILEGE),
    ("profiles", "remove it: every service of a workload runs"),
    ("provider", LATER),
    ("pull_policy", "remove it: an image that is missing is pulled"),
    ("pull_refresh_after", "remove it: an image that is missing is pulled"),
    ("runtime", LATER),
    ("scale", "remove it: each device runs a service once"),
    ("security_opt", PRIVILEGE),
    ("shm_size", "use `tmpfs`"),
    ("stdin_open", "remove it: nobody types into a module"),
    ("storage_opt", LATER),
    ("sysctls", PRIVILEGE),
    ("tty", "remove it: nobody types into a module"),
    ("ulimits", LATER),
    ("use_api_socket", PRIVILEGE),
    ("userns_mode", PRIVILEGE),
    ("uts", PRIVILEGE),
    ("volumes_from", "name a volume under `volumes` in both services"),
    ("x-wayside", "move it to the top of the file: it speaks for the whole workload"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key() {
        assert_eq!(closest("imge", SERVICE.supported), Some("image"));
        assert_eq!(closest("enviroment", SERVICE.supported), Some("environment"));
        assert_eq!(closest("x-waside", TOP.supported), Some("x-wayside"));
        assert_eq!(closest("zzz", SERVICE.supported), None);
        assert_eq!(closest("ab", &["to"]), None);
    }

    #[test]
    fn no_key_is_both_supported_and_refused() {
        for keys in [&TOP, &SERVICE, &VOLUME, &SECRET] {
            assert!(keys.refused.iter().all(|(name, _)| !keys.supported.contains(name)));
        }
        assert!(SERVICE_REFUSED.is_sorted());
    }
}
