//! How large what comes from outside may be. Every parser checks these first.

/// A Compose file.
pub const COMPOSE_BYTES: usize = 1 << 20;
/// Nesting of a Compose file or of a CBOR document.
pub const DEPTH: usize = 32;
/// Nodes of a Compose file after aliases are followed.
pub const COMPOSE_NODES: usize = 50_000;
/// An image reference, in bytes.
pub const IMAGE_BYTES: usize = 512;
/// A device's settings file.
pub const SETTINGS_BYTES: usize = 64 << 10;
/// A sealed document.
pub const SEALED_BYTES: usize = 1 << 20;
/// A sealed reply of a device to an operator.
pub const REPLY_BYTES: usize = 8 << 20;
/// Keys of one role of a fleet, and signatures of one document.
pub const SIGNERS: usize = 16;
/// A sealed root of a fleet: sixteen keys in four roles, and as many signatures, take less than a third.
pub const ROOT_BYTES: usize = 16 << 10;
/// A sealed grant: sixteen signatures, a name, and labels of a few kilobytes.
pub const GRANT_BYTES: usize = 6 << 10;
/// A sealed rule: a grant under it carries it.
pub const RULE_BYTES: usize = 3 << 10;
/// What shows that a device has a join token.
pub const JOINING_BYTES: usize = 512;
/// Rules that one device applies.
pub const RULES: usize = 100;
/// What a device says to its LAN before it belongs to anybody, without its grant.
pub const HELLO_BYTES: usize = 4 << 10;
/// Roots of one fleet, from the first on: one a month for twenty years.
pub const ROOTS: usize = 256;
/// All roots of a fleet together.
pub const CHAIN_BYTES: usize = 256 << 10;
/// Devices, and documents, that one list of what does not count any more may name.
pub const REVOKED: usize = 10_000;
/// The highest version of a release or an assignment: the last whole number that JSON keeps exact.
pub const VERSION_MAX: u64 = (1 << 53) - 1;
/// How many versions of assignments are one numbering: version `v` belongs to numbering
/// `v / NUMBERING`. Only an operator begins the next one, so that nobody else can use versions up.
pub const NUMBERING: u64 = 1 << 40;
/// Workloads whose highest version a device remembers, those that it runs among them.
pub const REMEMBERED_WORKLOADS: usize = 1000;
/// Processes of one module: half of what the smallest kernels have for all.
pub const PIDS: u32 = 16_384;
/// Milliseconds between a module's stop signal and its kill: an hour.
pub const STOP_GRACE_MS: u64 = 60 * 60 * 1000;
/// Milliseconds between two runs of a health check, at the least.
pub const HEALTH_INTERVAL_MS: u64 = 1000;
/// Modules of one workload.
pub const MODULES: usize = 200;
/// Routes of one workload.
pub const ROUTES: usize = 1000;
/// Leaf devices of one workload.
pub const LEAVES: usize = 200;
/// Topic filters of one kind in a leaf's grant.
pub const GRANTS: usize = 100;
/// Labels of one device.
pub const LABELS: usize = 100;
/// A label, its value, a device's name or a daemon's version, in bytes.
pub const LABEL_BYTES: usize = 255;
/// A join token, in bytes.
pub const TOKEN_BYTES: usize = 128;
/// Workloads of one device.
pub const WORKLOADS: usize = 100;
/// Devices that one site, and one workload on it, may have.
pub const MEMBERS: usize = 1000;
/// How far the clocks of an asker and of a device may be apart, in milliseconds.
pub const REQUEST_AGE_MS: u64 = 5 * 60 * 1000;
/// One sealed entry of a device's audit log.
pub const AUDIT_ENTRY_BYTES: usize = 4 << 10;
/// An MQTT topic, in bytes.
pub const TOPIC_BYTES: usize = 1024;
/// A state file of the daemon.
pub const STATE_FILE_BYTES: usize = 64 << 20;
/// The least a route's buffer may be: it must hold a message of the largest size.
pub const BUFFER_MIN_BYTES: u64 = 2 << 20;
/// The most a route's buffer may be.
pub const BUFFER_MAX_BYTES: u64 = 1 << 40;
/// A condition of a route, in bytes.
pub const CONDITION_BYTES: usize = 1024;
/// Operators, dots, brackets and commas of a condition: what takes a chain of them apart goes as deep.
pub const CONDITION_MARKS: usize = 200;
/// How often a condition may name the body, add, or go through a list: each costs as much as the body is large.
pub const CONDITION_WORK: usize = 16;
/// A message body that conditions may look into, in bytes: a comprehension over it must not hold up the router.
pub const CONDITION_BODY_BYTES: usize = 64 << 10;
/// One side of a twin, or a patch of it, in bytes.
pub const TWIN_BYTES: usize = 64 << 10;
/// Nesting of a twin's properties.
pub const TWIN_DEPTH: usize = 16;
/// The value of a secret, in bytes.
pub const SECRET_BYTES: usize = 64 << 10;
/// A sealed secret: its value, and sixteen signatures.
pub const SECRET_SEALED_BYTES: usize = 72 << 10;
/// Secrets of one device, and of one module.
pub const SECRETS: usize = 100;
/// The highest priority of a route, and of a workload; the lowest is 0.
pub const PRIORITY_MAX: u8 = 9;
/// The longest that a route may wait for a batch, in milliseconds.
pub const BATCH_WAIT_MS: u64 = 60 * 60 * 1000;
/// The most messages that a route may wait for: as many as go in one batch on a wire.
pub const BATCH_MESSAGES: u32 = 1024;
/// Maintenance windows of one workload, or of one device.
pub const WINDOWS: usize = 20;
/// What may be downloaded for the images of one version of a workload, in bytes.
pub const PULL_MAX_BYTES: u64 = 64 << 30;
/// The longest probation of a new version of a workload, in milliseconds.
pub const PROBATION_MS: u64 = 60 * 60 * 1000;
