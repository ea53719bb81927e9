//! What a device keeps of one workload, so that it can go back: the version that has proven itself, the one that is on
//! trial, and the one that was taken back.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{document::Release, workload::ModuleSpec};

/// All of it that is persisted: it is written before anything is done about it, so whichever version it says runs,
/// runs whole, whenever the daemon ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The version that ran well for its probation: what the device goes back to.
    pub committed: Option<Version>,
    /// The version that runs in its place until it has proven itself.
    pub trial: Option<Version>,
    /// How often a daemon has started within that trial.
    pub starts: u32,
    /// The version that did not prove itself. It and older ones are not tried again.
    pub taken_back: Option<TakenBack>,
}

/// A version of a workload, as it was verified when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The bytes, with their signatures.
    pub sealed: Bytes,
    /// What they say.
    pub release: Release,
}

/// A version that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// Which.
    pub version: u64,
    /// In words, without its name.
    pub why: String,
}

impl Life {
    /// The version whose modules and routes are on the device.
    #[must_use]
    pub fn runs(&self) -> Option<&Version> {
        self.trial.as_ref().or(self.committed.as_ref())
    }
}

impl Version {
    /// Its number.
    pub(super) const fn number(&self) -> u64 {
        self.release.version
    }

    /// What it says, whoever signed it how often.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.release == other.release
    }

    /// Its modules whose containers are not the same in `before`.
    pub(super) fn changed_from(&self, before: Option<&Self>) -> BTreeSet<String> {
        let before = before.map(|version| &version.release.workload.modules);
        let modules = &self.release.workload.modules;
        let is_same = |name: &String, spec: &ModuleSpec| {
            let before = before.and_then(|before| before.get(name));
            before.is_some_and(|before| before == spec || before.of_container() == spec.of_container())
        };
        let changed = modules.iter().filter(|(name, spec)| !is_same(name, spec));
        changed.map(|(name, _)| name.clone()).collect()
    }

    /// The images of its modules, each once.
    pub(super) fn images(&self) -> Vec<String> {
        let images: BTreeSet<_> = self.release.workload.modules.values().map(|spec| &spec.image).collect();
        images.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wayside_config::{
        privilege::{Privilege, Right},
        workload::Workload,
    };

    use super::*;

    fn workload() -> Workload {
        Workload {
            name: "w".into(),
            target: Default::default(),
            modules: BTreeMap::new(),
            leaves: Default::default(),
            twins: Default::default(),
            update: Default::default(),
            priority: Workload::PRIORITY,
            routes: Vec::new(),
        }
    }

    #[test]
    fn a_module_that_only_moved_in_its_file_has_not_changed() {
        let version = |image: &str, line| {
            let privileges = vec![Privilege { right: Right::HostNetwork, line }];
            let spec = ModuleSpec { image: image.into(), privileges, ..Default::default() };
            let workload = Workload { modules: BTreeMap::from([("m".into(), spec)]), ..workload() };
            let release = Release { version: 1, issued_ms: 0, expires_ms: None, workload };
            Version { sealed: Bytes::new(), release }
        };
        let before = version("a", 7);
        assert!(version("a", 9).changed_from(Some(&before)).is_empty());
        assert_eq!(version("b", 7).changed_from(Some(&before)).len(), 1);
        assert_eq!(version("a", 7).changed_from(None).len(), 1);
    }
}
