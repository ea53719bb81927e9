//! Who may connect, and what becomes of the others.

use std::{collections::BTreeMap, sync::Arc};

use wayside_actors::device::access::Client;
use wayside_config::leaf::{Fingerprint, Leaf, PasswordHash};

use super::{Hub, Wanted, lock};
use crate::mqtt::{fault::Fault, session::Session};

impl Hub {
    /// Disconnects everybody. Nobody may connect before it is said who.
    pub(in crate::mqtt) fn pause(self: &Arc<Self>) {
        let mut modules = lock(&self.modules);
        modules.wanted.clear();
        modules.slots.values().for_each(|slot| self.change(slot, |session| session.evict(Fault::Unwanted)));
    }

    /// Sets who may connect, and disconnects the others, whose sessions end, and leaves that have to prove themselves in another way.
    pub(in crate::mqtt) fn set_clients(self: &Arc<Self>, clients: Vec<Client>) {
        let wanted: BTreeMap<_, _> = clients
            .into_iter()
            .map(|Client { id, leaf, topics }| (id, Wanted { leaf, topics: topics.into() }))
            .collect();
        let mut modules = lock(&self.modules);
        for (client, slot) in &modules.slots {
            let before = modules.wanted.get(client);
            match wanted.get(client) {
                Some(now) if before.is_none_or(|before| before.proves_alike(now)) => {
                    slot.lock().session.grant(Arc::clone(&now.topics));
                }
                Some(_) => self.change(slot, |session| session.evict(Fault::Unwanted)),
                None => self.change(slot, Session::dismiss),
            }
        }
        let before = std::mem::replace(&mut modules.wanted, wanted);
        // Also who was not here since the restart.
        let gone = before.into_keys().filter(|client| !modules.wanted.contains_key(client));
        gone.collect::<Vec<_>>().iter().for_each(|client| drop(modules.marks.remove(client)));
    }
}

impl Wanted {
    /// Whether a client that was let in as `self` would be let in as `other`.
    fn proves_alike(&self, other: &Self) -> bool {
        proof(&self.leaf) == proof(&other.leaf)
    }
}

/// What a leaf proves itself by.
pub(super) fn proof(leaf: &Option<Leaf>) -> Option<(Option<PasswordHash>, Option<Fingerprint>)> {
    leaf.clone().map(|leaf| (leaf.password, leaf.certificate))
}
