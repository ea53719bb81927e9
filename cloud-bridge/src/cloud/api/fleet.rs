//! The fleet's roots: operators introduce them, and whoever looks sees which fleet it is.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::Serialize;
use wayside_config::{
    cbor,
    cosign::{CosignError, Document},
    fleet::{Fleet, FleetError, Roles},
    identity::FleetId,
};

use super::{
    super::{hub::Hub, news, roots::Refused},
    Shared,
    error::ApiError,
};

const HELP: &str = "`wayside apply FILE --cloud URL` introduces the operator's fleet";

#[derive(Serialize)]
pub(super) struct Shown {
    fleet: FleetId,
    root: u64,
    expires_ms: Option<u64>,
    roles: Roles,
    /// The version of the list of what does not count any more; 0 for none.
    revocation: u64,
}

pub(super) async fn show(State(hub): Shared) -> Result<Json<Shown>, ApiError> {
    let known = hub.state.fleet();
    let revocation = known.revocation.map_or(0, |(_, version)| version);
    known.fleet.map(|fleet| Json(Shown::new(&fleet, revocation))).ok_or_else(none)
}

/// Takes `[roots, revocation or null]`, in CBOR.
pub(super) async fn introduce(State(hub): Shared, body: Bytes) -> Result<Json<Shown>, ApiError> {
    let (roots, revocation) = cbor::decode::<(Vec<Bytes>, Option<Bytes>)>(&body)
        .map_err(|error| ApiError::bad_request(error.to_string(), HELP))?;
    let before = hub.state.fleet();
    let known = hub.state.introduce(&roots, revocation).map_err(refused)?;
    // To devices of no fleet its first root alone says nothing.
    if known != before && (before.fleet.is_some() || known.revocation.is_some()) {
        news::tell_all(&hub);
    }
    let revocation = known.revocation.map_or(0, |(_, version)| version);
    known.fleet.map(|fleet| Json(Shown::new(&fleet, revocation))).ok_or_else(none)
}

impl Shown {
    fn new(fleet: &Fleet, revocation: u64) -> Self {
        let root = fleet.root();
        let (expires_ms, roles) = (root.expires_ms, root.roles.clone());
        Self { fleet: fleet.id(), root: root.version, expires_ms, roles, revocation }
    }
}

fn refused(refused: Refused) -> ApiError {
    let text = refused.to_string();
    match refused {
        Refused::Fleet(FleetError::Other { theirs, .. }) => {
            let help = format!(
                "start wayside-cloud with --fleet {theirs} for that one, or sign for the fleet that it serves"
            );
            ApiError::new(StatusCode::FORBIDDEN, text, help)
        }
        Refused::Damaged => ApiError::new(
            StatusCode::FORBIDDEN,
            text,
            "start wayside-cloud with --fleet FLEET or --operator KEY",
        ),
        Refused::Fleet(_) | Refused::Revocation(_) => ApiError::new(StatusCode::FORBIDDEN, text, HELP),
        Refused::State(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text, ""),
    }
}

/// What a document of the fleet says that enough of its operators have signed.
pub(super) fn verified<T: Document>(hub: &Hub, sealed: &[u8], help: &str) -> Result<T, ApiError> {
    let known = hub.state.fleet();
    let Some(fleet) = known.fleet else {
        return Err(if known.is_damaged { refused(Refused::Damaged) } else { none() });
    };
    fleet.verify(sealed).map(|(_, document)| document).map_err(|error| {
        let status = match error {
            CosignError::Threshold { .. } => StatusCode::FORBIDDEN,
            CosignError::TooLarge { .. }
            | CosignError::Malformed(_)
            | CosignError::BadSignature(_)
            | CosignError::Again(_)
            | CosignError::Signer(_) => StatusCode::BAD_REQUEST,
        };
        ApiError::new(status, error.to_string(), help)
    })
}

/// Nobody has introduced one.
fn none() -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "this cloud knows no fleet yet", HELP)
}
