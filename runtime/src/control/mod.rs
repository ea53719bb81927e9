//! How operators' commands reach a daemon: over its unix socket, or signed over the mesh.

mod client;
mod protocol;
mod server;
mod signed;

pub use client::{Client, ClientError};
pub use protocol::{
    Answer, Ask, CloudStatus, MAX_LINE_BYTES, MeshStatus, MessageLine, Neighbour, Reply, Sealed, Status,
    StoreStatus, Versions,
};
pub use server::{ControlHandler, bind, serve};
pub use signed::{RequestError, encode_reply, open_ask, seal_ask};
