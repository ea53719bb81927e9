//! The cloud's actors: one session a connected device, and the fleet.

pub mod fleet;
pub mod session;
pub mod wiring;
