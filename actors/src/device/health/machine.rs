//! Gathers what is known and tells what changed.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::identity::DeviceId;

use super::{Effect, Event};
use crate::{
    machine::{Effects, Machine},
    report::{MAX_REPORT_BYTES, ModuleStatus, QueueStatus, Report, RouteStatus, WorkloadStatus},
    time::Time,
};

/// The least time between two reports, in milliseconds, unless a full one is asked for.
pub const REPORT_MS: u64 = 1_000;
/// When nothing changes for this long, in milliseconds, an empty report says that the device is there:
/// often enough that the cloud does not take it for silent when one is late.
pub const IDLE_MS: u64 = 20_000;

/// The machine that reports.
#[derive(Clone, Debug, Default)]
pub struct Health {
    modules: BTreeMap<String, ModuleStatus>,
    queues: BTreeMap<String, QueueStatus>,
    routes: BTreeMap<String, RouteStatus>,
    workloads: BTreeMap<String, WorkloadStatus>,
    peers: Vec<DeviceId>,
    assignment: Option<u64>,
    unrouted: u64,
    refused: u64,
    /// By who noticed.
    problems: BTreeMap<String, Vec<String>>,
    /// What the last report does not hold.
    changed: Changed,
    number: u64,
    reported_at: Option<Time>,
    /// When the next report is due.
    due: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Changed {
    modules: BTreeSet<String>,
    queues: BTreeSet<String>,
    routes: BTreeSet<String>,
    workloads: BTreeSet<String>,
    peers: bool,
    assignment: bool,
    unrouted: bool,
    refused: bool,
    problems: bool,
}

impl Machine for Health {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Module(module, status) => {
                let name = module.to_string();
                if self.modules.get(&name) != Some(&status) {
                    self.modules.insert(name.clone(), status);
                    self.changed.modules.insert(name);
                }
            }
            Event::ModuleGone(module) => {
                let name = module.to_string();
                if self.modules.remove(&name).is_some() {
                    self.changed.modules.insert(name);
                }
            }
            Event::Queue(queue, status) => {
                let name = queue.to_string();
                if self.queues.get(&name) != Some(&status) {
                    self.queues.insert(name.clone(), status);
                    self.changed.queues.insert(name);
                }
            }
            Event::QueueGone(queue) => {
                let name = queue.to_string();
                if self.queues.remove(&name).is_some() {
                    self.changed.queues.insert(name);
                }
            }
            Event::Route(route, status) => {
                if self.routes.get(&route) != Some(&status) {
                    self.routes.insert(route.clone(), status);
                    self.changed.routes.insert(route);
                }
            }
            Event::RouteGone(route) => {
                if self.routes.remove(&route).is_some() {
                    self.changed.routes.insert(route);
                }
            }
            Event::Workload(name, status) => {
                if self.workloads.get(&name) != Some(&status) {
                    self.workloads.insert(name.clone(), status);
                    self.changed.workloads.insert(name);
                }
            }
            Event::WorkloadGone(name) => {
                if self.workloads.remove(&name).is_some() {
                    self.changed.workloads.insert(name);
                }
            }
            Event::Peers(peers) => {
                self.changed.peers |= self.peers != peers;
                self.peers = peers;
            }
            Event::Assignment(version) => {
                self.changed.assignment |= self.assignment != Some(version);
                self.assignment = Some(version);
            }
            Event::Unrouted(count) => {
                self.changed.unrouted |= self.unrouted != count;
                self.unrouted = count;
            }
            Event::Refused(count) => {
                self.changed.refused |= self.refused != count;
                self.refused = count;
            }
            Event::Problems { source, problems } => self.set_problems(source, problems),
            Event::FullWanted => return self.report_all(now, out),
            Event::Woken => {}
        }
        self.report_when_due(now, out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Health {
    fn set_problems(&mut self, source: String, problems: Vec<String>) {
        let before = if problems.is_empty() {
            self.problems.remove(&source).unwrap_or_default()
        } else {
            self.problems.insert(source, problems.clone()).unwrap_or_default()
        };
        self.changed.problems |= before != problems;
    }

    fn report_when_due(&mut self, now: Time, out: &mut Effects<Effect>) {
        let wait_ms = if self.changed == Changed::default() { IDLE_MS } else { REPORT_MS };
        let due = match self.reported_at {
            Some(at) => at.plus_millis(wait_ms),
            None if wait_ms == IDLE_MS => return,
            None => now,
        };
        if due <= now {
            let report = self.delta();
            self.report(report, now, out);
        } else if self.due != Some(due) {
            self.due = Some(due);
            out.wake_at(due);
        }
    }

    fn report_all(&mut self, now: Time, out: &mut Effects<Effect>) {
        self.number = 0;
        let report = Report {
            full: true,
            modules: self.modules.clone(),
            queues: self.queues.clone(),
            routes: self.routes.clone(),
            workloads: self.workloads.clone(),
            peers: Some(self.peers.clone()),
            assignment: self.assignment,
            unrouted: Some(self.unrouted),
            refused: Some(self.refused),
            problems: Some(self.problem_lines()),
            ..Report::default()
        };
        self.report(report, now, out);
    }

    /// In as many reports as it takes, for one is bounded.
    fn report(&mut self, report: Report, now: Time, out: &mut Effects<Effect>) {
        self.reported_at = Some(now);
        self.changed = Changed::default();
        for part in report.in_parts(MAX_REPORT_BYTES) {
            self.number += 1;
            out.push(Effect::Report(Box::new(Report { number: self.number, ..part })));
        }
        let idle = now.plus_millis(IDLE_MS);
        self.due = Some(idle);
        out.wake_at(idle);
    }

    fn delta(&self) -> Report {
        let changed = &self.changed;
        let (modules, modules_gone) = split(&changed.modules, &self.modules);
        let (queues, queues_gone) = split(&changed.queues, &self.queues);
        let (routes, routes_gone) = split(&changed.routes, &self.routes);
        let (workloads, workloads_gone) = split(&changed.workloads, &self.workloads);
        Report {
            modules,
            modules_gone,
            queues,
            queues_gone,
            routes,
            routes_gone,
            workloads,
            workloads_gone,
            peers: changed.peers.then(|| self.peers.clone()),
            assignment: self.assignment.filter(|_| changed.assignment),
            unrouted: changed.unrouted.then_some(self.unrouted),
            refused: changed.refused.then_some(self.refused),
            problems: changed.problems.then(|| self.problem_lines()),
            ..Report::default()
        }
    }

    fn problem_lines(&self) -> Vec<String> {
        let lines = self.problems.iter().flat_map(|(source, problems)| {
            problems.iter().map(move |problem| format!("{source}: {problem}"))
        });
        lines.collect()
    }
}

/// What is there of `changed`, and the names of what is not there any more.
fn split<T: Clone>(
    changed: &BTreeSet<String>,
    there: &BTreeMap<String, T>,
) -> (BTreeMap<String, T>, Vec<String>) {
    let (now, gone): (Vec<_>, Vec<_>) = changed.iter().partition(|name| there.contains_key(*name));
    let now = now.into_iter().filter_map(|name| Some((name.clone(), there.get(name)?.clone()))).collect();
    (now, gone.into_iter().cloned().collect())
}
