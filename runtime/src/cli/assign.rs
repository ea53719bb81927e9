//! Who runs what on a site without a cloud: the assignments that a change needs. Pure.

use std::collections::BTreeMap;

use wayside_config::{
    document::{Assignment, Member, ReleaseRef},
    identity::DeviceId,
    limits::{MEMBERS, VERSION_MAX},
    workload::Target,
};

use crate::control::Versions;

/// A release to hand out.
pub(super) struct Handed<'a> {
    /// The workload's name.
    pub(super) workload: &'a str,
    /// Who should run it.
    pub(super) target: &'a Target,
    /// Its version.
    pub(super) version: u64,
    /// SHA-256 of the sealed release.
    pub(super) sha256: [u8; 32],
}

/// A change for one device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What it should run from now on.
    pub(super) assignment: Assignment,
    /// Its name.
    pub(super) name: String,
    /// Whether it runs the workload from now on.
    pub(super) runs: bool,
}

/// The version that a new release of `workload` needs: higher than all that were ever taken.
pub(super) fn next_version(site: &[Versions], workload: &str) -> Result<u64, String> {
    let held = site.iter().flat_map(|device| &device.releases).filter(|release| release.workload == workload);
    let taken = site.iter().filter_map(|device| device.highest.get(workload));
    let highest = held.map(|release| &release.version).chain(taken).max();
    after(highest.copied().unwrap_or(0)).ok_or_else(|| {
        format!("the workload {workload} has the highest version there is: give it another name")
    })
}

fn after(version: u64) -> Option<u64> {
    version.checked_add(1).filter(|version| *version <= VERSION_MAX)
}

/// Whether a device is meant.
pub(super) fn is_target(target: &Target, device: &Versions) -> bool {
    matches(target, &device.device, &device.name, &device.labels)
}

/// Whether a device of this key, name and labels is meant.
pub(super) fn matches(
    target: &Target,
    device: &DeviceId,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let named = |wanted: &String| *wanted == name || *wanted == device.to_string();
    (target.devices.is_empty() || target.devices.iter().any(named))
        && target.labels.iter().all(|(label, value)| labels.get(label) == Some(value))
}

/// What changes when a release is handed to the devices of a site.
///
/// Members that are not on the LAN now stay members: what is sent to them is kept until they are back.
pub(super) fn hand_out(site: &[Versions], handed: &Handed<'_>) -> Result<Vec<Change>, String> {
    let mut members: Vec<Member> = site
        .iter()
        .filter(|device| is_target(handed.target, device))
        .map(|device| Member {
            device: device.device,
            name: device.name.clone(),
            labels: device.labels.clone(),
        })
        .collect();
    let known =
        site.iter().flat_map(|device| &device.releases).filter(|held| held.workload == handed.workload);
    for member in known.flat_map(|held| &held.members) {
        let is_here = site.iter().any(|device| device.device == member.device);
        if !is_here && !members.iter().any(|other| other.device == member.device) {
            members.push(member.clone());
        }
    }
    members.sort_by_key(|member| member.device);
    if members.len() > MEMBERS {
        return Err(format!(
            "the workload would have {} devices, and {MEMBERS} is the most: narrow its target",
            members.len()
        ));
    }
    let release = ReleaseRef {
        workload: handed.workload.to_owned(),
        version: handed.version,
        sha256: handed.sha256,
        members,
    };
    changes(site, handed.workload, |device| is_target(handed.target, device).then(|| release.clone()))
}

/// What changes when a workload is taken off the devices of a site.
pub(super) fn take_off(site: &[Versions], workload: &str) -> Result<Vec<Change>, String> {
    changes(site, workload, |_| None)
}

