//! Operators' sealed requests to devices: carried there and back, opened by nobody here.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use wayside_actors::frame::Question;

use super::{
    Shared,
    devices::{ask, wrong_query},
    error::ApiError,
};

/// The longest that a device may take, and what it may when nothing is said, in milliseconds.
const MAX_WAIT_MS: u64 = 75_000;
const WAIT_MS: u64 = 15_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayQuery {
    wait_ms: Option<u64>,
}

/// Hands the request to the device; the answer is the device's sealed reply.
pub(super) async fn relay(
    State(hub): Shared,
    Path(name): Path<String>,
    query: Result<Query<RelayQuery>, QueryRejection>,
    request: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    let Query(RelayQuery { wait_ms }) = query.map_err(|error| wrong_query(&error))?;
    if request.is_empty() {
        let help = "`wayside call` makes, signs and sends one";
        return Err(ApiError::bad_request("the body is no sealed request", help));
    }
    let patience = Duration::from_millis(wait_ms.unwrap_or(WAIT_MS).min(MAX_WAIT_MS));
    let reply = ask(&hub, &name, Question::Sealed { request }, patience).await?;
    let reply = BASE64_STANDARD.decode(reply).map_err(|_| {
        let error = format!("{name} answered with something that is no sealed reply");
        ApiError::new(StatusCode::BAD_GATEWAY, error, "use a `wayside` of this cloud's version on it")
    })?;
    Ok(([(CONTENT_TYPE, "application/cose")], reply))
}
