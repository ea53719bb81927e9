//! Workloads: what operators apply and remove.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde::Serialize;
use tokio::sync::oneshot;
use wayside_actors::cloud::fleet::Event;
use wayside_config::{
    cosign::{Kind, payload_hash, peek},
    document::{DocumentId, Release, Revocation},
    hash::{hex, sha256},
    workload::Target,
};

use super::{
    super::{clock::wall_ms, hub::Hub},
    Shared,
    error::ApiError,
    fleet::verified,
};

/// The media type of a sealed release.
pub(super) const SEALED: &str = "application/cose";

#[derive(Serialize)]
pub(super) struct Listed {
    name: String,
    version: u64,
    sha256: String,
    target: Target,
    modules: Vec<String>,
    routes: Vec<String>,
    /// Devices that should run it.
    devices: usize,
}

#[derive(Serialize)]
pub(super) struct Applied {
    name: String,
    version: u64,
    /// Devices that get another assignment by it.
    devices: u64,
}

#[derive(Serialize)]
pub(super) struct Removed {
    name: String,
    /// Devices that get another assignment by it.
    devices: u64,
}

pub(super) async fn list(State(hub): Shared) -> Json<Vec<Listed>> {
    let devices = hub.view.devices();
    let runs = |name: &str| {
        let assigned = devices.iter().filter_map(|(_, record)| record.assigned.as_ref());
        assigned.filter(|assigned| assigned.releases.iter().any(|release| release.workload == name)).count()
    };
    let listed = hub.releases().into_iter().map(|stored| {
        let workload = stored.release.workload;
        Listed {
            devices: runs(&workload.name),
            version: stored.release.version,
            sha256: hex(&stored.sha256),
            target: workload.target,
            modules: workload.modules.into_keys().collect(),
            routes: workload.routes.into_iter().map(|route| route.name).collect(),
            name: workload.name,
        }
    });
    Json(listed.collect())
}

/// Takes a release that enough operators of the fleet have signed.
pub(super) async fn apply(
    State(hub): Shared,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Applied>, ApiError> {
    let help = "apply it with `wayside apply FILE --cloud URL`";
    if headers.get(header::CONTENT_TYPE).is_none_or(|given| given != SEALED) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ApiError::new(status, format!("expected a sealed release, {SEALED}"), help));
    }
    let sealed = body.map_err(|error| ApiError::new(error.status(), error.body_text(), help))?;
    let release = verified::<Release>(&hub, &sealed, help)?;
    check_still_good(&hub, &release, &sealed)?;
    let (name, version) = (release.workload.name.clone(), release.version);
    let devices = settle(&hub, |ticket| Event::Applied {
        ticket,
        release: Box::new(release),
        sha256: sha256(&sealed),
        sealed: sealed.clone(),
    })
    .await?;
    tracing::info!(workload = name, version, devices, "applied");
    Ok(Json(Applied { name, version, devices }))
}

/// Whether devices would take it anew: none takes what has expired or is revoked.
fn check_still_good(hub: &Hub, release: &Release, sealed: &[u8]) -> Result<(), ApiError> {
    let conflict = |text: &str| ApiError::new(StatusCode::CONFLICT, text, "sign and apply it anew");
    if release.expires_ms.is_some_and(|expires_ms| expires_ms <= wall_ms()) {
        return Err(conflict("the release has expired: no device would take it"));
    }
    let Some((list, _)) = hub.state.fleet().revocation else { return Ok(()) };
    let hash = payload_hash(Kind::Release, sealed);
    match (peek::<Revocation>(&list), hash) {
        (Ok(list), Ok(hash)) if list.is_over(&DocumentId(hash)) => {
            Err(conflict("the release is revoked: no device would take it"))
        }
        (Ok(_) | Err(_), _) => Ok(()),
    }
}

pub(super) async fn remove(State(hub): Shared, Path(name): Path<String>) -> Result<Json<Removed>, ApiError> {
    if !hub.releases().iter().any(|stored| stored.release.workload.name == name) {
        return Err(ApiError::not_found(
            format!("there is no workload {name}"),
            "GET /api/v1/workloads lists them",
        ));
    }
    let devices = settle(&hub, |ticket| Event::Removed { ticket, workload: name.clone() }).await?;
    tracing::info!(workload = name, devices, "removed");
    Ok(Json(Removed { name, devices }))
}

/// Brings the fleet an operator's wish and waits until it is stored or refused.
pub(super) async fn settle(hub: &Arc<Hub>, event: impl FnOnce(u64) -> Event) -> Result<u64, ApiError> {
    let (ticket, settled): (u64, oneshot::Receiver<_>) = hub.await_settlement();
    let fleet = hub.fleet().ok_or_else(ApiError::stopping)?;
    fleet.send(event(ticket), 0).await.map_err(|_| ApiError::stopping())?;
    let settled = tokio::time::timeout(std::time::Duration::from_secs(30), settled).await;
    let result = settled.ok().and_then(Result::ok).ok_or_else(ApiError::stopping)?;
    result.map_err(|reason| ApiError::new(StatusCode::CONFLICT, reason, "nothing was changed"))
}
