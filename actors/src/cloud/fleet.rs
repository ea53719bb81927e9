//! All devices: what each should run, what each said last, and who has fallen silent.

mod event;
mod granted;
mod members;
mod merge;
mod presence;
mod runs;
mod twins;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
    workload::{Destination, ModuleId, Target},
};

use self::presence::Deadlines;
pub use self::{
    event::{Effect, Event},
    granted::Granted,
    merge::MAX_REPORTED_BYTES,
    twins::{MAX_PENDING, MAX_TWIN_BYTES, Pending, TwinRecord},
};
use crate::{
    frame::Hello,
    machine::{Effects, Machine},
    report::Report,
    time::Time,
};

/// A device not heard of for this long is marked silent, in milliseconds.
pub const SILENT_AFTER_MS: u64 = 60_000;

/// What the cloud keeps of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// As it was granted; of a device that has shown no grant yet as it says of itself.
    pub name: String,
    /// Likewise.
    pub labels: BTreeMap<String, String>,
    /// Of the daemon.
    pub version: String,
    /// Everything it reported, merged.
    pub reported: Report,
    /// The assignment it should have; its version is the highest ever made for it.
    pub assigned: Option<Assignment>,
    /// Wall-clock milliseconds of its last word.
    pub last_seen_ms: u64,
    /// Whether it is there.
    pub presence: Presence,
    /// Workloads that name this device but whose site is full; see [`wayside_config::limits::MEMBERS`].
    pub left_out: Vec<String>,
    /// Wall-clock milliseconds at which two machines were last seen to have its key; 0 for never.
    #[serde(default)]
    pub cloned_ms: u64,
    /// Modules and queues of its reports, since the last full one, for which there was no room here.
    #[serde(default)]
    pub unshown: u64,
    /// What it was granted.
    #[serde(default)]
    pub granted: Option<Granted>,
}

/// Whether a device is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Connected and talking.
    Online,
    /// Not connected, for less than the silence limit.
    Away,
    /// Not heard of for longer than the silence limit.
    #[default]
    Silent,
}

/// All devices under one trust root.
#[derive(Debug)]
pub struct Fleet {
    devices: BTreeMap<DeviceId, Device>,
    workloads: BTreeMap<String, Applied>,
    deadlines: Deadlines,
}

/// A device as the fleet holds it.
#[derive(Debug)]
struct Device {
    record: DeviceRecord,
    heard: Time,
    /// The number that its next report must have; `None` while it is not connected or a full one is due.
    next_report: Option<u64>,
    runs: runs::Runs,
    twins: twins::Twins,
}

/// The release that holds of a workload, and who runs it.
#[derive(Debug)]
struct Applied {
    version: u64,
    sha256: [u8; 32],
    target: Target,
    /// Whether messages go from member to member, so that each must know all.
    site: bool,
    members: BTreeSet<DeviceId>,
}

impl Fleet {
    /// A fleet from what was stored. Nobody is connected yet; [`Event::Started`] comes first.
    #[must_use]
    pub fn new(
        now: Time,
        devices: impl IntoIterator<Item = (DeviceId, DeviceRecord)>,
        releases: impl IntoIterator<Item = (Release, [u8; 32])>,
    ) -> Self {
        let mut fleet =
            Self { devices: BTreeMap::new(), workloads: BTreeMap::new(), deadlines: Deadlines::default() };
        for (device, mut record) in devices {
            if record.presence == Presence::Online {
                record.presence = Presence::Away;
            }
            if record.presence == Presence::Away {
                fleet.deadlines.watch(device, now.plus_millis(SILENT_AFTER_MS));
            }
            let (runs, twins) = Default::default();
            fleet.devices.insert(device, Device { record, heard: now, next_report: None, runs, twins });
        }
        for (release, sha256) in releases {
            fleet.take_release(&release, sha256);
        }
        fleet
    }

    /// With the twins that were stored. Those of devices that are not known are left out.
    #[must_use]
    pub fn with_twins(mut self, twins: impl IntoIterator<Item = ((DeviceId, ModuleId), TwinRecord)>) -> Self {
        for ((id, module), record) in twins {
            if let Some(device) = self.devices.get_mut(&id) {
                device.twins.put(module, record);
            }
        }
        self
    }

    /// Every device with what is known of it, by key.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, &DeviceRecord)> {
        self.devices.iter().map(|(id, device)| (id, &device.record))
    }

    /// One device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceRecord> {
        self.devices.get(id).map(|device| &device.record)
    }
}

