//! What a device said so far, with its next report merged in.

use wayside_config::limits;

use crate::report::Report;

/// Merges `report` into `known`; a full one replaces it.
///
/// # Errors
/// When a device reports more than it can have; `known` may be changed then.
pub(super) fn merge(known: &mut Report, report: Report) -> Result<(), String> {
    if report.full {
        *known = report;
    } else {
        known.number = report.number;
        for gone in &report.modules_gone {
            known.modules.remove(gone);
        }
        for gone in &report.queues_gone {
            known.queues.remove(gone);
        }
        known.modules.extend(report.modules);
        known.queues.extend(report.queues);
        replace(&mut known.peers, report.peers);
        replace(&mut known.assignment, report.assignment);
        replace(&mut known.problems, report.problems);
    }
    known.modules_gone.clear();
    known.queues_gone.clear();
    if known.modules.len() > limits::WORKLOADS * limits::MODULES
        || known.queues.len() > limits::WORKLOADS * limits::ROUTES
    {
        return Err("the device reports more modules or queues than it can have".into());
    }
    Ok(())
}

fn replace<T>(known: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *known = new;
    }
}
