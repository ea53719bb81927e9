//! What the page follows: once a second, what has changed.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    super::{
        clock::wall_ms,
        hub::Hub,
        store::{Filter, Status},
        view::Rate,
    },
    Shared,
    devices::Device,
    error::{ApiError, blocking},
    messages::Line,
};

/// Pages that may be open at a time.
static PAGES: std::sync::LazyLock<Arc<Semaphore>> = std::sync::LazyLock::new(|| Arc::new(Semaphore::new(64)));

/// The newest messages that go with an event.
const TAIL: u64 = 30;

/// The page takes a longer silence for a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What changed since the event before; everything in the first one.
#[derive(Serialize)]
struct Update {
    /// Whether this replaces all that was sent before.
    full: bool,
    now_ms: u64,
    /// Counts seconds; between two events may be more than one, in which no messages came.
    second: u64,
    devices: Vec<Device>,
    /// By route: messages ever stored, and messages in each of the last seconds, the newest last.
    routes: BTreeMap<String, Route>,
    messages: Vec<Line>,
    store: StoreState,
}

#[derive(Serialize)]
struct Route {
    stored: u64,
    seconds: Vec<u64>,
}

#[derive(Serialize)]
struct StoreState {
    last_id: u64,
    bytes: u64,
    keep_bytes: u64,
    dropped: u64,
    problems: Vec<String>,
}

/// How far one page has been told.
struct Follower {
    hub: Arc<Hub>,
    ticks: watch::Receiver<u64>,
    version: u64,
    last_id: u64,
    first: bool,
    /// Whether messages came in the second before; the page has to see that none come now.
    moving: bool,
    _page: OwnedSemaphorePermit,
}

pub(super) async fn stream(
    State(hub): Shared,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let page = Arc::clone(&PAGES).try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open", "close one of them")
    })?;
    let ticks = hub.view.ticks();
    let follower = Follower { hub, ticks, version: 0, last_id: 0, first: true, moving: false, _page: page };
    let events = stream::unfold(follower, async |mut follower| {
        let update = follower.next().await?;
        let event = Event::default().event("update").json_data(update).ok()?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Follower {
    /// Waits for the next change. `None` when the service ends.
    async fn next(&mut self) -> Option<Update> {
        loop {
            let full = std::mem::take(&mut self.first);
            if !full {
                self.ticks.changed().await.ok()?;
            }
            let second = *self.ticks.borrow_and_update();
            let status = self.hub.store.status().borrow().clone();
            let (devices, version) = self.hub.view.changed_since(self.version);
            let moving = status.last_id != self.last_id;
            let changed = full || !devices.is_empty() || moving || self.moving;
            self.moving = moving;
            if !changed {
                continue;
            }
            let messages = self.messages(status.last_id).await?;
            (self.version, self.last_id) = (version, status.last_id);
            let devices = devices.iter().map(|(key, record)| Device::new(*key, record)).collect();
            return Some(Update {
                full,
                now_ms: wall_ms(),
                second,
                devices,
                routes: self
                    .hub
                    .view
                    .rates()
                    .into_iter()
                    .map(|(name, rate)| (name, route(rate, full)))
                    .collect(),
                messages,
                store: store_state(status, self.hub.state.fleet_problem()),
            });
        }
    }

    /// The newest messages that this page has not seen.
    async fn messages(&self, last_id: u64) -> Option<Vec<Line>> {
        let after = self.last_id.max(last_id.saturating_sub(TAIL));
        let store = self.hub.store.clone();
        let page = blocking(move || store.read(after, &Filter::default(), TAIL as usize)).await.ok()?;
        Some(page.messages.into_iter().map(|stored| Line::new(&self.hub, stored)).collect())
    }
}

fn route(rate: Rate, full: bool) -> Route {
    let shown = if full { rate.seconds.len() } else { 1 };
    let seconds = rate.seconds.iter().skip(rate.seconds.len() - shown.min(rate.seconds.len()));
    Route { stored: rate.stored, seconds: seconds.copied().collect() }
}

fn store_state(status: Status, problem: Option<&str>) -> StoreState {
    StoreState {
        last_id: status.last_id,
        bytes: status.bytes,
        keep_bytes: status.keep_bytes,
        dropped: status.dropped,
        problems: status.problems.into_iter().chain(problem.map(str::to_owned)).collect(),
    }
}
