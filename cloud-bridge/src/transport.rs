//! How QUIC is tuned for uplinks: many idle connections, each small; a cut noticed within seconds.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use wayside_config::hash::sha256;

/// How often a device says that it is still there when it has nothing else to say.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Silence after which a connection counts as lost. It is counted from the first packet that nobody
/// answers, which may be a keep-alive: a cut is noticed after 12 to 16 s.
const IDLE_MS: u32 = 12_000;

/// What the other side may send unread: bounds memory per connection, and with the round-trip time
/// bounds the rate (1 MiB at 100 ms is 10 MiB/s).
pub(crate) const RECEIVE: VarInt = VarInt::from_u32(1 << 20);

/// The same for who is not admitted yet: enough for a `Hello`.
const RECEIVE_FIRST: VarInt = VarInt::from_u32(64 << 10);

/// What may be written and not acknowledged yet.
const SEND_BYTES: u64 = 1 << 20;

/// The code with which connections are closed. The reason is in words.
pub(crate) const CLOSED: VarInt = VarInt::from_u32(0);

/// Why a device closes a connection, when all is well.
pub(crate) const CLOSED_BY_DEVICE: &[u8] = b"closed by the device";

/// For the device: keeps the connection, and any mapping on the way, alive.
pub(crate) fn device() -> TransportConfig {
    let mut config = common();
    config.keep_alive_interval(Some(KEEP_ALIVE));
    config.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config
}

/// For the cloud: one stream a connection, which the device opens. Who sets [`RECEIVE`] is admitted.
pub(crate) fn cloud() -> TransportConfig {
    let mut config = common();
    config.max_concurrent_bidi_streams(VarInt::from_u32(1));
    config.receive_window(RECEIVE_FIRST);
    config
}

/// For the cloud's endpoint. What it derives from the cloud's key outlives a restart, so that a cloud
/// that was killed can tell devices at once that it knows nothing of their connections.
pub(crate) fn endpoint(key: &SigningKey) -> EndpointConfig {
    let derived = sha256(&[b"wayside/v1/quic-reset".as_slice(), key.as_bytes()].concat());
    let (reset, ids) = (sha256(&[&derived[..], b"reset"].concat()), sha256(&[&derived[..], b"ids"].concat()));
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset)));
    let ids = ids.iter().take(8).fold(0, |ids, byte| (ids << 8) | u64::from(*byte));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(RECEIVE)
        .receive_window(RECEIVE)
        .send_window(SEND_BYTES);
    config
}
