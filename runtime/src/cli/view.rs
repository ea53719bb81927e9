//! A device as `devices` and `status` show it, whether it or the cloud told of it.

mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_actors::{
    device::membership::Role,
    report::{QueueStatus, RouteStatus, WorkloadStatus},
};
use wayside_config::identity::{DeviceId, PublicKey};

use self::words::{describe_leaves, describe_mqtt, describe_store};
use super::{
    output::{bytes, duration, table},
    visible::one_line,
};
use crate::control::{CloudStatus, FleetStatus, MeshStatus, MqttStatus, Status, StoreStatus};

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
        mesh: MeshStatus,
        /// What its queues take on the disk, once they are open.
        store: Option<StoreStatus>,
        /// Who is connected over MQTT, and what was turned away.
        mqtt: Box<MqttStatus>,
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
            problems: device.problems,
        }
    }
}

impl From<Status> for DeviceView {
    fn from(status: Status) -> Self {
        let report = status.report;
        let module = |(name, module): (String, wayside_actors::report::ModuleStatus)| {
            let state = module.state.name().to_owned();
            let (image, restarts) = (module.image, module.restarts);
            let (exit_code, problem) = (module.exit_code, module.problem);
            let (health, output) = (module.health.map(|health| health.name().to_owned()), module.output);
            (name, ModuleView { state, image, restarts, exit_code, problem, health, output })
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
                mesh: status.mesh,
                store: status.store,
                mqtt: Box::new(status.mqtt),
                unrouted: report.unrouted.unwrap_or(0),
                refused: report.refused.unwrap_or(0),
            },
            versions: report.workloads.into_iter().map(|(name, status)| (name, status.into())).collect(),
            modules: report.modules.into_iter().map(module).collect(),
            queues: report.queues,
            routes: report.routes,
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
            Source::Device { uptime_ms, fleet, cloud, peers, mesh, store, mqtt, unrouted, refused } => {
                line("up", duration(*uptime_ms));
                line("cloud", cloud.as_ref().map_or("none".into(), describe_cloud));
                line("peers", peers.len().to_string());
                line("mesh", describe_addresses(mesh));
                line("traffic", describe_traffic(mesh));
                line("store", store.as_ref().map_or("not open".into(), describe_store));
                line("mqtt", describe_mqtt(mqtt));
                line("leaves", describe_leaves(mqtt));
                line("fleet", describe_fleet(fleet.as_deref()));
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
        for problem in &self.problems {
            line("problem", problem.clone());
        }
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

    fn versions_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .versions
            .iter()
            .map(|(name, workload)| {
                let number = |version: u64| if version == 0 { "none".into() } else { version.to_string() };
                let coming = workload.coming.map_or(String::new(), number);
                vec![name.clone(), number(workload.version), workload.phase.clone(), coming]
            })
            .collect();
        let head = ["WORKLOAD", "VERSION", "PHASE", "COMING"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    fn modules_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .modules
            .iter()
            .map(|(name, module)| {
                let exit = module.exit_code.map_or(String::new(), |code| code.to_string());
                let restarts = module.restarts.to_string();
                let health = module.health.clone().unwrap_or_default();
                let problem = [&module.problem, &module.output].map(String::as_str).join(" ");
                let problem = problem.trim().to_owned();
                vec![
                    name.clone(),
                    module.state.clone(),
                    health,
                    restarts,
                    exit,
                    module.image.clone(),
                    problem,
                ]
            })
            .collect();
        let head = ["MODULE", "STATE", "HEALTH", "RESTARTS", "EXIT", "IMAGE", "PROBLEM"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    fn routes_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .routes
            .iter()
            .map(|(name, route)| {
                let counts = [route.refused, route.left_out, route.failed, route.lost];
                let counts = counts.map(|count| count.to_string());
                std::iter::once(name.clone()).chain(counts).collect()
            })
            .collect();
        let head = ["ROUTE", "NOT WANTED", "NOT SAMPLED", "FAILED", "LOST"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }

    fn queues_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .queues
            .iter()
            .map(|(name, queue)| {
                let counts = [queue.depth, queue.appended, queue.dropped, queue.expired];
                let [depth, appended, dropped, expired] = counts.map(|count| count.to_string());
                vec![name.clone(), depth, bytes(queue.bytes), appended, dropped, expired]
            })
            .collect();
        let head = ["QUEUE", "WAITING", "SIZE", "IN", "DROPPED", "EXPIRED"];
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&head, &rows)) }
    }
}