impl Machine for Fleet {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Started => {
                // A crash between a release and the assignments that follow from it is mended here.
                let all = self.devices.keys().copied().collect();
                self.assign(&all, out);
            }
            Event::Greeted { device, hello, token_ok, granted, is_void, wall_ms } => {
                if token_ok || granted.is_some() || self.devices.contains_key(&device) {
                    let granted = granted.filter(|next| self.gives_way(&device, next, is_void));
                    self.greeted(now, device, hello, granted.map(|granted| *granted), wall_ms, out);
                } else {
                    out.push(Effect::Admit(device, Err(stranger(&hello))));
                }
            }
            Event::Seen { device, wall_ms } => {
                if self.heard(now, device, wall_ms) {
                    self.changed(device, out);
                }
            }
            Event::Reported { device, report, wall_ms } => self.reported(now, device, *report, wall_ms, out),
            Event::TwinNames { device, modules } => self.twin_names(device, modules, out),
            Event::TwinReported { device, module, twin } => self.twin_reported(device, module, *twin, out),
            Event::TwinRefused { device, sha256, reason } => self.twin_refused(device, sha256, &reason, out),
            Event::TwinSet { ticket, change, sha256, sealed } => {
                let result = self.twin_set(&change, sha256, sealed, out);
                out.push(Effect::Settled { ticket, result });
            }
            Event::Gone { device } => {
                self.gone(now, device, out);
                self.save_twins(device, out);
            }
            Event::Applied { ticket, release, sha256, sealed } => {
                let result = self.applied(release, sha256, sealed, out);
                out.push(Effect::Settled { ticket, result });
            }
            Event::Removed { ticket, workload } => {
                let result = self.removed(workload, out);
                out.push(Effect::Settled { ticket, result });
            }
            Event::Woken => self.silence(now, out),
        }
        if let Some(at) = self.deadlines.next_wake() {
            out.wake_at(at);
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Fleet {
    fn greeted(
        &mut self,
        now: Time,
        id: DeviceId,
        hello: Hello,
        granted: Option<Granted>,
        wall_ms: u64,
        out: &mut Effects<Effect>,
    ) {
        let is_new = !self.devices.contains_key(&id);
        let device = self.devices.entry(id).or_insert_with(|| Device {
            record: DeviceRecord::default(),
            heard: now,
            next_report: None,
            runs: runs::Runs::default(),
            twins: twins::Twins::default(),
        });
        device.next_report = None;
        let record = &mut device.record;
        let is_granted_anew = granted.is_some() && granted != record.granted;
        record.granted = granted.or(record.granted.take());
        let (version, said) = (hello.version, (hello.name, hello.labels.into_iter().collect()));
        let (name, labels) = record.granted.clone().map_or(said, |granted| (granted.name, granted.labels));
        let same = record.name == name && record.labels == labels;
        let is_cloned = device.runs.greeted(hello.run);
        let save = is_new || !same || is_granted_anew || record.version != version || is_cloned;
        if is_cloned {
            record.cloned_ms = wall_ms;
        }
        (record.name, record.labels, record.version) = (name, labels, version);
        self.heard(now, id, wall_ms);
        if save {
            self.save(id, out);
        }
        out.push(Effect::Admit(id, Ok(())));
        self.changed(id, out);
        if is_new || !same {
            let touched = self.rejoin(id);
            self.assign(&touched, out);
        }
    }

    /// Whether what was granted to this device before, if anything, makes room for this.
    fn gives_way(&self, id: &DeviceId, next: &Granted, is_void: bool) -> bool {
        let known = self.devices.get(id).and_then(|device| device.record.granted.as_ref());
        known.is_none_or(|known| known.gives_way(next, is_void))
    }

    fn reported(&mut self, now: Time, id: DeviceId, report: Report, wall_ms: u64, out: &mut Effects<Effect>) {
        self.heard(now, id, wall_ms);
        let Some(device) = self.devices.get_mut(&id) else { return };
        let (number, full) = (report.number, report.full);
        if !full && device.next_report != Some(number) {
            let reason = format!("report {number} came where another was due");
            return out.push(Effect::Hangup { device: id, reason });
        }
        let left_out = merge::merge(&mut device.record.reported, report);
        let before = if full { 0 } else { device.record.unshown };
        device.record.unshown = before.saturating_add(left_out);
        device.next_report = Some(number + 1);
        if full
            && let Some(assigned) = device.record.assigned.as_ref()
            && device.record.reported.assignment.unwrap_or(0) < assigned.version
        {
            out.push(Effect::Assign(Box::new(assigned.clone())));
        }
        self.changed(id, out);
    }

    fn applied(
        &mut self,
        release: Box<Release>,
        sha256: [u8; 32],
        sealed: bytes::Bytes,
        out: &mut Effects<Effect>,
    ) -> Result<u64, String> {
        let name = release.workload.name.clone();
        if let Some(known) = self.workloads.get(&name) {
            if known.version == release.version && known.sha256 == sha256 {
                return Ok(0);
            }
            if known.version >= release.version {
                return Err(format!(
                    "version {} of `{name}` is here already: apply a version above it",
                    known.version
                ));
            }
        }
        self.check_size(&release)?;
        let mut touched = self.take_release(&release, sha256);
        out.persist(Effect::SaveRelease { release, sha256, sealed });
        touched.extend(self.workloads[&name].members.iter().copied());
        Ok(self.assign(&touched, out))
    }

    fn removed(&mut self, workload: String, out: &mut Effects<Effect>) -> Result<u64, String> {
        let Some(applied) = self.workloads.remove(&workload) else {
            return Err(format!("there is no workload `{workload}` here"));
        };
        for device in self.devices.values_mut() {
            device.record.left_out.retain(|name| *name != workload);
        }
        out.persist(Effect::DropRelease { workload });
        Ok(self.assign(&applied.members, out))
    }

    fn save(&self, id: DeviceId, out: &mut Effects<Effect>) {
        if let Some(device) = self.devices.get(&id) {
            out.persist(Effect::SaveDevice(id, Box::new(device.record.clone())));
        }
    }

    fn changed(&self, id: DeviceId, out: &mut Effects<Effect>) {
        if let Some(device) = self.devices.get(&id) {
            out.push(Effect::Changed(id, Box::new(device.record.clone())));
        }
    }
}

/// What a device is told that may not in.
fn stranger(hello: &Hello) -> String {
    let had = if hello.token.is_some() { "its join token is not good" } else { "it has no join token" };
    format!(
        "this cloud does not know the device and {had}: join it with the link that `wayside-cloud links` shows"
    )
}

/// Whether members of the workload send to each other.
fn is_site(release: &Release) -> bool {
    release.workload.routes.iter().any(|route| match route.to {
        Destination::Site(_) | Destination::Device { .. } | Destination::Where { .. } => true,
        Destination::Module(_) | Destination::Cloud => false,
    })
}

#[cfg(test)]
mod tests;
