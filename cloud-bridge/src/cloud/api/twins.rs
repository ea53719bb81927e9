//! Twins: as devices told of them, and operators' changes on their way.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::Value;
use wayside_actors::cloud::fleet::{Event, TwinRecord};
use wayside_config::{document::TwinChange, hash::sha256, workload::ModuleId};

use super::{Shared, devices::find, error::ApiError, fleet::verified, workloads::settle};

/// A twin as the API shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    module: String,
    life: u64,
    desired_version: u64,
    desired: Value,
    reported_version: u64,
    reported: Value,
    /// Versions of changes that the device is still to take.
    pending: Vec<u64>,
    problem: String,
}

#[derive(Serialize)]
pub(super) struct Taken {
    version: u64,
    /// Whether the device was there to be handed the change at once.
    handed: bool,
}

impl Shown {
    fn new(module: &ModuleId, record: &TwinRecord) -> Self {
        let value = |text: &str| serde_json::from_str(text).unwrap_or_default();
        let TwinRecord { twin, pending, problem } = record;
        Self {
            module: module.to_string(),
            life: twin.life,
            desired_version: twin.desired.version,
            desired: value(&twin.desired.properties),
            reported_version: twin.reported.version,
            reported: value(&twin.reported.properties),
            pending: pending.iter().map(|pending| pending.version).collect(),
            problem: problem.clone(),
        }
    }
}

pub(super) async fn list(State(hub): Shared, Path(name): Path<String>) -> Result<Json<Vec<Shown>>, ApiError> {
    let device = find(&hub, &name)?;
    Ok(Json(hub.view.twins(device).iter().map(|(module, record)| Shown::new(module, record)).collect()))
}

pub(super) async fn one(
    State(hub): Shared,
    Path((name, workload, module)): Path<(String, String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let device = find(&hub, &name)?;
    let module = ModuleId::new(workload, module);
    let record = hub.view.twin(device, &module).ok_or_else(|| {
        let help = "a twin begins when its module, or an operator, first looks at it on the device";
        ApiError::not_found(format!("{name} has not told of a twin of {module}"), help)
    })?;
    Ok(Json(Shown::new(&module, &record)))
}

/// Takes an operator's sealed change: for the device now, or when it is back.
pub(super) async fn set(
    State(hub): Shared,
    Path((name, workload, module)): Path<(String, String, String)>,
    sealed: Bytes,
) -> Result<Json<Taken>, ApiError> {
    let help = "`wayside twin set` makes, signs and sends one";
    let refused = |error: String| ApiError::bad_request(error, help);
    let device = find(&hub, &name)?;
    let change = verified::<TwinChange>(&hub, &sealed, help)?;
    if change.device != device || change.module != ModuleId::new(workload, module) {
        return Err(refused("the change is for another device or module than the address".into()));
    }
    let version = change.version;
    let handed = settle(&hub, |ticket| Event::TwinSet {
        ticket,
        change: Box::new(change),
        sha256: sha256(&sealed),
        sealed: sealed.clone(),
    })
    .await?;
    Ok(Json(Taken { version, handed: handed > 0 }))
}
