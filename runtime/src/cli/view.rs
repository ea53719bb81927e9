//! A device as `devices` and `status` show it, whether it or the cloud told of it.

mod tables;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_actors::report::{ClockOffset, Drift, QueueStatus, RouteStatus, System, Usage, WorkloadStatus};
use wayside_config::identity::DeviceId;

pub(super) use self::words::describe_lock;
use self::words::{
    describe_addresses, describe_clock, describe_cloud, describe_disk, describe_fleet, describe_leaves,
    describe_load, describe_memory, describe_mqtt, describe_store, describe_traffic,
};
use super::{output::duration, visible::one_line};
use crate::control::{CloudStatus, FleetStatus, LockStatus, MeshStatus, MqttStatus, Status, StoreStatus};

/// A device.
#[derive(Debug, Serialize)]
pub(super) struct DeviceView {
    /// Its key.
    pub(super) device: DeviceId,
    /// Its name.
    pub(super) name: String,
    /// `online`, `away` or `silent`.
    pub(super) presence: String,
    /// The daemon's version.
    pub(super) version: String,
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// The version of the assignment that it holds; 0 for none.
    pub(super) held: u64,
    /// What is told by the device alone or by the cloud alone.
    #[serde(flatten)]
    pub(super) source: Source,
    /// Which versions run, and what comes of others, by workload.
    pub(super) versions: BTreeMap<String, WorkloadView>,
    /// By `workload/module`.
    pub(super) modules: BTreeMap<String, ModuleView>,
    /// By display name.
    pub(super) queues: BTreeMap<String, QueueStatus>,
    /// What routes have left out, by `workload/route`.
    pub(super) routes: BTreeMap<String, RouteStatus>,
    /// The machine that it runs on, where that is known.
    pub(super) system: Option<System>,
    /// How far its clock is from the cloud's, where that was measured.
    pub(super) clock: Option<ClockOffset>,
    /// What is not as it should be.
    pub(super) drift: Vec<DriftView>,
    /// What is wrong with it.
    pub(super) problems: Vec<String>,
}

/// Who told of the device.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Source {
    /// The device.
    Device {
        /// Milliseconds since its daemon started.
        uptime_ms: u64,
        /// The fleet that it belongs to, and whom it obeys.
        fleet: Option<Box<FleetStatus>>,
        /// The uplink, when it has one.
        cloud: Option<CloudStatus>,
        /// Its neighbours.
        peers: Vec<DeviceId>,
        /// Its part in the mesh.
        mesh: Box<MeshStatus>,
        /// What its queues take on the disk, once they are open.
        store: Option<StoreStatus>,
        /// Who is connected over MQTT, and what was turned away.
        mqtt: Box<MqttStatus>,
        /// Who holds updates back.
        locks: Vec<LockStatus>,
        /// Publishes that leaves may make and no route wanted.
        unrouted: u64,
        /// Batches of neighbours that they may not send.
        refused: u64,
    },
    /// The cloud.
    Cloud {
        /// The cloud's clock at its last word.
        last_seen_ms: u64,
        /// The version of the assignment that it should hold.
        assigned: u64,
        /// What it should run.
        workloads: Vec<String>,
    },
}

/// A workload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkloadView {
    /// The version that runs; 0 while the first one is prepared.
    pub(super) version: u64,
    /// The version that is prepared to run in its place.
    pub(super) coming: Option<u64>,
    /// In words, such as `probation`.
    pub(super) phase: String,
    /// Why a version waits, was taken back, or fails.
    pub(super) problem: String,
}

