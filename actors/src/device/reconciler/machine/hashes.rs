//! What containers of the modules that should be here carry.

use std::collections::BTreeMap;

use wayside_config::workload::ModuleId;

use super::Reconciler;
use crate::device::spec_hash::spec_hash;

/// The hashes of the specifications of all modules that should be here. Worked out once, for the engine is looked at often.
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    /// What the daemon adds to each.
    pub(super) additions: String,
    pub(super) of: BTreeMap<ModuleId, String>,
}

impl Reconciler {
    /// What containers of the modules that should be here carry, worked out where it is not known yet.
    pub(super) fn hashes(&mut self, additions: &str) -> Hashes {
        match self.hashes.take() {
            Some(hashes) if hashes.additions == additions => hashes,
            Some(_) | None => {
                let known = self.modules().filter_map(|(module, spec)| {
                    Some((module, spec_hash(&spec.with_labels(&self.labels)?, additions)))
                });
                let of = known.collect();
                Hashes { additions: additions.to_owned(), of }
            }
        }
    }
}
