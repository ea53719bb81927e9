//! How large what comes from outside may be. Every parser checks these first.

/// A Compose file.
pub const COMPOSE_BYTES: usize = 1 << 20;
/// Nesting of a Compose file or of a CBOR document.
pub const DEPTH: usize = 32;
/// Nodes of a Compose file after aliases are followed.
pub const COMPOSE_NODES: usize = 50_000;
/// A device's settings file.
pub const SETTINGS_BYTES: usize = 64 << 10;
/// A sealed document.
pub const SEALED_BYTES: usize = 1 << 20;
/// Modules of one workload.
pub const MODULES: usize = 200;
/// Routes of one workload.
pub const ROUTES: usize = 1000;
/// Workloads of one device.
pub const WORKLOADS: usize = 100;
/// Devices that one workload's site may have.
pub const MEMBERS: usize = 1000;
/// How far the clocks of an asker and of a device may be apart, in milliseconds.
pub const REQUEST_AGE_MS: u64 = 5 * 60 * 1000;
/// An MQTT topic, in bytes.
pub const TOPIC_BYTES: usize = 1024;
/// A state file of the daemon.
pub const STATE_FILE_BYTES: usize = 64 << 20;
/// The least a route's buffer may be: it must hold a message of the largest size.
pub const BUFFER_MIN_BYTES: u64 = 2 << 20;
/// The most a route's buffer may be.
pub const BUFFER_MAX_BYTES: u64 = 1 << 40;
/// A condition of a route, in bytes.
pub const CONDITION_BYTES: usize = 4096;
/// A message body that conditions may look into, in bytes: a comprehension over it must not hold up the router.
pub const CONDITION_BODY_BYTES: usize = 64 << 10;
/// The highest priority of a route; the lowest is 0.
pub const PRIORITY_MAX: u8 = 9;
/// The longest that a route may wait for a batch, in milliseconds.
pub const BATCH_WAIT_MS: u64 = 60 * 60 * 1000;
/// The most messages that a route may wait for: as many as go in one batch on a wire.
pub const BATCH_MESSAGES: u32 = 1024;