impl From<WorkloadStatus> for WorkloadView {
    fn from(status: WorkloadStatus) -> Self {
        let WorkloadStatus { version, coming, phase, problem } = status;
        Self { version, coming, phase: phase.name().to_owned(), problem }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DriftView {
    /// `assignment`, a workload, or `workload/module`.
    pub(super) what: String,
    /// What should be.
    pub(super) desired: String,
    /// What is.
    pub(super) reported: String,
    /// Since when, by the device's clock, where that is known.
    pub(super) since_ms: Option<u64>,
    /// Why, where that is known.
    pub(super) why: String,
}

impl From<(String, Drift)> for DriftView {
    fn from((what, drift): (String, Drift)) -> Self {
        let Drift { desired, reported, since_ms, why } = drift;
        Self { what, desired, reported, since_ms: Some(since_ms), why }
    }
}

/// A module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ModuleView {
    /// In words, such as `running` and `back-off`.
    pub(super) state: String,
    /// Its image.
    pub(super) image: String,
    /// Starts after the first one.
    pub(super) restarts: u32,
    /// When it has exited.
    pub(super) exit_code: Option<i64>,
    /// Empty when all is well.
    pub(super) problem: String,
    /// What its health check says, if it has one.
    #[serde(default)]
    pub(super) health: Option<String>,
    /// The last that the check wrote, when it is not well.
    #[serde(default)]
    pub(super) output: String,
    /// What it uses, and the digest of its image.
    #[serde(flatten)]
    pub(super) usage: Usage,
}

/// A device in the cloud's API.
#[derive(Debug, Deserialize)]
pub(super) struct CloudDevice {
    key: DeviceId,
    name: String,
    presence: String,
    version: String,
    last_seen_ms: u64,
    labels: BTreeMap<String, String>,
    assigned: u64,
    held: u64,
    workloads: Vec<String>,
    #[serde(default)]
    versions: BTreeMap<String, WorkloadView>,
    modules: BTreeMap<String, ModuleView>,
    queues: BTreeMap<String, QueueStatus>,
    #[serde(default)]
    routes: BTreeMap<String, RouteStatus>,
    #[serde(default)]
    system: Option<System>,
    #[serde(default)]
    clock: Option<ClockOffset>,
    #[serde(default)]
    drift: Vec<DriftView>,
    problems: Vec<String>,
}

impl CloudDevice {
    /// Its key, as the cloud has it.
    pub(super) fn key(&self) -> DeviceId {
        self.key
    }
}

impl From<CloudDevice> for DeviceView {
    fn from(device: CloudDevice) -> Self {
        let CloudDevice { last_seen_ms, assigned, workloads, .. } = device;
        Self {
            device: device.key,
            name: device.name,
            presence: device.presence,
            version: device.version,
            labels: device.labels,
            held: device.held,
            source: Source::Cloud { last_seen_ms, assigned, workloads },
            versions: device.versions,
            modules: device.modules,
            queues: device.queues,
            routes: device.routes,
            system: device.system,
            clock: device.clock,
            drift: device.drift,
            problems: device.problems,
        }
    }
}

impl From<Status> for DeviceView {
    fn from(status: Status) -> Self {
        let mut report = status.report;
        let mut usage = std::mem::take(&mut report.usage);
        let module = |(name, module): (String, wayside_actors::report::ModuleStatus)| {
            let state = module.state.name().to_owned();
            let (image, restarts) = (module.image, module.restarts);
            let (exit_code, problem) = (module.exit_code, module.problem);
            let (health, output) = (module.health.map(|health| health.name().to_owned()), module.output);
            let usage = usage.remove(&name).unwrap_or_default();
            (name, ModuleView { state, image, restarts, exit_code, problem, health, output, usage })
        };
        Self {
            device: status.device,
            name: status.name,
            presence: "online".into(),
            version: status.version,
            labels: status.labels,
            held: report.assignment.unwrap_or(0),
            source: Source::Device {
                uptime_ms: status.uptime_ms,
                fleet: status.fleet.map(Box::new),
                cloud: status.cloud,
                peers: report.peers.unwrap_or_default(),
                mesh: Box::new(status.mesh),
                store: status.store,
                mqtt: Box::new(status.mqtt),
                locks: status.locks,
                unrouted: report.unrouted.unwrap_or(0),
                refused: report.refused.unwrap_or(0),
            },
            versions: report.workloads.into_iter().map(|(name, status)| (name, status.into())).collect(),
            modules: report.modules.into_iter().map(module).collect(),
            queues: report.queues,
            routes: report.routes,
            system: report.system,
            clock: report.clock,
            drift: report.drift.into_iter().map(Into::into).collect(),
            problems: report.problems.unwrap_or_default(),
        }
    }
}

impl DeviceView {
    /// Everything, for a person.
    pub(super) fn describe(&self, now_ms: u64) -> String {
        let mut text = format!("{}  {}\n", one_line(&self.name), one_line(&self.presence));
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<10}{}\n", one_line(&value)));
            }
        };
        line("key", self.device.to_string());
        line("version", self.version.clone());
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line("labels", labels.join(", "));
        match &self.source {
            Source::Device {
                uptime_ms,
                fleet,
                cloud,
                peers,
                mesh,
                store,
                mqtt,
                locks,
                unrouted,
                refused,
            } => {
                line("up", duration(*uptime_ms));
                line("cloud", cloud.as_ref().map_or("none".into(), describe_cloud));
                line("peers", peers.len().to_string());
                line("mesh", describe_addresses(mesh));
                line("traffic", describe_traffic(mesh));
                line("store", store.as_ref().map_or("not open".into(), describe_store));
                line("mqtt", describe_mqtt(mqtt));
                line("leaves", describe_leaves(mqtt));
                line("fleet", describe_fleet(fleet.as_deref()));
                locks.iter().for_each(|lock| line("held back", describe_lock(lock)));
                let counted =
                    |count: u64, what| if count == 0 { String::new() } else { format!("{count} {what}") };
                line("unrouted", counted(*unrouted, "publishes of leaves that no route wanted"));
                line("refused", counted(*refused, "batches that neighbours may not send here"));
            }
            Source::Cloud { last_seen_ms, assigned, workloads } => {
                line("last word", format!("{} ago", duration(now_ms.saturating_sub(*last_seen_ms))));
                let behind =
                    if self.held < *assigned { format!(", to have {assigned}") } else { String::new() };
                line("holds", format!("version {}{behind}", self.held));
                line("workloads", workloads.join(", "));
            }
        }
        if let Some(system) = &self.system {
            line("disk", describe_disk(system));
            line("memory", describe_memory(system));
            line("load", describe_load(system));
            line("booted", format!("{} ago", duration(now_ms.saturating_sub(system.booted_ms))));
            line("engine", system.engine.clone());
            line("kernel", system.kernel.clone());
        }
        line("clock", self.clock.as_ref().map_or_else(String::new, describe_clock));
        for problem in &self.problems {
            line("problem", problem.clone());
        }
        text.push_str(&self.drift_table(now_ms));
        text.push_str(&self.versions_table());
        text.push_str(&self.modules_table());
        text.push_str(&self.queues_table());
        text.push_str(&self.routes_table());
        text
    }

    /// `3 running`, `2 running, 1 back-off`.
    pub(super) fn modules_in_short(&self) -> String {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for module in self.modules.values() {
            *states.entry(&module.state).or_default() += 1;
        }
        let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if states.is_empty() { "none".into() } else { states.join(", ") }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use wayside_actors::report::{Health, ModuleState, ModuleStatus, Phase, Report};
    use wayside_config::leaf::Fingerprint;
    use wayside_mesh::mqtt::Counted;

    use super::*;

    pub(in crate::cli) fn status() -> Status {
        let module = ModuleStatus {
            state: ModuleState::BackOff,
            image: "sensor:1".into(),
            restarts: 2,
            exit_code: Some(1),
            problem: String::new(),
            health: Some(Health::Unhealthy),
            output: "no answer".into(),
        };
        let queue = QueueStatus { depth: 3, bytes: 2048, appended: 9, dropped: 0, expired: 0 };
        Status {
            copies: Default::default(),
            device: DeviceId::from_bytes([0; 32]),
            name: "ewr".into(),
            labels: BTreeMap::from([("plant".into(), "p7".into())]),
            version: "0.1.0".into(),
            uptime_ms: 65_000,
            fleet: None,
            cloud: Some(CloudStatus { address: "cloud:7443".into(), connected: false }),
            mesh: MeshStatus {
                addresses: vec!["192.0.2.7:40123".parse().unwrap()],
                sent: 12,
                received: 9,
                ..MeshStatus::default()
            },
            store: Some(StoreStatus {
                bytes: 3 << 20,
                max_bytes: 4 << 30,
                segments: 1,
                commits: 40,
                damages: 0,
            }),
            mqtt: MqttStatus::default(),
            locks: vec![LockStatus { owner: "w/sensor".into(), until_ms: 60_000, reason: "filling".into() }],
            report: Report {
                modules: BTreeMap::from([("w/sensor".into(), module)]),
                workloads: BTreeMap::from([(
                    "w".into(),
                    WorkloadStatus {
                        version: 6,
                        coming: Some(7),
                        phase: Phase::Preparing,
                        problem: String::new(),
                    },
                )]),
                queues: BTreeMap::from([("w/r -> cloud".into(), queue)]),
                routes: BTreeMap::from([(
                    "w/r".into(),
                    RouteStatus { refused: 7, failed: 2, left_out: 0, lost: 1 },
                )]),
                usage: BTreeMap::from([(
                    "w/sensor".into(),
                    Usage {
                        cpu_millis: Some(35),
                        memory_bytes: 3 << 19,
                        memory_limit_bytes: Some(64 << 20),
                        digest: "sha256:7f".into(),
                    },
                )]),
                system: Some(System {
                    disk_bytes: 32 << 30,
                    disk_free_bytes: 8 << 30,
                    memory_bytes: 4 << 30,
                    memory_free_bytes: 1 << 30,
                    cores: 4,
                    load_millis: 420,
                    booted_ms: 0,
                    engine: "20.10.24".into(),
                    kernel: "6.1.0".into(),
                }),
                clock: Some(ClockOffset { ahead_ms: -1200, error_ms: 9 }),
                drift: BTreeMap::from([(
                    "w/sensor".into(),
                    Drift {
                        desired: "running".into(),
                        reported: "back-off".into(),
                        since_ms: 5_000,
                        why: "exited with 1".into(),
                    },
                )]),
                problems: Some(vec!["the disk is full".into()]),
                ..Report::default()
            },
        }
    }

    #[test]
    fn a_person_sees_what_matters() {
        insta::assert_snapshot!(DeviceView::from(status()).describe(65_000), @r"
        ewr  online
          key       aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
          version   0.1.0
          labels    plant=p7
          up        1m 5s
          cloud     cloud:7443 (not connected)
          peers     0
          mesh      192.0.2.7:40123
          traffic   12 sent, 9 received
          store     3.0 MiB of 4.0 GiB in 1 segment(s)
          mqtt      0 client(s)
          fleet     that of the first operator who applies something
          held back by w/sensor until 1970-01-01 00:01 UTC (filling)
          disk      8.0 GiB of 32.0 GiB free
          memory    1.0 GiB of 4.0 GiB free
          load      0.42 on 4 core(s)
          booted    1m 5s ago
          engine    20.10.24
          kernel    6.1.0
          clock     1200 ms ahead of the cloud's, give or take 9 ms
          problem   the disk is full

        NOT AS DESIRED  DESIRED  IS        FOR    WHY
        w/sensor        running  back-off  1m 0s  exited with 1

        WORKLOAD  VERSION  PHASE      COMING  WAITS
        w         6        preparing  7

        MODULE    STATE     HEALTH     RESTARTS  EXIT  CPU    MEMORY               IMAGE     PROBLEM
        w/sensor  back-off  unhealthy  2         1     3.5 %  1.5 MiB of 64.0 MiB  sensor:1  no answer

        QUEUE         WAITING  SIZE     IN  DROPPED  EXPIRED
        w/r -> cloud  3        2.0 KiB  9   0        0

        ROUTE  NOT WANTED  NOT SAMPLED  FAILED  LOST
        w/r    7           0            2       1
        ");
    }

    #[test]
    fn a_person_sees_what_is_dropped_damaged_and_not_there() {
        let mut troubled = status();
        troubled.mesh = MeshStatus {
            send_dropped: 3,
            receive_dropped: 2,
            malformed: 1,
            lobby_dropped: 4,
            ..MeshStatus::default()
        };
        troubled.store = Some(StoreStatus { segments: 2, damages: 1, ..StoreStatus::default() });
        let counted = Counted {
            clients: 2,
            denied_publishes: 3,
            wrong_passwords: 7,
            not_reading: 1,
            ..Counted::default()
        };
        let (leaves, certificate) = (vec!["mqtts://192.0.2.7:8883".into()], Some(Fingerprint::of(b"abc")));
        troubled.mqtt = MqttStatus { leaves, certificate, counted };
        troubled.report = Report { problems: Some(vec!["a\u{1b}[2Jb\nc".into()]), ..Report::default() };
        insta::assert_snapshot!(DeviceView::from(troubled).describe(0), @r"
        ewr  online
          key       aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
          version   0.1.0
          labels    plant=p7
          up        1m 5s
          cloud     cloud:7443 (not connected)
          peers     0
          mesh      not open
          traffic   0 sent, 0 received, 3 not sent, 2 not taken, 1 malformed, 4 hellos not heard
          store     0 B of 0 B in 2 segment(s), 1 damaged
          mqtt      2 client(s), 3 publishes outside their topics, 7 wrong passwords, 1 not reading
          leaves    mqtts://192.0.2.7:8883 (sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad)
          fleet     that of the first operator who applies something
          held back by w/sensor until 1970-01-01 00:01 UTC (filling)
          problem   a\u{1b}[2Jb\nc
        ");
        troubled = status();
        troubled.store = None;
        assert!(DeviceView::from(troubled).describe(0).contains("\n  store     not open\n"));
    }

    #[test]
    fn a_program_sees_the_same_fields_from_device_and_cloud() {
        let json = serde_json::to_value(DeviceView::from(status())).unwrap();
        assert_eq!(json["modules"]["w/sensor"]["state"], "back-off");
        assert_eq!(
            (&json["versions"]["w"]["version"], &json["versions"]["w"]["coming"]),
            (&6.into(), &7.into())
        );
        assert_eq!(
            (&json["modules"]["w/sensor"]["cpu_millis"], &json["modules"]["w/sensor"]["digest"]),
            (&35.into(), &"sha256:7f".into())
        );
        assert_eq!((&json["system"]["cores"], &json["clock"]["ahead_ms"]), (&4.into(), &(-1200).into()));
        assert_eq!(
            (&json["drift"][0]["what"], &json["drift"][0]["since_ms"]),
            (&"w/sensor".into(), &5_000.into())
        );
        let old = serde_json::json!({"state": "running", "image": "i", "restarts": 0, "exit_code": null, "problem": ""});
        assert!(
            serde_json::from_value::<ModuleView>(old).is_ok_and(|module| module.usage == Usage::default()),
            "of an older cloud"
        );
        assert_eq!(json["peers"], serde_json::json!([]));
        assert_eq!(json["problems"][0], "the disk is full");
        assert_eq!(json["mesh"]["addresses"][0], "192.0.2.7:40123");
        assert_eq!(
            (&json["mesh"]["malformed"], &json["store"]["max_bytes"]),
            (&0.into(), &(4_u64 << 30).into())
        );
    }
}
