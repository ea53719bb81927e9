//! Gathers what is known and tells what changed.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{identity::DeviceId, workload::ModuleId};

use super::{Effect, Event};
use crate::{
    device::reconciler::Lag,
    machine::{Effects, Machine},
    report::{
        ClockOffset, Drift, MAX_REPORT_BYTES, ModuleStatus, QueueStatus, Report, RouteStatus, System, Usage,
        WorkloadStatus,
    },
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
    /// Of each module, as it was told last.
    usage: BTreeMap<String, Usage>,
    system: Option<System>,
    clock: Option<ClockOffset>,
    /// What is not as it should be.
    drift: BTreeMap<String, Drift>,
    /// The wall clock at the monotonic clock's start.
    began_ms: u64,
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
    usage: BTreeSet<String>,
    system: bool,
    clock: bool,
    drift: BTreeSet<String>,
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
                    if self.modules.insert(name.clone(), status).is_none() {
                        self.usage.insert(name.clone(), Usage::default());
                        self.changed.usage.insert(name.clone());
                    }
                    self.changed.modules.insert(name);
                }
            }
            Event::ModuleGone(module) => {
                let name = module.to_string();
                if self.modules.remove(&name).is_some() {
                    self.usage.remove(&name);
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
            Event::Usage(usage) => self.used(&usage),
            Event::System { system, wall_ms } => {
                self.began_ms = wall_ms.saturating_sub(now.as_millis());
                if self.system.as_ref().is_none_or(|told| system.is_news_after(told)) {
                    self.system = Some(system);
                    self.changed.system = true;
                }
            }
            Event::Clock(clock) => {
                self.set_problems("clock".into(), Vec::from_iter(clock.problem()));
                if self.clock.is_none_or(|told| clock.is_news_after(&told)) {
                    self.clock = Some(clock);
                    self.changed.clock = true;
                }
            }
            Event::Drift(what, lag) => self.drifts(what, lag),
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
    /// A machine whose monotonic clock began at this time of the wall clock.
    #[must_use]
    pub fn begun_at(wall_ms: u64) -> Self {
        Self { began_ms: wall_ms, ..Self::default() }
    }

    /// As long as something goes on not to be as it should, its beginning stays as it was told.
    fn drifts(&mut self, what: String, lag: Option<Lag>) {
        match lag {
            Some(Lag { desired, reported, since, why }) => {
                let before = self.drift.get(&what).filter(|before| before.desired == desired);
                let since_ms = before.map_or(self.began_ms + since.as_millis(), |before| before.since_ms);
                self.drift.insert(what.clone(), Drift { desired, reported, since_ms, why });
            }
            None => drop(self.drift.remove(&what)),
        }
        self.changed.drift.insert(what);
    }

    /// What modules use: that of those whose containers do not run is nothing.
    fn used(&mut self, usage: &BTreeMap<ModuleId, Usage>) {
        let mut usage: BTreeMap<String, &Usage> =
            usage.iter().map(|(module, usage)| (module.to_string(), usage)).collect();
        for (name, told) in &mut self.usage {
            let now = usage.remove(name).cloned().unwrap_or_else(|| told.at_rest());
            if now.is_news_after(told) {
                *told = now;
                self.changed.usage.insert(name.clone());
            }
        }
    }

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
            usage: self.usage.clone(),
            system: self.system.clone(),
            clock: self.clock,
            drift: self.drift.clone(),
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
        let (drift, drift_gone) = split(&changed.drift, &self.drift);
        let (workloads, workloads_gone) = split(&changed.workloads, &self.workloads);
        Report {
            modules,
            modules_gone,
            usage: split(&changed.usage, &self.usage).0,
            system: self.system.clone().filter(|_| changed.system),
            clock: self.clock.filter(|_| changed.clock),
            drift,
            drift_gone,
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
