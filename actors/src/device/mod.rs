//! The device's actors, and how they are wired.
//!
//! ```text
//! device -> reconciler -> one module machine per module
//!        -> router     -> one delivery machine per queue
//!        -> membership, uplink, health
//! ```

pub mod delivery;
pub mod health;
pub mod io;
pub mod membership;
pub mod module;
pub mod reconciler;
pub mod router;
pub mod spec_hash;
pub mod uplink;
pub mod wiring;