fn describe_fleet(fleet: Option<&FleetStatus>) -> String {
    let Some(FleetStatus { id, root, operators }) = fleet else {
        return "that of the first operator who applies something".into();
    };
    let obeys: Vec<String> = operators.iter().map(PublicKey::short).collect();
    match (root, obeys.is_empty()) {
        (0, true) => format!("{}, whose roots have not come yet", id.short()),
        (0, false) => format!("{}, obeys {}", id.short(), obeys.join(", ")),
        _ => format!("{}, root {root}, obeys {}", id.short(), obeys.join(", ")),
    }
}

fn describe_cloud(cloud: &CloudStatus) -> String {
    format!("{} ({})", cloud.address, if cloud.connected { "connected" } else { "not connected" })
}

fn describe_addresses(mesh: &MeshStatus) -> String {
    let addresses: Vec<String> = mesh.addresses.iter().map(ToString::to_string).collect();
    match (mesh.role, addresses.is_empty()) {
        (Role::Client, _) => "through a router of the site".into(),
        (Role::Peer | Role::Router, true) => "not open".into(),
        (Role::Router, false) => format!("{}, routing for others", addresses.join(", ")),
        (Role::Peer, false) => addresses.join(", "),
    }
}

/// What was not sent or taken comes again: it shows a link or a device that is too slow.
fn describe_traffic(mesh: &MeshStatus) -> String {
    let MeshStatus { sent, received, send_dropped, receive_dropped, malformed, addresses: _, role: _ } = mesh;
    let mut text = format!("{sent} sent, {received} received");
    for (count, what) in
        [(send_dropped, "not sent"), (receive_dropped, "not taken"), (malformed, "malformed")]
    {
        if *count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use wayside_actors::report::{Health, ModuleState, ModuleStatus, Phase, Report};
    use wayside_config::leaf::Fingerprint;
    use wayside_mesh::mqtt::Counted;

    use super::*;

    fn status() -> Status {
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
                problems: Some(vec!["the disk is full".into()]),
                ..Report::default()
            },
        }
    }

    #[test]
    fn a_person_sees_what_matters() {
        insta::assert_snapshot!(DeviceView::from(status()).describe(0), @r"
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
          problem   the disk is full

        WORKLOAD  VERSION  PHASE      COMING
        w         6        preparing  7

        MODULE    STATE     HEALTH     RESTARTS  EXIT  IMAGE     PROBLEM
        w/sensor  back-off  unhealthy  2         1     sensor:1  no answer

        QUEUE         WAITING  SIZE     IN  DROPPED  EXPIRED
        w/r -> cloud  3        2.0 KiB  9   0        0

        ROUTE  NOT WANTED  NOT SAMPLED  FAILED  LOST
        w/r    7           0            2       1
        ");
    }

    #[test]
    fn a_person_sees_what_is_dropped_damaged_and_not_there() {
        let mut troubled = status();
        troubled.mesh =
            MeshStatus { send_dropped: 3, receive_dropped: 2, malformed: 1, ..MeshStatus::default() };
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
          traffic   0 sent, 0 received, 3 not sent, 2 not taken, 1 malformed
          store     0 B of 0 B in 2 segment(s), 1 damaged
          mqtt      2 client(s), 3 publishes outside their topics, 7 wrong passwords, 1 not reading
          leaves    mqtts://192.0.2.7:8883 (sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad)
          fleet     that of the first operator who applies something
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
        assert_eq!(json["peers"], serde_json::json!([]));
        assert_eq!(json["problems"][0], "the disk is full");
        assert_eq!(json["mesh"]["addresses"][0], "192.0.2.7:40123");
        assert_eq!(
            (&json["mesh"]["malformed"], &json["store"]["max_bytes"]),
            (&0.into(), &(4_u64 << 30).into())
        );
    }
}
