//! Stored messages: a page of them, or all that come from now on; and how many there are.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use wayside_actors::message::Properties;
use wayside_config::identity::DeviceId;

use super::{
    super::{
        hub::Hub,
        store::{Filter, Page, Stored},
    },
    Shared,
    devices::{find, wrong_query},
    error::{ApiError, blocking},
};

/// The most messages of one answer that is not followed.
const MAX_LIMIT: usize = 10_000;

/// About the most bytes of one answer that is not followed.
const MAX_BYTES: usize = 16 << 20;

/// Messages that are read at a time.
const CHUNK: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    route: Option<String>,
    device: Option<String>,
    /// The number after which to begin; without it, the beginning, or with `follow` the end.
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// A message as a line of JSON.
#[derive(Serialize)]
pub(super) struct Line {
    id: u64,
    device: DeviceId,
    device_name: String,
    route: String,
    source: String,
    topic: String,
    seq: u64,
    accepted_ms: u64,
    stored_ms: u64,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: Properties,
    #[serde(flatten)]
    payload: Payload,
}

#[derive(Serialize)]
enum Payload {
    #[serde(rename = "payload")]
    Text(String),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

impl Line {
    pub(super) fn new(hub: &Hub, stored: Stored) -> Self {
        let Stored { id, device, route, seq, stored_ms, message } = stored;
        let payload = match String::from_utf8(message.payload.to_vec()) {
            Ok(text) => Payload::Text(text),
            Err(error) => Payload::Base64(BASE64_STANDARD.encode(error.as_bytes())),
        };
        Self {
            id,
            device,
            device_name: hub.view.name(&device),
            route,
            source: message.source.to_string(),
            topic: message.topic.to_string(),
            seq,
            accepted_ms: message.accepted_ms,
            stored_ms,
            properties: message.properties,
            payload,
        }
    }
}

pub(super) async fn list(
    State(hub): Shared,
    query: Result<Query<MessagesQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| wrong_query(&error))?;
    let device = query.device.as_deref().map(|name| find(&hub, name)).transpose()?;
    let filter = Filter { device, route: query.route };
    let body = if query.follow {
        let after = query.after.unwrap_or_else(|| hub.store.status().borrow().last_id);
        follow(hub, filter, after, query.limit.unwrap_or(usize::MAX))
    } else {
        let limit = query.limit.unwrap_or(1000).min(MAX_LIMIT);
        Body::from(page(&hub, filter, query.after.unwrap_or(0), limit).await?)
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// At most `limit` messages that are stored now.
async fn page(hub: &Arc<Hub>, filter: Filter, mut after: u64, limit: usize) -> Result<Vec<u8>, ApiError> {
    let (mut lines, mut left) = (Vec::new(), limit);
    while left > 0 && lines.len() < MAX_BYTES {
        let page = read(hub, after, &filter, left.min(CHUNK)).await?;
        left -= page.messages.len();
        after = page.after;
        let end = page.end;
        write_lines(hub, page, &mut lines);
        if end {
            break;
        }
    }
    Ok(lines)
}

/// All messages after `after`, and those that come, until the client goes or `limit` is reached.
fn follow(hub: Arc<Hub>, filter: Filter, after: u64, limit: usize) -> Body {
    let status = hub.store.status();
    let state = (hub, filter, after, limit, status);
    let chunks = stream::try_unfold(state, async |(hub, filter, mut after, mut left, mut status)| {
        loop {
            if left == 0 {
                return Ok(None);
            }
            let page = read(&hub, after, &filter, left.min(CHUNK)).await.map_err(|_| ended())?;
            after = page.after;
            if !page.messages.is_empty() {
                left -= page.messages.len();
                let mut lines = Vec::new();
                write_lines(&hub, page, &mut lines);
                return Ok::<_, io::Error>(Some((lines, (hub, filter, after, left, status))));
            }
            if page.end {
                status.wait_for(|status| status.last_id > after).await.map_err(|_| ended())?;
            }
        }
    });
    Body::from_stream(chunks)
}

async fn read(hub: &Arc<Hub>, after: u64, filter: &Filter, limit: usize) -> Result<Page, ApiError> {
    let (store, filter) = (hub.store.clone(), filter.clone());
    blocking(move || store.read(after, &filter, limit)).await
}

fn write_lines(hub: &Hub, page: Page, lines: &mut Vec<u8>) {
    for stored in page.messages {
        serde_json::to_writer(&mut *lines, &Line::new(hub, stored))
            .expect("lines have only what JSON can hold");
        lines.push(b'\n');
    }
}

#[derive(Serialize)]
pub(super) struct CountLine {
    device: DeviceId,
    device_name: String,
    route: String,
    stored: u64,
    last_seq: u64,
}

/// How much of each route of each device was ever stored.
pub(super) async fn counts(State(hub): Shared) -> Result<Json<Vec<CountLine>>, ApiError> {
    let store = hub.store.clone();
    let counts = blocking(move || store.counts()).await?;
    let line = |count: super::super::store::Count| CountLine {
        device: count.device,
        device_name: hub.view.name(&count.device),
        route: count.route,
        stored: count.stored,
        last_seq: count.last_seq,
    };
    Ok(Json(counts.into_iter().map(line).collect()))
}

fn ended() -> io::Error {
    io::Error::other("the store can no longer be read")
}
