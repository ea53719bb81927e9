//! Which devices run which workload, and the assignments that follow.

use std::collections::BTreeSet;

use wayside_config::{
    document::{Assignment, Member, Release, ReleaseRef},
    identity::DeviceId,
    limits,
    workload::Target,
};

use super::{Applied, DeviceRecord, Effect, Fleet, is_site};
use crate::machine::Effects;

impl Fleet {
    /// Refuses a release whose site would be larger than a device can know.
    pub(super) fn check_size(&self, release: &Release) -> Result<(), String> {
        let target = &release.workload.target;
        let size = self.devices().filter(|(id, record)| is_target(target, id, record)).count();
        if is_site(release) && size > limits::MEMBERS {
            return Err(format!(
                "`{}` routes to its site and would run on {size} devices, more than {}: narrow its target",
                release.workload.name,
                limits::MEMBERS
            ));
        }
        let new = !self.workloads.contains_key(&release.workload.name);
        if new && self.workloads.len() >= limits::WORKLOADS {
            return Err(format!("there are {} workloads: remove one first", limits::WORKLOADS));
        }
        Ok(())
    }

    /// Takes a release in; gives the devices that had the workload before.
    pub(super) fn take_release(&mut self, release: &Release, sha256: [u8; 32]) -> BTreeSet<DeviceId> {
        let mut applied = Applied {
            version: release.version,
            sha256,
            target: release.workload.target.clone(),
            site: is_site(release),
            members: BTreeSet::new(),
        };
        let name = &release.workload.name;
        for (id, device) in &mut self.devices {
            enlist(name, &mut applied, *id, &mut device.record);
        }
        self.workloads.insert(name.clone(), applied).map(|before| before.members).unwrap_or_default()
    }

    /// Matches one device, new or changed, against all workloads; gives the devices that this touches.
    pub(super) fn rejoin(&mut self, id: DeviceId) -> BTreeSet<DeviceId> {
        let mut touched = BTreeSet::from([id]);
        let Some(device) = self.devices.get_mut(&id) else { return touched };
        for (name, applied) in &mut self.workloads {
            let was = applied.members.remove(&id);
            let is = enlist(name, applied, id, &mut device.record);
            if applied.site && (was || is) {
                touched.extend(applied.members.iter().copied());
            }
        }
        touched
    }

    /// Makes new assignments for those of `touched` whose old one is no longer right; gives how many.
    pub(super) fn assign(&mut self, touched: &BTreeSet<DeviceId>, out: &mut Effects<Effect>) -> u64 {
        let mut count = 0;
        for id in touched {
            let releases = self.releases_of(id);
            let Some(device) = self.devices.get_mut(id) else { continue };
            let record = &mut device.record;
            if record.assigned.as_ref().map_or(&[][..], |assigned| &assigned.releases) == releases {
                continue;
            }
            // An operator on the site may have given the device a version beyond ours.
            // What it reports is its own word, and may be any number.
            let held = record.reported.assignment.unwrap_or(0).min(limits::VERSION_MAX);
            let before = record.assigned.as_ref().map_or(0, |assigned| assigned.version).max(held);
            let version = (before + 1).min(limits::VERSION_MAX);
            let assignment = Assignment { device: *id, version, releases };
            record.assigned = Some(assignment.clone());
            let connected = device.next_report.is_some();
            self.save(*id, out);
            self.changed(*id, out);
            // Others get theirs when their first report shows that it is not what they hold.
            if connected {
                out.push(Effect::Assign(Box::new(assignment)));
            }
            count += 1;
        }
        count
    }

    fn releases_of(&self, id: &DeviceId) -> Vec<ReleaseRef> {
        let theirs = self.workloads.iter().filter(|(_, applied)| applied.members.contains(id));
        theirs
            .map(|(name, applied)| ReleaseRef {
                workload: name.clone(),
                version: applied.version,
                sha256: applied.sha256,
                members: self.members_for(id, applied),
            })
            .collect()
    }

    /// Whom a device has to know to run the workload: all members where they send to each other, so
    /// that otherwise a device that joins touches nobody else.
    fn members_for(&self, id: &DeviceId, applied: &Applied) -> Vec<Member> {
        let own = BTreeSet::from([*id]);
        let known = if applied.site { &applied.members } else { &own };
        let devices = known.iter().filter_map(|id| Some((id, self.device(id)?)));
        let member = |(id, record): (&DeviceId, &DeviceRecord)| Member {
            device: *id,
            name: record.name.clone(),
            labels: record.labels.clone(),
        };
        devices.map(member).collect()
    }
}

/// Makes a device a member of a workload that names it, while there is room; gives whether it is one.
fn enlist(name: &str, applied: &mut Applied, id: DeviceId, record: &mut DeviceRecord) -> bool {
    record.left_out.retain(|workload| workload != name);
    if !is_target(&applied.target, &id, record) {
        return false;
    }
    if applied.site && applied.members.len() >= limits::MEMBERS {
        record.left_out.push(name.into());
        return false;
    }
    applied.members.insert(id)
}

/// Whether all conditions of the target hold for the device.
fn is_target(target: &Target, id: &DeviceId, record: &DeviceRecord) -> bool {
    let named = || {
        let key = id.to_string();
        target.devices.iter().any(|device| *device == record.name || *device == key)
    };
    target.labels.iter().all(|(key, value)| record.labels.get(key) == Some(value))
        && (target.devices.is_empty() || named())
}
