//! The WAN: wire protocol on quinn, the device's side of it, and the service `wayside-cloud`.

pub mod cloud;
pub mod codec;
pub mod device;
pub mod tls;
mod transport;
pub mod wire;
