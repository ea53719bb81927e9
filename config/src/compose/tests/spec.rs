//! Every key of the Compose specification is either read or refused by name, with a way out.

use super::*;

/// The properties of a service in `schema/compose-spec.json` of the Compose specification, as of 2026-06-23.
const SERVICE: [&str; 92] = [
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
];

/// Those of a file, and of a named volume.
const TOP: [&str; 9] =
    ["configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes"];
const VOLUME: [&str; 5] = ["driver", "driver_opts", "external", "labels", "name"];

fn is_settled(keys: &keys::Keys, key: &str) -> bool {
    keys.supported.contains(&key) != keys.refused.iter().any(|(name, help)| *name == key && help.len() > 5)
}

#[test]
fn every_key_of_the_specification_is_read_or_refused_with_a_way_out() {
    for (keys, of_spec) in
        [(&keys::SERVICE, SERVICE.as_slice()), (&keys::TOP, &TOP), (&keys::VOLUME, &VOLUME)]
    {
        for key in of_spec {
            assert!(is_settled(keys, key), "{key} in {}", keys.place);
        }
    }
}

#[test]
fn every_key_that_is_said_to_be_supported_is_read() {
    for key in keys::SERVICE.supported {
        // No key takes this for a value; what is wrong with it is said by whoever reads the key.
        let image = if *key == "image" { "" } else { "    image: a\n" };
        let text = format!("name: w\nservices:\n  a:\n{image}    {key}: {{ no: {{ such: [value] }} }}\n");
        let refused = parse("compose.yaml", &text).err().map(|report| report.findings()).unwrap_or_default();
        for error in refused.into_iter().map(|finding| finding.message) {
            assert!(!error.contains(&format!("unknown key `{key}` in a service")), "{error}");
            assert!(!error.contains(&format!("`{key}` is not supported")), "{error}");
        }
    }
}
