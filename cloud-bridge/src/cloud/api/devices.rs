//! Devices: what is known of them, and what their modules wrote.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use wayside_actors::{
    cloud::{
        fleet::{DeviceRecord, Presence},
        session,
    },
    frame::{Ask, Question},
    report::{ClockOffset, Health, QueueStatus, RouteStatus, System, Usage, WorkloadStatus},
};
use wayside_config::identity::DeviceId;

use super::{
    super::{hub::Hub, view::NotOne},
    Shared,
    drift::{self, Drift},
    error::ApiError,
};

/// For a device to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// The most lines of a log.
const MAX_TAIL: u32 = 10_000;

/// A device as the API and the page see it.
/// How long it is told that two machines have one key, after they were last seen, in milliseconds.
const CLONED_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Serialize)]
pub(super) struct Device {
    key: DeviceId,
    name: String,
    presence: &'static str,
    version: String,
    last_seen_ms: u64,
    labels: BTreeMap<String, String>,
    /// The version of the assignment that it should hold, and of the one that it holds.
    assigned: u64,
    held: u64,
    workloads: Vec<String>,
    /// What it says of the versions of its workloads.
    versions: BTreeMap<String, Workload>,
    modules: BTreeMap<String, Module>,
    queues: BTreeMap<String, QueueStatus>,
    routes: BTreeMap<String, RouteStatus>,
    peers: usize,
    /// The machine; null where the device has not told of it.
    system: Option<System>,
    /// How far its clock is from the cloud's; null before that was measured.
    clock: Option<ClockOffset>,
    /// What is not as it should be.
    drift: Vec<Drift>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Workload {
    version: u64,
    coming: Option<u64>,
    phase: &'static str,
    problem: String,
}

#[derive(Serialize)]
struct Module {
    state: &'static str,
    image: String,
    restarts: u32,
    exit_code: Option<i64>,
    problem: String,
    health: Option<&'static str>,
    output: String,
    #[serde(flatten)]
    usage: Usage,
}

impl Device {
    pub(super) fn new(key: DeviceId, record: &DeviceRecord) -> Self {
        let reported = &record.reported;
        let module = |(name, status): (&String, &wayside_actors::report::ModuleStatus)| {
            let module = Module {
                state: status.state.name(),
                image: status.image.clone(),
                restarts: status.restarts,
                exit_code: status.exit_code,
                problem: status.problem.clone(),
                health: status.health.map(Health::name),
                output: status.output.clone(),
                usage: reported.usage.get(name).cloned().unwrap_or_default(),
            };
            (name.clone(), module)
        };
        let workload = |(name, status): (&String, &WorkloadStatus)| {
            let WorkloadStatus { version, coming, phase, problem } = status.clone();
            (name.clone(), Workload { version, coming, phase: phase.name(), problem })
        };
        let left_out = record.left_out.iter().map(|workload| {
            format!("{workload} is not given to this device: its site has the most members already")
        });
        let unshown = (record.unshown > 0).then(|| {
            format!(
                "{} reported modules and queues are not shown: it reports more than the cloud keeps",
                record.unshown
            )
        });
        let since_ms = record.last_seen_ms.saturating_sub(record.cloned_ms);
        let cloned = (record.cloned_ms > 0 && since_ms < CLONED_MS).then(|| {
            format!(
                "two machines have this device's key, and connect by turns: `wayside revoke --device {}`, and let them begin anew with empty state directories",
                key
            )
        });
        Self {
            key,
            name: record.name.clone(),
            presence: presence(record.presence),
            version: record.version.clone(),
            last_seen_ms: record.last_seen_ms,
            labels: record.labels.clone(),
            assigned: record.assigned.as_ref().map_or(0, |assigned| assigned.version),
            held: reported.assignment.unwrap_or(0),
            workloads: record
                .assigned
                .iter()
                .flat_map(|assigned| &assigned.releases)
                .map(|release| release.workload.clone())
                .collect(),
            versions: reported.workloads.iter().map(workload).collect(),
            modules: reported.modules.iter().map(module).collect(),
            queues: reported.queues.clone(),
            routes: reported.routes.clone(),
            peers: reported.peers.as_ref().map_or(0, Vec::len),
            system: reported.system.clone(),
            clock: reported.clock,
            drift: drift::of_device(record),
            problems: reported
                .problems
                .iter()
                .flatten()
                .cloned()
                .chain(left_out)
                .chain(unshown)
                .chain(cloned)
                .collect(),
        }
    }
}

pub(super) const fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Online => "online",
        Presence::Away => "away",
        Presence::Silent => "silent",
    }
}

pub(super) async fn list(State(hub): Shared) -> Json<Vec<Device>> {
    Json(hub.view.devices().iter().map(|(key, record)| Device::new(*key, record)).collect())
}

pub(super) async fn one(State(hub): Shared, Path(name): Path<String>) -> Result<Json<Device>, ApiError> {
    let key = find(&hub, &name)?;
    let record = hub.view.device(&key).ok_or_else(|| unknown(&name))?;
    Ok(Json(Device::new(key, &record)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    module: String,
    #[serde(default = "default_tail")]
    tail: u32,
    #[serde(default)]
    since_ms: u64,
}

const fn default_tail() -> u32 {
    100
}

/// Asks the device; the answer is text.
pub(super) async fn logs(
    State(hub): Shared,
    Path(name): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<String, ApiError> {
    let Query(LogsQuery { module, tail, since_ms }) = query.map_err(|error| wrong_query(&error))?;
    let question = Question::Logs { module, tail: tail.min(MAX_TAIL), since_ms };
    ask(&hub, &name, question, ANSWER).await
}

/// The answer of the device of this name or key, which may take `patience`.
pub(super) async fn ask(
    hub: &Hub,
    name: &str,
    question: Question,
    patience: Duration,
) -> Result<String, ApiError> {
    let key = find(hub, name)?;
    let away = || {
        let help = "look at its presence, or ask it on its own network with --lan";
        ApiError::new(StatusCode::CONFLICT, format!("{name} is not connected"), help)
    };
    let session = hub.session(&key).ok_or_else(away)?;
    let (id, answer) = hub.await_answer();
    session.address.send(session::Event::Ask(Ask { id, question }), 0).await.map_err(|_| away())?;
    match timeout(patience, answer).await {
        Ok(Ok(Ok(text))) => Ok(text),
        Ok(Ok(Err(reason))) => {
            Err(ApiError::new(StatusCode::BAD_GATEWAY, reason, format!("{name} answered so")))
        }
        Ok(Err(_)) => Err(ApiError::stopping()),
        Err(_) => {
            let error = format!("{name} did not answer within {} s", patience.as_secs());
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, error, "it may be busy or cut off: try again"))
        }
    }
}

/// The device of this name or key.
pub(super) fn find(hub: &Hub, name: &str) -> Result<DeviceId, ApiError> {
    hub.view.find(name).map_err(|error| match error {
        NotOne::None => unknown(name),
        NotOne::Several(keys) => {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            let error = format!("{} devices are named {name}", keys.len());
            ApiError::new(StatusCode::CONFLICT, error, format!("name one by its key: {}", keys.join(" ")))
        }
    })
}

pub(super) fn wrong_query(error: &QueryRejection) -> ApiError {
    ApiError::bad_request(error.body_text(), "see docs/api.md for what may be asked")
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no device {name}"), "`wayside devices` lists those there are")
}
