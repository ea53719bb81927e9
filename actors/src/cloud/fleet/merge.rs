//! What a device said so far, with its next report merged in.

use wayside_config::limits;

use crate::report::Report;

/// Merges `report` into `known`; a full one replaces it.
///
/// # Errors
/// When a device reports more than it can have; `known` may be changed then.
pub(super) fn merge(known: &mut Report, report: Report) -> Result<(), String> {
    known.merge(report);
    known.modules_gone.clear();
    known.queues_gone.clear();
    known.routes_gone.clear();
    if known.modules.len() > limits::WORKLOADS * limits::MODULES
        || known.queues.len() > limits::WORKLOADS * limits::ROUTES
        || known.routes.len() > limits::WORKLOADS * limits::ROUTES
    {
        return Err("the device reports more modules, queues or routes than it can have".into());
    }
    Ok(())
}
