//! The HTTP API and the page.
//!
//! Everything under `/api/` needs the header `Authorization: Bearer TOKEN`. Errors are JSON,
//! `{"error": what happened, "help": what to do}`.

mod auth;
mod body;
mod devices;
mod drift;
mod error;
mod events;
mod fleet;
mod listener;
mod messages;
mod page;
mod requests;
mod twins;
mod workloads;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    middleware,
    routing::{delete, get, post},
};
use tokio::{net::TcpListener, sync::oneshot};

use self::error::ApiError;
use super::hub::Hub;

type Shared = State<Arc<Hub>>;

/// Serves until `stop` is dropped; open streams are ended then.
pub(super) async fn serve(listener: TcpListener, hub: Arc<Hub>, stop: oneshot::Receiver<()>) {
    let stop = async move {
        // Dropping the sender is the signal.
        let _ = stop.await;
    };
    let served =
        axum::serve(listener::Bounded::new(listener), router(hub)).with_graceful_shutdown(stop).await;
    if let Err(error) = served {
        tracing::error!(%error, "the API has ended; restart the service");
    }
}

fn router(hub: Arc<Hub>) -> Router {
    let api = Router::new()
        .route("/devices", get(devices::list))
        .route("/devices/{device}", get(devices::one))
        .route("/devices/{device}/logs", get(devices::logs))
        .route("/devices/{device}/twins", get(twins::list))
        .route("/devices/{device}/twins/{workload}/{module}", get(twins::one).post(twins::set))
        .route("/devices/{device}/requests", post(requests::relay))
        .route("/drift", get(drift::list))
        .route("/fleet", get(fleet::show).put(fleet::introduce))
        .route("/workloads", get(workloads::list).post(workloads::apply))
        .route("/workloads/{name}", delete(workloads::remove))
        .route("/messages", get(messages::list))
        .route("/counts", get(messages::counts))
        .route("/events", get(events::stream))
        .fallback(async || ApiError::not_found("there is nothing at this address", "see docs/api.md"))
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(middleware::from_fn(body::gather))
        .layer(middleware::from_fn_with_state(Arc::clone(&hub), auth::check));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(page::health))
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .fallback(async || ApiError::not_found("there is nothing at this address", "the page is at /"))
        .with_state(hub)
}
