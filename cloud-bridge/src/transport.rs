//! How QUIC is tuned for uplinks: many idle connections, each small; a cut noticed within seconds.

use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// How often a device says that it is still there when it has nothing else to say.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Silence after which a connection counts as lost. Three keep-alives may get lost before.
const IDLE_MS: u32 = 15_000;

/// What the other side may send unread: bounds memory per connection, and with the round-trip time
/// bounds the rate (1 MiB at 100 ms is 10 MiB/s).
const RECEIVE_BYTES: u32 = 1 << 20;

/// What may be written and not acknowledged yet.
const SEND_BYTES: u64 = 1 << 20;

/// The code with which connections are closed. The reason is in words.
pub(crate) const CLOSED: VarInt = VarInt::from_u32(0);

/// For the device: keeps the connection, and any mapping on the way, alive.
pub(crate) fn device() -> TransportConfig {
    let mut config = common();
    config.keep_alive_interval(Some(KEEP_ALIVE));
    config.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config
}

/// For the cloud: one stream a connection, which the device opens.
pub(crate) fn cloud() -> TransportConfig {
    let mut config = common();
    config.max_concurrent_bidi_streams(VarInt::from_u32(1));
    config
}

fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_BYTES))
        .receive_window(VarInt::from_u32(RECEIVE_BYTES))
        .send_window(SEND_BYTES);
    config
}
