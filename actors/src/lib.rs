//! The decisions: every state machine of the device and of the cloud.
//!
//! Nothing here reads a clock, draws a random number, touches a disk or a network, or waits.
//! A machine gets the time and an event, and answers with a list of effects. The device hosts
//! these types on actix (`host/`), the simulator on a virtual clock (`simulations/`).

pub mod backoff;
pub mod cloud;
pub mod device;
pub mod frame;
pub mod machine;
pub mod message;
pub mod queue;
pub mod report;
pub mod supervision;
#[cfg(test)]
mod testing;
pub mod time;
