//! How much one client may have open. Everything here is a bound on memory.

use wayside_actors::message::MAX_PAYLOAD_BYTES;
use wayside_config::limits::TOPIC_BYTES;

/// Unanswered publishes of QoS 1 and 2 of one client: announced under MQTT 5; under 3.1.1 reading stops.
pub(super) const RECEIVE_MAXIMUM: u16 = 1024;
/// Unanswered publishes of QoS 0, after which reading stops.
pub(super) const SILENT_MAXIMUM: usize = 1024;
/// Unanswered releases and subscriptions, after which reading stops.
pub(super) const REQUEST_MAXIMUM: usize = 1024;
/// Payload bytes of unanswered publishes, after which reading stops.
pub(super) const UNANSWERED_BYTES: usize = 4 * MAX_PAYLOAD_BYTES;
/// QoS 1 publishes to a client that it has not acknowledged; less where the client asks for less.
pub(super) const INFLIGHT: usize = 512;
/// The largest packet from a client: payload, topic, and room for headers and properties.
pub(super) const MAX_PACKET_BYTES: usize = MAX_PAYLOAD_BYTES + TOPIC_BYTES + (24 << 10);
/// The largest packet from a client that has not shown a password, with room for a will.
pub(super) const MAX_CONNECT_BYTES: usize = 72 << 10;
/// Bytes waiting to be written, after which neither reading nor delivering goes on.
pub(super) const OUT_BYTES: usize = 256 << 10;
/// Topic aliases that a client may set, and that are set for one.
pub(super) const TOPIC_ALIASES: u16 = 16;
/// The longest keep-alive of an MQTT 5 client, in seconds: 3.1.1 leaves it to the client.
pub(super) const MAX_KEEP_ALIVE_S: u16 = 3600;
/// A client identifier.
pub(super) const CLIENT_ID_BYTES: usize = 256;
