//! What is kept of a session across restarts: a client that is told `session present` must find its
//! subscriptions, and must be the client that made them.

use std::collections::BTreeMap;

use super::{
    settings::MAX_SESSION_BYTES,
    subscription::{Subscription, Subscriptions},
};

/// The lasting part of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) client_id: String,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub(super) expiry_s: u32,
    pub(super) subscriptions: Subscriptions,
}

/// The form on the disk, with its version first. Of a subscription: the options as MQTT 5 writes them, and the
/// identifier, 0 for none.
type Stored = (u8, String, u32, BTreeMap<String, (u8, u32)>);

/// The form before, with the QoS alone.
type StoredBefore = (u8, String, u32, BTreeMap<String, u8>);

const VERSION: u8 = 2;
const VERSION_BEFORE: u8 = 1;

const NO_LOCAL: u8 = 1 << 2;
const AS_PUBLISHED: u8 = 1 << 3;

impl Kept {
    /// The bytes of the mark.
    pub(super) fn encode(&self) -> Vec<u8> {
        let options = |subscription: &Subscription| {
            let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
            let Subscription { qos, no_local, as_published, identifier } = *subscription;
            let options = qos | flag(no_local, NO_LOCAL) | flag(as_published, AS_PUBLISHED);
            (options, identifier.unwrap_or_default())
        };
        let subscriptions = self.subscriptions.by_filter().iter();
        let subscriptions = subscriptions.map(|(filter, value)| (filter.clone(), options(value))).collect();
        let stored: Stored = (VERSION, self.client_id.clone(), self.expiry_s, subscriptions);
        let mut bytes = Vec::new();
        ciborium::into_writer(&stored, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Reads a mark; `None` if neither this version nor the one before wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok((version, client_id, expiry_s, subscriptions)) = ciborium::from_reader::<Stored, _>(bytes)
        else {
            return Self::decode_before(bytes);
        };
        let subscription = |(options, identifier): (u8, u32)| Subscription {
            qos: (options & 0b11).min(2),
            no_local: options & NO_LOCAL != 0,
            as_published: options & AS_PUBLISHED != 0,
            identifier: (identifier > 0).then_some(identifier),
        };
        let subscriptions = subscriptions.into_iter().map(|(filter, value)| (filter, subscription(value)));
        (version == VERSION).then(|| Self { client_id, expiry_s, subscriptions: subscriptions.collect() })
    }

    fn decode_before(bytes: &[u8]) -> Option<Self> {
        let (version, client_id, expiry_s, qos): StoredBefore = ciborium::from_reader(bytes).ok()?;
        let subscription = |qos: u8| Subscription { qos: qos.min(2), ..Subscription::default() };
        let subscriptions = qos.into_iter().map(|(filter, qos)| (filter, subscription(qos)));
        (version == VERSION_BEFORE).then(|| Self {
            client_id,
            expiry_s,
            subscriptions: subscriptions.collect(),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_again_also_one_of_the_version_before() {
        let all = Subscription { qos: 2, no_local: true, as_published: true, identifier: Some(268_435_455) };
        let subscriptions = [("a".to_owned(), all), ("b/#".to_owned(), Subscription::default())];
        let kept = Kept {
            client_id: "c".to_owned(),
            expiry_s: 5,
            subscriptions: subscriptions.into_iter().collect(),
        };
        assert_eq!(Kept::decode(&kept.encode()), Some(kept));
        let before: StoredBefore = (1, "c".to_owned(), 5, BTreeMap::from([("a".to_owned(), 1)]));
        let mut bytes = Vec::new();
        ciborium::into_writer(&before, &mut bytes).unwrap();
        let subscription = Subscription { qos: 1, ..Subscription::default() };
        let read = Kept::decode(&bytes).unwrap();
        assert_eq!(read.subscriptions, [("a".to_owned(), subscription)].into_iter().collect());
        assert_eq!(Kept::decode(b"\x84\x03\x61c\x05\xa0"), None);
    }
}
