//! What a request brings, as a whole and within its limit.

use axum::{
    body::Body,
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::StreamExt;
use wayside_config::limits::SEALED_BYTES;

use super::error::ApiError;

/// How much of a body that is too large is read and thrown away: who is still sending when the connection
/// closes may never see the answer.
const READ_OUT_BYTES: usize = 16 * SEALED_BYTES;

/// Reads the body before anything is done with it.
pub(super) async fn gather(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (mut chunks, mut whole, mut bytes) = (body.into_data_stream(), BytesMut::new(), 0usize);
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return ApiError::bad_request("the body broke off", "send the request again").into_response();
        };
        bytes = bytes.saturating_add(chunk.len());
        if bytes <= SEALED_BYTES {
            whole.extend_from_slice(&chunk);
        } else if bytes > READ_OUT_BYTES {
            break;
        }
    }
    if bytes > SEALED_BYTES {
        let error = format!("the body is larger than the limit of {SEALED_BYTES} bytes");
        let help = "send less: what is large belongs into an image, or into messages";
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error, help).into_response();
    }
    next.run(Request::from_parts(parts, Body::from(whole.freeze()))).await
}