/// Devices that neither had the workload nor get it are left alone.
fn changes(
    site: &[Versions],
    workload: &str,
    release: impl Fn(&Versions) -> Option<ReleaseRef>,
) -> Result<Vec<Change>, String> {
    site.iter()
        .filter_map(|device| {
            let new = release(device);
            let runs = new.is_some();
            let (old, mut releases): (Vec<_>, Vec<_>) =
                device.releases.iter().cloned().partition(|held| held.workload == workload);
            if old.is_empty() && !runs {
                return None;
            }
            releases.extend(new);
            releases.sort_by(|a, b| a.workload.cmp(&b.workload));
            // Whoever used a numbering up, the next version begins a new one, which only operators may.
            let Some(version) = after(device.assignment.max(device.highest_assignment)) else {
                return Some(Err(format!(
                    "{} has an assignment of the highest version there is: it has to begin anew with an empty state directory",
                    device.name
                )));
            };
            let assignment = Assignment { device: device.device, version, releases };
            Some(Ok(Change { assignment, name: device.name.clone(), runs }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use wayside_config::limits::NUMBERING;

    use super::*;

    fn id(n: u8) -> DeviceId {
        DeviceId::from_bytes([n; 32])
    }

    fn member(n: u8, name: &str) -> Member {
        Member { device: id(n), name: name.into(), labels: BTreeMap::new() }
    }

    fn held(workload: &str, version: u64, members: &[Member]) -> ReleaseRef {
        ReleaseRef {
            workload: workload.into(),
            version,
            sha256: [version as u8; 32],
            members: members.into(),
        }
    }

    fn device(n: u8, name: &str, plant: &str, assignment: u64, releases: Vec<ReleaseRef>) -> Versions {
        let labels = BTreeMap::from([("plant".to_owned(), plant.to_owned())]);
        let (highest_assignment, highest) = (0, BTreeMap::new());
        Versions {
            device: id(n),
            name: name.into(),
            labels,
            assignment,
            releases,
            highest_assignment,
            highest,
            away: Vec::new(),
        }
    }

    #[test]
    fn targets_are_names_keys_and_labels() {
        let ewr = device(1, "ewr", "p7", 0, Vec::new());
        let target = |devices: &[&str], plant: &[&str]| Target {
            devices: devices.iter().map(|name| (*name).to_owned()).collect(),
            labels: plant.iter().map(|plant| ("plant".to_owned(), (*plant).to_owned())).collect(),
        };
        assert!(is_target(&target(&[], &[]), &ewr));
        assert!(is_target(&target(&["jfk", "ewr"], &["p7"]), &ewr));
        assert!(is_target(&target(&[&id(1).to_string()], &[]), &ewr));
        assert!(!is_target(&target(&["jfk"], &[]), &ewr));
        assert!(!is_target(&target(&["ewr"], &["p8"]), &ewr));
    }

    #[test]
    fn a_release_reaches_its_targets_and_leaves_the_rest_as_it_was() {
        let other = held("other", 4, &[member(1, "ewr")]);
        let site = [
            device(1, "ewr", "p7", 6, vec![other.clone()]),
            device(2, "jfk", "p7", 0, Vec::new()),
            device(3, "lga", "p8", 2, vec![held("grid", 3, &[member(3, "lga"), member(9, "away")])]),
            device(4, "bos", "p8", 2, Vec::new()),
        ];
        assert_eq!(next_version(&site, "grid"), Ok(4));
        let target = Target { devices: Vec::new(), labels: BTreeMap::from([("plant".into(), "p7".into())]) };
        let handed = Handed { workload: "grid", target: &target, version: 4, sha256: [4; 32] };
        let changes = hand_out(&site, &handed).unwrap();
        let labels = BTreeMap::from([("plant".to_owned(), "p7".to_owned())]);
        let here = |n, name| Member { labels: labels.clone(), ..member(n, name) };
        let grid = held("grid", 4, &[here(1, "ewr"), here(2, "jfk"), member(9, "away")]);
        let expected = [
            (1, "ewr", 7, vec![grid.clone(), other], true),
            (2, "jfk", 1, vec![grid], true),
            (3, "lga", 3, Vec::new(), false),
        ];
        assert_eq!(
            changes,
            expected.map(|(n, name, version, releases, runs)| Change {
                assignment: Assignment { device: id(n), version, releases },
                name: name.into(),
                runs
            })
        );
    }

    #[test]
    fn taking_off_touches_only_who_has_it() {
        let site =
            [device(1, "ewr", "p7", 6, vec![held("grid", 1, &[])]), device(2, "jfk", "p7", 3, Vec::new())];
        let changes = take_off(&site, "grid").unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].assignment.version, changes[0].assignment.releases.len()), (7, 0));
        assert_eq!(next_version(&site, "new"), Ok(1));
    }

    #[test]
    fn what_was_taken_before_is_gone_beyond() {
        let mut ewr = device(1, "ewr", "p7", 2, Vec::new());
        ewr.highest_assignment = NUMBERING - 1;
        ewr.highest = BTreeMap::from([("grid".into(), 7), ("full".into(), VERSION_MAX)]);
        let site = [ewr, device(2, "jfk", "p7", 0, vec![held("grid", 4, &[])])];
        assert_eq!(next_version(&site, "grid"), Ok(8));
        assert!(next_version(&site, "full").unwrap_err().contains("another name"));
        let target = Target::default();
        let handed = Handed { workload: "grid", target: &target, version: 8, sha256: [8; 32] };
        let versions = hand_out(&site, &handed).unwrap().into_iter().map(|change| change.assignment.version);
        assert_eq!(versions.collect::<Vec<_>>(), [NUMBERING, 1]);
        let mut used_up = site;
        used_up[0].highest_assignment = VERSION_MAX;
        assert!(hand_out(&used_up, &handed).unwrap_err().contains("ewr"));
    }
}
