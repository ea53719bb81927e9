//! The LAN: Zenoh session, key space, discovery, durable queues on sled, the MQTT listener.
//!
//! Everything here is an adapter: it translates between the outside and the events and effects of
//! the machines in `actors/`, and decides nothing.

pub mod circle;
pub mod client;
mod cursor;
pub mod event;
pub mod keys;
pub mod lobby;
pub mod lost;
pub mod mqtt;
mod packed;
pub mod pair;
pub mod session;
pub mod store;
pub mod wire;
