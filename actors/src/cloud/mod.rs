//! The cloud's actors: one session a connected device, and the fleet.
//!
//! ```text
//! cloud -> fleet
//!       -> one session per connected device
//! ```

pub mod fleet;
pub mod session;
pub mod wiring;
