//! What somebody needs who looks for what is wrong with a device, and no secret.

use std::{fs, path::Path};

use serde_json::{Value, json};
use wayside_actors::report::{Health, QueueStatus};

use crate::control::Status;

/// The fullest queues that are named.
const FULLEST: usize = 10;

/// Versions, clock, disk, memory, store, mesh, queues, modules, problems.
pub(super) fn tell(status: &Status, engine: Result<String, String>, state: &Path, wall_ms: u64) -> Value {
    let report = &status.report;
    let mut fullest: Vec<(&String, &QueueStatus)> =
        report.queues.iter().filter(|(_, queue)| queue.depth > 0).collect();
    fullest.sort_by_key(|(name, queue)| (u64::MAX - queue.bytes, *name));
    let fullest: Vec<Value> = fullest
        .into_iter()
        .take(FULLEST)
        .map(|(name, queue)| json!({ "queue": name, "depth": queue.depth, "bytes": queue.bytes }))
        .collect();
    let sum = |of: fn(&QueueStatus) -> u64| report.queues.values().map(of).sum::<u64>();
    let modules: serde_json::Map<String, Value> = report
        .modules
        .iter()
        .map(|(name, module)| {
            let told = json!({
                "state": module.state.name(),
                "restarts": module.restarts,
                "exit_code": module.exit_code,
                "problem": module.problem,
                "health": module.health.map(Health::name),
                "output": module.output,
            });
            (name.clone(), told)
        })
        .collect();
    let (version, missing) = match engine {
        Ok(version) => (Some(version), None),
        Err(problem) => (None, Some(problem)),
    };
    json!({
        "device": status.device,
        "name": status.name,
        "versions": { "wayside": status.version, "engine": version, "kernel": kernel() },
        "engine_problem": missing,
        "clock": { "wall_ms": wall_ms, "uptime_ms": status.uptime_ms },
        "disk": {
            "free_bytes": fs2::available_space(state).ok(),
            "total_bytes": fs2::total_space(state).ok(),
        },
        "memory": {
            "daemon_bytes": kib_of("/proc/self/status", "VmRSS:"),
            "available_bytes": kib_of("/proc/meminfo", "MemAvailable:"),
            "total_bytes": kib_of("/proc/meminfo", "MemTotal:"),
        },
        "store": status.store,
        "mesh": status.mesh,
        "mqtt": status.mqtt,
        "neighbours": report.peers.as_ref().map_or(0, Vec::len),
        "cloud": status.cloud,
        "assignment": report.assignment,
        "modules": modules,
        "queues": {
            "count": report.queues.len(),
            "depth": sum(|queue| queue.depth),
            "bytes": sum(|queue| queue.bytes),
            "dropped": sum(|queue| queue.dropped),
            "expired": sum(|queue| queue.expired),
            "fullest": fullest,
        },
        "unrouted": report.unrouted,
        "refused": report.refused,
        "problems": report.problems.clone().unwrap_or_default(),
    })
}

fn kernel() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned())
}

/// A line such as `VmRSS:      1234 kB` of a file of the kernel's, in bytes.
fn kib_of(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wayside_actors::report::Report;
    use wayside_config::identity::DeviceId;

    use super::*;

    #[test]
    fn the_fullest_queues_come_first_and_all_are_counted() {
        let queue = |depth| QueueStatus { depth, bytes: depth * 10, ..QueueStatus::default() };
        let queues = (0..20).map(|depth| (format!("w/r{depth} to cloud"), queue(depth))).collect();
        let status = Status {
            device: DeviceId::from_bytes([1; 32]),
            name: "ewr".into(),
            labels: BTreeMap::new(),
            version: "0.1.0".into(),
            uptime_ms: 5,
            fleet: None,
            cloud: None,
            mesh: Default::default(),
            mqtt: Default::default(),
            store: None,
            copies: Default::default(),
            locks: Vec::new(),
            report: Report { queues, ..Report::default() },
        };
        let told = tell(&status, Err("no engine".into()), Path::new("/"), 7);
        assert_eq!(told["queues"]["depth"], 190);
        assert_eq!(told["queues"]["fullest"][0]["queue"], "w/r19 to cloud");
        assert_eq!(told["queues"]["fullest"].as_array().map(Vec::len), Some(FULLEST));
        assert_eq!(told["engine_problem"], "no engine");
        assert!(told["memory"]["daemon_bytes"].as_u64() > Some(1 << 20), "{told}");
        assert!(told["disk"]["free_bytes"].is_u64(), "{told}");
    }
}
