//! A report in several, for one is bounded.

use std::mem::take;

use super::{Report, drift_cost_bytes, module_cost_bytes, queue_cost_bytes, usage_cost_bytes};

impl Report {
    /// The same in parts of about `max_bytes` each, by [`Self::cost_bytes`]: the first one replaces what was
    /// reported before if this does, the others add to it. Their numbers are this one's.
    #[must_use]
    pub fn in_parts(mut self, max_bytes: usize) -> Vec<Self> {
        if self.cost_bytes() <= max_bytes {
            return vec![self];
        }
        let (modules, modules_gone) = (take(&mut self.modules), take(&mut self.modules_gone));
        let (queues, queues_gone) = (take(&mut self.queues), take(&mut self.queues_gone));
        let (routes, routes_gone) = (take(&mut self.routes), take(&mut self.routes_gone));
        let (usage, drift) = (take(&mut self.usage), take(&mut self.drift));
        let drift_gone = take(&mut self.drift_gone);
        let next = Self { number: self.number, ..Self::default() };
        let mut parts = Parts { bytes: self.cost_bytes(), whole: Vec::new(), part: self, next, max_bytes };
        for name in modules_gone {
            parts.with_room(queue_cost_bytes(&name)).modules_gone.push(name);
        }
        for name in queues_gone {
            parts.with_room(queue_cost_bytes(&name)).queues_gone.push(name);
        }
        for name in routes_gone {
            parts.with_room(queue_cost_bytes(&name)).routes_gone.push(name);
        }
        for (name, status) in modules {
            parts.with_room(module_cost_bytes(&name, &status)).modules.insert(name, status);
        }
        for (name, status) in queues {
            parts.with_room(queue_cost_bytes(&name)).queues.insert(name, status);
        }
        for (name, status) in routes {
            parts.with_room(queue_cost_bytes(&name)).routes.insert(name, status);
        }
        for (name, usage) in usage {
            parts.with_room(usage_cost_bytes(&name, &usage)).usage.insert(name, usage);
        }
        for name in drift_gone {
            parts.with_room(queue_cost_bytes(&name)).drift_gone.push(name);
        }
        for (name, drift) in drift {
            parts.with_room(drift_cost_bytes(&name, &drift)).drift.insert(name, drift);
        }
        parts.whole.push(parts.part);
        parts.whole
    }
}

/// A report that is being taken apart.
struct Parts {
    whole: Vec<Report>,
    part: Report,
    bytes: usize,
    /// What every part but the first begins as.
    next: Report,
    max_bytes: usize,
}

impl Parts {
    /// The part that an entry of this cost goes to.
    fn with_room(&mut self, cost_bytes: usize) -> &mut Report {
        if self.bytes + cost_bytes > self.max_bytes && self.bytes > 0 {
            self.whole.push(std::mem::replace(&mut self.part, self.next.clone()));
            self.bytes = 0;
        }
        self.bytes += cost_bytes;
        &mut self.part
    }
}
