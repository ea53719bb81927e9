//! What is kept of a session across restarts: a client that is told `session present` must find its
//! subscriptions, and must be the client that made them.

use std::collections::BTreeMap;

use super::settings::MAX_SESSION_BYTES;

/// The lasting part of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) client_id: String,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub(super) expiry_s: u32,
    /// Granted QoS by filter.
    pub(super) subscriptions: BTreeMap<String, u8>,
}

/// The form on the disk, with its version first.
type Stored = (u8, String, u32, BTreeMap<String, u8>);

const VERSION: u8 = 1;

impl Kept {
    /// The bytes of the mark.
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored: Stored = (VERSION, self.client_id.clone(), self.expiry_s, self.subscriptions.clone());
        let mut bytes = Vec::new();
        ciborium::into_writer(&stored, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Reads a mark; `None` if this version did not write it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, client_id, expiry_s, subscriptions): Stored = ciborium::from_reader(bytes).ok()?;
        (version == VERSION).then_some(Self { client_id, expiry_s, subscriptions })
    }

    /// Whether it fits its place on the disk.
    pub(super) fn fits(&self) -> bool {
        self.encode().len() <= MAX_SESSION_BYTES
    }
}

/// Who a lasting session belongs to, and since when nobody is connected.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    pub(super) client_id: String,
    pub(super) expiry_s: u32,
    /// Milliseconds of the host's clock; `None` while connected.
    pub(super) left_ms: Option<u64>,
}

impl Lasting {
    /// Whether it has outlived its connection for longer than it was to.
    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
        let lifetime_ms = u64::from(self.expiry_s) * 1000;
        self.expiry_s != u32::MAX
            && self.left_ms.is_some_and(|left_ms| now_ms.saturating_sub(left_ms) > lifetime_ms)
    }
}
