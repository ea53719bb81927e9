//! The MQTT listener that the device offers its modules and leaf devices: 3.1.1 and 5 over TCP, and over TLS for leaves.
//!
//! Nothing is acknowledged here on its own account: a publish becomes an [`MqttEvent`] with a ticket, and the
//! client hears of it when the ticket is accepted, which is after the commit. `session` decides
//! what is answered and knows no socket; `entrance` finds out who comes, `connection` moves bytes and keeps time; `listener`
//! binds, and finds the session that a command is for.
//!
//! Modules connect where their network is, leaf devices where the settings say; neither may at the other's place. What
//! the session calls its module may be a leaf: both are sources and destinations of routes.
//!
//! What a client should know:
//! - One session a module or leaf. A second connection takes over from the first.
//! - Topics that no route and no grant names are not its own: MQTT 5 says `Not authorized`, 3.1.1 acknowledges
//!   the publish, as the standard asks, and drops it.
//! - Under 3.1.1 a publish that the device refuses ends the connection, for 3.1.1 has no other answer but a false
//!   acknowledgement.
//! - A shared subscription is one like any other: a client has one session, and nobody to share with.
//! - What waits in a module's queues belongs to its routes, not to its session: a clean start does not lose it.

mod alias;
mod certificate;
mod connection;
pub mod counts;
mod decode;
mod door;
mod encode;
mod entrance;
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
pub mod password;
mod pending;
mod properties;
mod session;
pub mod settings;
mod stream;
mod subscription;
mod ticket;
pub mod tls;
mod window;

pub use counts::{Counted, Counts};
pub use event::MqttEvent;
pub use listener::{BindError, Listener};
pub use settings::{Authenticator, Settings};
pub use tls::Tls;
