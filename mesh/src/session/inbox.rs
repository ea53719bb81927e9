//! What comes in: from Zenoh's threads into the device's bounded channel, decoded and within limits.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use wayside_config::{identity::DeviceId, limits::SEALED_BYTES};
use zenoh::{
    bytes::ZBytes,
    query::Query,
    sample::{Sample, SampleKind},
};

use super::outbox::Counters;
use crate::{
    event::{ControlRequest, EventSender, MeshEvent},
    keys::{self, Kind},
    wire,
};

#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) device: DeviceId,
    pub(super) events: EventSender,
    pub(super) counters: Arc<Counters>,
}

impl Inbox {
    /// Something was put to this device.
    pub(super) fn arrived(&self, sample: &Sample) {
        let len = sample.payload().len();
        let Some((kind, from)) = keys::parse_inbox(sample.key_expr().as_str()) else {
            return self.malformed("its key", sample.key_expr().as_str(), len);
        };
        let limit = match kind {
            Kind::Batch => wire::BATCH_BYTES,
            Kind::Confirm => wire::CONFIRM_BYTES,
            Kind::Offer => wire::OFFER_BYTES,
        };
        if len > limit {
            return self.malformed("its size", sample.key_expr().as_str(), len);
        }
        let payload = to_bytes(sample.payload());
        let event = match kind {
            Kind::Batch => wire::decode_batch(payload).map(|batch| MeshEvent::Batch { from, batch }),
            Kind::Confirm => {
                wire::decode_confirm(payload).map(|confirm| MeshEvent::Confirm { from, confirm })
            }
            Kind::Offer => wire::decode_offer(payload).map(|desired| MeshEvent::Offer { from, desired }),
        };
        match event {
            Ok(event) => self.pass_on(len, event),
            Err(error) => self.malformed(&error.to_string(), sample.key_expr().as_str(), len),
        }
    }

    /// A device's token appeared or went away.
    pub(super) fn token(&self, sample: &Sample) {
        let Some((device, name)) = keys::parse_alive(sample.key_expr().as_str()) else {
            return self.malformed("its key", sample.key_expr().as_str(), 0);
        };
        if device == self.device {
            return;
        }
        self.events.life(match sample.kind() {
            SampleKind::Put => MeshEvent::Seen { device, name },
            SampleKind::Delete => MeshEvent::Gone { device },
        });
    }

    /// An operator asks.
    pub(super) fn asked(&self, query: Query) {
        let len = query.payload().map_or(0, ZBytes::len);
        if len == 0 || len > SEALED_BYTES {
            return self.malformed("its size", query.key_expr().as_str(), len);
        }
        let sealed = query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default();
        self.pass_on(len, MeshEvent::Control(ControlRequest { sealed, query }));
    }

    fn pass_on(&self, len: usize, event: MeshEvent) {
        let passed = self.events.data(len, event);
        let counter = if passed { &self.counters.received } else { &self.counters.receive_dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn malformed(&self, what: &str, key: &str, len: usize) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(what, key, len, "refused what came from the mesh");
    }
}

fn to_bytes(payload: &ZBytes) -> Bytes {
    match payload.to_bytes() {
        Cow::Borrowed(slice) => Bytes::copy_from_slice(slice),
        Cow::Owned(vec) => vec.into(),
    }
}
