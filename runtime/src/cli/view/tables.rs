//! The tables of a device's status: workloads, modules, routes, queues.

use super::{DeviceView, words::describe_cpu};
use crate::cli::output::{bytes, duration, table};

impl DeviceView {
    pub(super) fn versions_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .versions
            .iter()
            .map(|(name, workload)| {
                let number = |version: u64| if version == 0 { "none".into() } else { version.to_string() };
                let coming = workload.coming.map_or(String::new(), number);
                let (phase, problem) = (workload.phase.clone(), workload.problem.clone());
                // What is wrong stands above, among the problems of the device.
                let waits = if self.problems.iter().any(|told| told.contains(&problem)) {
                    String::new()
                } else {
                    problem
                };
                vec![name.clone(), number(workload.version), phase, coming, waits]
            })
            .collect();
        let head = ["WORKLOAD", "VERSION", "PHASE", "COMING", "WAITS"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    pub(super) fn drift_table(&self, now_ms: u64) -> String {
        let rows: Vec<Vec<String>> = self
            .drift
            .iter()
            .map(|drift| {
                let since = drift.since_ms.map(|since| duration(now_ms.saturating_sub(since)));
                let words = [&drift.what, &drift.desired, &drift.reported].map(String::clone);
                words.into_iter().chain([since.unwrap_or_default(), drift.why.clone()]).collect()
            })
            .collect();
        let head = ["NOT AS DESIRED", "DESIRED", "IS", "FOR", "WHY"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    pub(super) fn modules_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .modules
            .iter()
            .map(|(name, module)| {
                let exit = module.exit_code.map_or(String::new(), |code| code.to_string());
                let restarts = module.restarts.to_string();
                let health = module.health.clone().unwrap_or_default();
                let usage = &module.usage;
                let limit =
                    usage.memory_limit_bytes.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
                let memory = match usage.memory_bytes {
                    0 => String::new(),
                    used => bytes(used) + &limit,
                };
                let problem = [&module.problem, &module.output].map(String::as_str).join(" ");
                let problem = problem.trim().to_owned();
                vec![
                    name.clone(),
                    module.state.clone(),
                    health,
                    restarts,
                    exit,
                    describe_cpu(usage.cpu_millis),
                    memory,
                    module.image.clone(),
                    problem,
                ]
            })
            .collect();
        let head = ["MODULE", "STATE", "HEALTH", "RESTARTS", "EXIT", "CPU", "MEMORY", "IMAGE", "PROBLEM"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    pub(super) fn routes_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .routes
            .iter()
            .map(|(name, route)| {
                let counts = [route.refused, route.left_out, route.failed, route.lost];
                let counts = counts.map(|count| count.to_string());
                std::iter::once(name.clone()).chain(counts).collect()
            })
            .collect();
        let head = ["ROUTE", "NOT WANTED", "NOT SAMPLED", "FAILED", "LOST"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    pub(super) fn queues_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .queues
            .iter()
            .map(|(name, queue)| {
                let counts = [queue.depth, queue.appended, queue.dropped, queue.expired];
                let [depth, appended, dropped, expired] = counts.map(|count| count.to_string());
                vec![name.clone(), depth, bytes(queue.bytes), appended, dropped, expired]
            })
            .collect();
        let head = ["QUEUE", "WAITING", "SIZE", "IN", "DROPPED", "EXPIRED"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }
}
