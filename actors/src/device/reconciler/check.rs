//! Whether desired state may replace the one that is held. Signatures are checked before.

use sha2::{Digest, Sha256};
use wayside_config::{
    identity::DeviceId,
    limits::{NUMBERING, WORKLOADS},
    workload::{Workload, is_name},
};

use super::{Assigner, Floors, machine::Held};

/// Why desired state is refused. Nothing changes then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is for device {}, this is {}: apply it there", .0.short(), .1.short())]
    OtherDevice(DeviceId, DeviceId),
    #[error(
        "its assignment is version {offered}, and version {taken} was taken before: apply the workload anew"
    )]
    OldAssignment { offered: u64, taken: u64 },
    #[error(
        "its assignment is version {offered}, and version {taken} was taken before: only an operator may begin the numbering from {} on, with `wayside apply` on the LAN",
        first_of_next(*.taken)
    )]
    OtherNumbering { offered: u64, taken: u64 },
    #[error(
        "workload {workload} is version {offered}, and version {taken} was taken before: apply the workload anew"
    )]
    OldRelease { workload: String, offered: u64, taken: u64 },
    #[error(
        "its releases are not those that its assignment names, or not in its order: apply the workload anew"
    )]
    OtherReleases,
    #[error("a release has the name `{}`, which no Compose file could give: have it made by `wayside apply`", .0.escape_debug())]
    BadName(String),
    #[error("{0} has {1}, which no Compose file could give: have the release made by `wayside apply`")]
    BadModule(String, String),
    #[error("it has {0} workloads, and a device runs at most {WORKLOADS}: remove one first")]
    TooMany(usize),
    #[error("workload {0} does not list this device among its members: apply the workload anew")]
    NotMember(String),
}

/// Checks target, versions and hashes of `offered` against the device and what it has taken.
pub(super) fn check(device: DeviceId, floors: &Floors, offered: &Held, by: Assigner) -> Result<(), Refusal> {
    check_whole(device, offered)?;
    let count = offered.assignment.releases.len();
    if count > WORKLOADS {
        return Err(Refusal::TooMany(count));
    }
    let version = offered.assignment.version;
    let taken = floors.assignment();
    if version <= taken && !floors.is_last(version, &offered.sealed) {
        return Err(Refusal::OldAssignment { offered: version, taken });
    }
    // One step at a time, so that no slip uses up all that there are.
    let steps = match by {
        Assigner::Cloud => 0,
        Assigner::Operator => 1,
    };
    if version / NUMBERING > taken / NUMBERING + steps {
        return Err(Refusal::OtherNumbering { offered: version, taken });
    }
    for reference in &offered.assignment.releases {
        let taken = floors.workload(&reference.workload);
        if reference.version < taken {
            let (workload, offered) = (reference.workload.clone(), reference.version);
            return Err(Refusal::OldRelease { workload, offered, taken });
        }
    }
    Ok(())
}

/// Whether it is for this device and one thing: all that is asked of what comes from its own disk.
pub(super) fn check_whole(device: DeviceId, offered: &Held) -> Result<(), Refusal> {
    let assignment = &offered.assignment;
    if assignment.device != device {
        return Err(Refusal::OtherDevice(assignment.device, device));
    }
    if !holds_its_releases(offered) {
        return Err(Refusal::OtherReleases);
    }
    if let Some(name) = offered.releases.iter().find_map(|release| bad_name(&release.workload)) {
        return Err(Refusal::BadName(name.chars().take(64).collect()));
    }
    let mut modules = offered.releases.iter().flat_map(|release| &release.workload.modules);
    if let Some((module, flaw)) = modules.find_map(|(name, spec)| Some((name, spec.flaw()?))) {
        return Err(Refusal::BadModule(module.clone(), flaw.chars().take(100).collect()));
    }
    for reference in &assignment.releases {
        if reference.members.iter().all(|member| member.device != device) {
            return Err(Refusal::NotMember(reference.workload.clone()));
        }
    }
    Ok(())
}

/// A name that is none: names become those of files and containers, whoever signed them.
fn bad_name(workload: &Workload) -> Option<&str> {
    let Workload { name, modules, leaves, routes, twins, .. } = workload;
    let volumes = modules.values().flat_map(|spec| &spec.volumes).map(|mount| mount.volume.as_str());
    let mut names = std::iter::once(name.as_str())
        .chain(modules.keys().chain(leaves.keys()).chain(twins.keys()).map(String::as_str))
        .chain(routes.iter().map(|route| route.name.as_str()))
        .chain(volumes);
    names.find(|name| !is_name(name))
}

const fn first_of_next(version: u64) -> u64 {
    (version / NUMBERING + 1) * NUMBERING
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
