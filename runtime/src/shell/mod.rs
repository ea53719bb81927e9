//! What surrounds the machines: finds each other's addresses, keeps what must be kept, reaches the
//! adapters. Decides nothing.

mod actor;
mod adapters;
mod calls;
mod device;
mod keep;
mod load;
mod mqtt;
mod start;
#[cfg(test)]
mod tests;
mod view;

pub use adapters::{Adapters, SealedRequests};
pub(crate) use adapters::{DESIRED_ON_DISK, ROOM_OF_OTHERS};
pub use calls::{CallPort, Port, TwinPort};
pub use device::Device;
pub use mqtt::MqttPort;
pub use view::{Held, Tapped, View};
