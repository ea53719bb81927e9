//! What people write and what is signed.
//!
//! Device settings, workloads (Compose files with an `x-wayside` block), fleet documents and the
//! envelopes around them. Parse, validate, sign, verify: no I/O, no clock.

pub mod audit;
pub mod blob;
pub mod cbor;
pub mod compose;
pub mod condition;
mod cose;
pub mod cosign;
pub mod diagnostic;
pub mod document;
pub mod envelope;
pub mod fleet;
pub mod hash;
pub mod hello;
pub mod identity;
pub mod join;
pub mod leaf;
pub mod limits;
pub mod patch;
pub mod privilege;
pub mod quorum;
pub mod route;
pub mod rule;
pub mod secret;
pub mod settings;
pub mod signer;
pub mod statefile;
pub mod template;
pub mod text;
pub mod topic;
pub mod units;
pub mod window;
pub mod workload;
