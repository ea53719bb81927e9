//! What a device said so far, with its next report merged in, and never more than it may take here.

use crate::report::{
    MAX_DRIFT, MAX_MODULES, MAX_QUEUES, MAX_ROUTES, MAX_WORKLOADS, Report, drift_cost_bytes,
    module_cost_bytes, queue_cost_bytes, usage_cost_bytes, workload_cost_bytes,
};

/// What the cloud keeps of one device's reports, by [`Report::cost_bytes`]: enough for as many queues
/// as a device may have.
pub const MAX_REPORTED_BYTES: usize = 16 << 20;

/// Merges `report` into `known`; a full one replaces it. Workloads come first, then modules, what is not as it should be, what
/// modules use, queues, and routes, each in the order of names; those for which there is no room are left out, as are older words of theirs. Gives
/// how many.
pub(super) fn merge(known: &mut Report, mut report: Report) -> u64 {
    if report.full {
        *known = Report { full: std::mem::take(&mut report.full), ..Report::default() };
    }
    // What is gone or replaced makes room first.
    for name in report.modules_gone.drain(..) {
        known.modules.remove(&name);
        known.usage.remove(&name);
    }
    for name in report.drift_gone.drain(..).chain(report.drift.keys().cloned()) {
        known.drift.remove(&name);
    }
    for name in report.usage.keys() {
        known.usage.remove(name);
    }
    for name in report.queues_gone.drain(..) {
        known.queues.remove(&name);
    }
    for name in report.routes_gone.drain(..) {
        known.routes.remove(&name);
    }
    for name in report.workloads_gone.drain(..).chain(report.workloads.keys().cloned()) {
        known.workloads.remove(&name);
    }
    for name in report.modules.keys() {
        known.modules.remove(name);
    }
    for name in report.queues.keys() {
        known.queues.remove(name);
    }
    for name in report.routes.keys() {
        known.routes.remove(name);
    }
    known.peers = report.peers.take().or_else(|| known.peers.take());
    known.problems = report.problems.take().or_else(|| known.problems.take());
    known.system = report.system.take().or_else(|| known.system.take());

    let entries = |report: &Report| {
        report.workloads.len()
            + report.modules.len()
            + report.drift.len()
            + report.usage.len()
            + report.queues.len()
            + report.routes.len()
    };
    let brought = entries(&report);
    let mut bytes = MAX_REPORTED_BYTES.saturating_sub(known.cost_bytes());
    let mut places = MAX_WORKLOADS.saturating_sub(known.workloads.len());
    report.workloads.retain(|name, status| take(&mut places, &mut bytes, workload_cost_bytes(name, status)));
    let mut places = MAX_MODULES.saturating_sub(known.modules.len());
    report.modules.retain(|name, status| take(&mut places, &mut bytes, module_cost_bytes(name, status)));
    let mut places = MAX_DRIFT.saturating_sub(known.drift.len());
    report.drift.retain(|name, drift| take(&mut places, &mut bytes, drift_cost_bytes(name, drift)));
    let mut places = MAX_MODULES.saturating_sub(known.usage.len());
    report.usage.retain(|name, usage| take(&mut places, &mut bytes, usage_cost_bytes(name, usage)));
    let mut places = MAX_QUEUES.saturating_sub(known.queues.len());
    report.queues.retain(|name, _| take(&mut places, &mut bytes, queue_cost_bytes(name)));
    let mut places = MAX_ROUTES.saturating_sub(known.routes.len());
    report.routes.retain(|name, _| take(&mut places, &mut bytes, queue_cost_bytes(name)));
    let left_out = brought - entries(&report);

    known.merge(report);
    left_out as u64
}

/// Takes a place and its bytes, if both are there.
const fn take(places: &mut usize, bytes: &mut usize, cost_bytes: usize) -> bool {
    if *places == 0 || *bytes < cost_bytes {
        return false;
    }
    *places -= 1;
    *bytes -= cost_bytes;
    true
}
