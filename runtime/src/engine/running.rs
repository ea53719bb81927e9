//! Which containers run, for who looks at them from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wayside_config::workload::ModuleId;

/// The containers of modules that run. One that has ended may be among them until the engine's next list.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<BTreeMap<ModuleId, String>>);

impl Running {
    /// What there is now.
    pub(super) fn now(&self) -> BTreeMap<ModuleId, String> {
        self.locked().clone()
    }

    /// A container was started.
    pub(super) fn started(&self, module: &ModuleId, container: &str) {
        self.locked().insert(module.clone(), container.to_owned());
    }

    /// A container has ended.
    pub(super) fn ended(&self, container: &str) {
        self.locked().retain(|_, running| running != container);
    }

    /// The engine has listed its containers, with whether they run. The list may be older than the start of one.
    pub(super) fn listed(&self, containers: &[(Option<ModuleId>, String, bool)]) {
        let there: BTreeSet<&String> = containers.iter().map(|(_, container, _)| container).collect();
        let mut running = self.locked();
        running.retain(|_, container| there.contains(container));
        for (module, container, _) in containers.iter().filter(|(.., runs)| *runs) {
            if let Some(module) = module {
                running.insert(module.clone(), container.clone());
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<ModuleId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_older_than_a_start_hides_nothing() {
        let (running, module) = (Running::default(), ModuleId::new("w", "m"));
        running.started(&module, "c1");
        let is_known = || running.now().get(&module).map(String::as_str) == Some("c1");
        running.listed(&[(Some(module.clone()), "c1".into(), false)]);
        assert!(is_known());
        running.ended("c0");
        assert!(is_known());
        running.listed(&[(None, "c2".into(), true)]);
        assert!(running.now().is_empty());
        running.listed(&[(Some(module.clone()), "c1".into(), true)]);
        assert!(is_known());
        running.ended("c1");
        assert!(running.now().is_empty());
    }
}
