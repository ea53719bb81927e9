//! How operators' commands reach a daemon: over its unix socket, or signed over the mesh.

mod answered;
mod client;
mod protocol;
mod server;
mod signed;
mod status;

pub use answered::{Again, Answered, MAX_ANSWERED, Now};
pub use client::{Client, ClientError};
pub use protocol::{
    Answer, Ask, Called, MAX_LINE_BYTES, MessageLine, Neighbour, Reply, Sealed, TwinView, Versions,
};
pub use server::{ControlHandler, bind, serve};
pub use signed::{ReplyError, RequestError, encode_reply, open_ask, open_reply, seal_ask, seal_reply};
pub use status::{CloudStatus, FleetStatus, MeshStatus, MqttStatus, Status, StoreStatus};
