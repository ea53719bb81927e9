//! Containers that are made ahead: a module that is replaced is away for as long as the engine takes to start the next container,
//! and not for as long as it takes to make one, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use wayside_config::workload::ModuleId;

/// Which there are.
#[derive(Debug, Default)]
pub(super) struct Coming(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The engine is making one.
    making: BTreeSet<ModuleId>,
    waiting: BTreeMap<ModuleId, Waiting>,
    /// All that this daemon made ahead, and when: a list may still call one so that has become its module's own since.
    ours: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Waiting {
    container: String,
    spec_hash: String,
    /// Nobody asks for it after that.
    until: Instant,
}

/// What there is for a module that wants a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    /// The one that is wanted.
    Fits(String),
    /// One of another specification, to be removed.
    Other(String),
}

impl Coming {
    /// One is about to be made for this module.
    pub(super) fn begin(&self, module: &ModuleId) {
        self.locked().making.insert(module.clone());
    }

    /// What became of it. Gives one that waited before, to be removed.
    pub(super) fn made(
        &self,
        module: &ModuleId,
        spec_hash: &str,
        container: Option<&str>,
        wait: Duration,
    ) -> Option<String> {
        let now = Instant::now();
        let mut inner = self.locked();
        inner.making.remove(module);
        let container = container?.to_owned();
        inner.ours.insert(container.clone(), now);
        let waiting = Waiting { container, spec_hash: spec_hash.to_owned(), until: now + wait };
        inner.waiting.insert(module.clone(), waiting).map(|before| before.container)
    }

    /// The module wants a container of this specification. What there is for it waits no longer.
    pub(super) fn take(&self, module: &ModuleId, spec_hash: &str) -> Taken {
        match self.locked().waiting.remove(module) {
            Some(waiting) if waiting.spec_hash == spec_hash => Taken::Fits(waiting.container),
            Some(waiting) => Taken::Other(waiting.container),
            None => Taken::Nothing,
        }
    }

    /// Whether there is one for the module.
    pub(super) fn has(&self, module: &ModuleId) -> bool {
        self.locked().waiting.contains_key(module)
    }

    /// The engine has these, by a list that began at `begun`. Gives those that nobody will ask for: of a daemon before this one,
    /// and of modules that went.
    pub(super) fn listed(&self, listed: &[(Option<ModuleId>, String)], begun: Instant) -> Vec<String> {
        let mut inner = self.locked();
        let now = Instant::now();
        let stale = inner.waiting.extract_if(.., |_, waiting| waiting.until <= now);
        let mut going: Vec<_> = stale.map(|(_, waiting)| waiting.container).collect();
        for (module, container) in listed {
            let is_being_made = module.as_ref().is_some_and(|module| inner.making.contains(module));
            if !inner.ours.contains_key(container) && !is_being_made {
                going.push(container.clone());
            }
        }
        let Inner { waiting, ours, .. } = &mut *inner;
        let waits: BTreeSet<_> = waiting.values().map(|waiting| &waiting.container).collect();
        let is_listed = |container: &String| listed.iter().any(|(_, listed)| listed == container);
        ours.retain(|container, made| *made >= begun || is_listed(container) || waits.contains(container));
        going
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn module() -> ModuleId {
        ModuleId::new("weather", "sensor")
    }

    fn listed(container: &str) -> [(Option<ModuleId>, String); 1] {
        [(Some(module()), container.into())]
    }

    #[test]
    fn a_module_takes_what_was_made_for_it_and_nothing_else() {
        let coming = Coming::default();
        assert_eq!(coming.take(&module(), "2"), Taken::Nothing);
        assert_eq!(coming.made(&module(), "2", Some("c2"), LONG), None);
        assert_eq!(coming.take(&ModuleId::new("weather", "other"), "2"), Taken::Nothing);
        assert!(coming.has(&module()) && !coming.has(&ModuleId::new("weather", "other")));
        assert_eq!(coming.take(&module(), "2"), Taken::Fits("c2".into()));
        assert_eq!(coming.take(&module(), "2"), Taken::Nothing);
        assert_eq!(coming.made(&module(), "3", Some("c3"), LONG), None);
        assert_eq!(coming.made(&module(), "4", Some("c4"), LONG), Some("c3".into()));
        assert_eq!(coming.take(&module(), "3"), Taken::Other("c4".into()));
    }

    #[test]
    fn what_a_daemon_before_made_goes_and_what_is_being_made_or_was_taken_stays() {
        let coming = Coming::default();
        let begun = Instant::now();
        assert_eq!(coming.listed(&listed("c1"), begun), ["c1"]);
        coming.begin(&module());
        assert_eq!(coming.listed(&listed("c2"), begun), [""; 0]);
        coming.made(&module(), "2", Some("c2"), LONG);
        // Lists that began before it was made, and that still call it so when it has become the module's own.
        assert_eq!(coming.listed(&[], begun), [""; 0]);
        coming.take(&module(), "2");
        assert_eq!(coming.listed(&listed("c2"), begun), [""; 0]);
        assert_eq!(coming.listed(&listed("c2"), Instant::now()), [""; 0]);
        // Once it is on no list any more, it is forgotten.
        assert_eq!(coming.listed(&[], Instant::now()), [""; 0]);
        assert!(coming.locked().ours.is_empty());
        coming.begin(&module());
        coming.made(&module(), "3", None, LONG);
        assert_eq!(coming.listed(&listed("c3"), Instant::now()), ["c3"], "it was not made, they said");
    }

    #[test]
    fn what_nobody_asked_for_goes() {
        let coming = Coming::default();
        coming.made(&module(), "2", Some("c2"), Duration::ZERO);
        assert_eq!(coming.listed(&listed("c2"), Instant::now()), ["c2"]);
        assert_eq!(coming.take(&module(), "2"), Taken::Nothing);
    }
}
