//! What best-effort routes lose, by route: counted where it happens, on whatever thread that is, and taken now and then
//! by who tells of it.

use std::{
    collections::BTreeMap,
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Routes that are counted between two takes. A neighbour may name any; devices have fewer that lose something.
const ROUTES: usize = 4096;

/// The counts. What one clone adds, all know.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<Mutex<BTreeMap<String, u64>>>);

impl Lost {
    /// Counts messages of `route` (`workload/route`).
    pub fn add(&self, route: &str, messages: u64) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(route) {
            *count += messages;
        } else if counts.len() < ROUTES {
            counts.insert(route.to_owned(), messages);
        }
    }

    /// What was lost since the last call.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, u64> {
        take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_until_they_are_taken_and_are_bounded() {
        let lost = Lost::default();
        lost.add("w/r", 2);
        lost.clone().add("w/r", 3);
        assert_eq!(lost.take(), BTreeMap::from([("w/r".into(), 5)]));
        (0..2 * ROUTES).for_each(|route| lost.add(&route.to_string(), 1));
        assert_eq!(lost.take().len(), ROUTES);
        assert!(lost.take().is_empty());
    }
}
