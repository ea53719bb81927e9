//! The highest versions that this device has taken. They outlive what they are of: a workload that is
//! taken off, and a desired state that is damaged. Otherwise something old and well signed would be
//! taken again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wayside_config::{document::Assignment, limits::REMEMBERED_WORKLOADS};

use crate::frame::Desired;

/// The highest versions taken. Of at most [`REMEMBERED_WORKLOADS`] workloads: beyond, the one that was
/// named least recently is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floors {
    assignment: u64,
    /// SHA-256 of the sealed assignment of that version: it alone may come again, for what it says may
    /// have been lost on the way to the disk.
    sha256: Option<[u8; 32]>,
    workloads: BTreeMap<String, Floor>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    version: u64,
    /// The version of the last assignment that named the workload.
    named: u64,
}

impl Floors {
    /// The highest version of an assignment that was taken; 0 for none.
    #[must_use]
    pub const fn assignment(&self) -> u64 {
        self.assignment
    }

    /// The highest version of the workload that was taken; 0 for none.
    #[must_use]
    pub fn workload(&self, name: &str) -> u64 {
        self.workloads.get(name).map_or(0, |floor| floor.version)
    }

    /// The workloads that are remembered, with their versions.
    pub fn workloads(&self) -> impl Iterator<Item = (&str, u64)> {
        self.workloads.iter().map(|(name, floor)| (name.as_str(), floor.version))
    }

    /// Whether this is the very assignment that was taken last.
    pub(super) fn is_last(&self, version: u64, sealed: &Desired) -> bool {
        version == self.assignment && self.sha256 == Some(hash(sealed))
    }

    /// Takes the versions in; they never go down.
    pub(super) fn raise(&mut self, assignment: &Assignment, sealed: &Desired) {
        if self.sha256.is_none() || assignment.version > self.assignment {
            self.assignment = assignment.version.max(self.assignment);
            self.sha256 = Some(hash(sealed));
        }
        for reference in &assignment.releases {
            let floor = self.workloads.entry(reference.workload.clone()).or_default();
            floor.version = floor.version.max(reference.version);
            floor.named = floor.named.max(assignment.version);
        }
        while self.workloads.len() > REMEMBERED_WORKLOADS {
            let oldest = self.workloads.iter().min_by_key(|(_, floor)| floor.named);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            self.workloads.remove(&name);
        }
    }
}

fn hash(sealed: &Desired) -> [u8; 32] {
    Sha256::digest(&sealed.assignment).into()
}

#[cfg(test)]
mod tests {
    use wayside_config::{document::ReleaseRef, identity::DeviceId};

    use super::*;

    fn taken(floors: &mut Floors, version: u64, releases: &[(&str, u64)]) -> Desired {
        let reference = |(workload, version): &(&str, u64)| ReleaseRef {
            workload: (*workload).to_owned(),
            version: *version,
            sha256: [0; 32],
            members: Vec::new(),
        };
        let releases = releases.iter().map(reference).collect();
        let assignment = Assignment { device: DeviceId::from_bytes([1; 32]), version, releases };
        let sealed = Desired { assignment: version.to_be_bytes().to_vec().into(), ..Desired::default() };
        floors.raise(&assignment, &sealed);
        sealed
    }

    #[test]
    fn versions_never_go_down_and_outlive_their_workload() {
        let mut floors = Floors::default();
        taken(&mut floors, 5, &[("a", 7), ("b", 2)]);
        let last = taken(&mut floors, 6, &[("b", 3)]);
        let older = taken(&mut floors, 4, &[("a", 1)]);
        assert_eq!((floors.assignment(), floors.workload("a"), floors.workload("b")), (6, 7, 3));
        assert!(floors.is_last(6, &last));
        assert!(!floors.is_last(6, &older) && !floors.is_last(4, &older));
        assert_eq!(floors.workload("never"), 0);
    }

    #[test]
    fn who_was_not_named_for_longest_is_forgotten_when_there_is_no_room() {
        let mut floors = Floors::default();
        taken(&mut floors, 1, &[("kept", 9), ("old", 9)]);
        for number in 0..REMEMBERED_WORKLOADS as u64 - 1 {
            let name = format!("w{number}");
            taken(&mut floors, 2 + number, &[("kept", 9), (&name, 1)]);
        }
        assert_eq!(floors.workloads().count(), REMEMBERED_WORKLOADS);
        assert_eq!((floors.workload("kept"), floors.workload("old")), (9, 0));
    }
}
