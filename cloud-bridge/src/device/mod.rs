//! The device's side of the uplink.

mod client;
mod connection;
mod dial;

pub use client::{CloudAddress, Event, QUEUE, Stopped, UplinkClient};
