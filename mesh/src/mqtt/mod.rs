//! The MQTT listener that the device offers its modules: 3.1.1 and 5 over TCP.
//!
//! Nothing is acknowledged here on its own account: a publish becomes an [`MqttEvent`] with a ticket, and the
//! client hears of it when the ticket is accepted, which is after the commit. `session` decides
//! what is answered and knows no socket; `connection` moves bytes and keeps time; `listener`
//! binds, and finds the session that a command is for.
//!
//! What a module should know:
//! - One session a module. A second connection takes over from the first.
//! - Retained messages are not kept, so a publish or a will that asks for it ends the connection
//!   (MQTT 5: reason `Retain not supported`). So does, under 3.1.1, a publish that the device refuses, for
//!   3.1.1 has no other answer but a false acknowledgement.
//! - Of the properties of MQTT 5 publishes the user properties and the content type travel; others do not, so
//!   a publish that has some is refused.
//! - What waits in a module's queues belongs to its routes, not to its session: a clean start does not lose it.

mod connection;
mod decode;
mod door;
mod encode;
pub mod event;
mod fault;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod hub;
mod kept;
mod link;
pub mod listener;
mod outbox;
mod packet;
mod pending;
mod properties;
mod session;
pub mod settings;
mod subscription;
mod ticket;
mod window;

pub use event::MqttEvent;
pub use listener::{BindError, Listener};
pub use settings::{Authenticator, Settings};
