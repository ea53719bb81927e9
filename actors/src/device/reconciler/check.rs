//! Whether desired state may replace the one that is held. Signatures are checked before.

use sha2::{Digest, Sha256};
use wayside_config::{document::ReleaseRef, identity::DeviceId};

use super::machine::Held;

/// Why desired state is refused. Nothing changes then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is for device {}, this is {}: apply it there", .0.short(), .1.short())]
    OtherDevice(DeviceId, DeviceId),
    #[error("its assignment is version {offered}, and version {held} is held: apply the workload anew")]
    OldAssignment { offered: u64, held: u64 },
    #[error("workload {workload} is version {offered}, and version {held} is held: apply the workload anew")]
    OldRelease { workload: String, offered: u64, held: u64 },
    #[error(
        "its releases are not those that its assignment names, or not in its order: apply the workload anew"
    )]
    OtherReleases,
    #[error("workload {0} does not list this device among its members: apply the workload anew")]
    NotMember(String),
}

/// Checks target, versions and hashes of `offered` against the device and what it holds.
pub(super) fn check(device: DeviceId, held: Option<&Held>, offered: &Held) -> Result<(), Refusal> {
    let assignment = &offered.assignment;
    if assignment.device != device {
        return Err(Refusal::OtherDevice(assignment.device, device));
    }
    if let Some(held) = held
        && assignment.version <= held.assignment.version
    {
        let (offered, held) = (assignment.version, held.assignment.version);
        return Err(Refusal::OldAssignment { offered, held });
    }
    if !holds_its_releases(offered) {
        return Err(Refusal::OtherReleases);
    }
    for reference in &assignment.releases {
        if reference.members.iter().all(|member| member.device != device) {
            return Err(Refusal::NotMember(reference.workload.clone()));
        }
        if let Some(before) = held.and_then(|held| held.reference(&reference.workload))
            && reference.version < before.version
        {
            let (offered, held) = (reference.version, before.version);
            return Err(Refusal::OldRelease { workload: reference.workload.clone(), offered, held });
        }
    }
    Ok(())
}

fn holds_its_releases(offered: &Held) -> bool {
    let references = &offered.assignment.releases;
    references.len() == offered.releases.len()
        && references.len() == offered.sealed.releases.len()
        && references.is_sorted_by(|before, after| before.workload < after.workload)
        && references.iter().zip(&offered.releases).zip(&offered.sealed.releases).all(
            |((reference, release), sealed)| {
                reference.workload == release.workload.name
                    && reference.version == release.version
                    && reference.sha256[..] == Sha256::digest(sealed)[..]
            },
        )
}

impl Held {
    fn reference(&self, workload: &str) -> Option<&ReleaseRef> {
        self.assignment.releases.iter().find(|reference| reference.workload == workload)
    }
}
