//! How operators' commands reach a daemon: over its unix socket, or signed over the mesh.

mod answered;
mod client;
mod protocol;
mod server;
mod signed;

pub use answered::{Again, Answered, MAX_ANSWERED, Now};
pub use client::{Client, ClientError};
pub use protocol::{
    Answer, Ask, Called, CloudStatus, MAX_LINE_BYTES, MeshStatus, MessageLine, MqttStatus, Neighbour, Reply,
    Sealed, Status, StoreStatus, TwinView, Versions,
};
pub use server::{ControlHandler, bind, serve};
pub use signed::{ReplyError, RequestError, encode_reply, open_ask, open_reply, seal_ask, seal_reply};
