//! How operators' commands reach a daemon: over its unix socket, or signed over the mesh.

mod answered;
mod client;
mod present;
mod protocol;
mod server;
mod signed;
mod status;
mod twin;

pub use answered::{Again, Answered, MAX_ANSWERED, Now};
pub use client::{Client, ClientError};
pub use present::{InLobby, Neighbour, Present};
pub use protocol::{
    Answer, Ask, Away, Called, MAX_LINE_BYTES, MessageLine, Reply, Sealed, SecretLine, Versions,
};
pub use server::{ControlHandler, bind, serve};
pub use signed::{
    ReplyError, RequestError, encode_reply, open_ask, open_handed, open_reply, seal_ask, seal_handed,
    seal_reply,
};
pub use status::{CloudStatus, FleetStatus, LockStatus, MeshStatus, MqttStatus, Status, StoreStatus};
pub use twin::TwinView;
