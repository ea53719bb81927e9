//! Lets in only who has the token.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{super::hub::Hub, super::state::same_secret, error::ApiError};

pub(super) async fn check(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if same_secret(token, hub.state.api_token()) => next.run(request).await,
        found => {
            let error = if found.is_some() { "the token is not good" } else { "a token is needed" };
            let help = "send `Authorization: Bearer TOKEN`; the token is in api.token of the cloud's state directory";
            ApiError::new(StatusCode::UNAUTHORIZED, error, help).into_response()
        }
    }
}
