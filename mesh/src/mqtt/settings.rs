//! Who may connect, and how much of everything a client may take.

use std::{sync::Arc, time::Duration};

use wayside_config::{identity::DeviceId, workload::ModuleId};

use super::counts::Counts;
use crate::lost::Lost;

/// Knows the modules' passwords.
pub trait Authenticator: Send + Sync {
    /// The passwords that the module may use now. The listener compares, in constant time.
    fn passwords(&self, module: &ModuleId) -> Vec<Vec<u8>>;
}

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections of modules, and as many of leaf devices.
    pub max_connections: usize,
    /// Connections of one address that have not yet shown a password.
    pub max_strangers: usize,
    /// From the connection to its CONNECT.
    pub connect_timeout: Duration,
    /// A client that takes nothing of what is sent for so long is disconnected.
    pub write_timeout: Duration,
    /// How long closing waits for outstanding acknowledgements.
    pub drain_timeout: Duration,
    /// Depth of the event channel. When it is full, reading stops.
    pub events: usize,
    /// This device: what a client published here is its own.
    pub device: Option<DeviceId>,
    /// Where misdeeds are counted.
    pub counts: Arc<Counts>,
    /// Counts the messages of best-effort routes that do not reach their module.
    pub lost: Lost,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_strangers: 32,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            events: 1024,
            device: None,
            counts: Arc::default(),
            lost: Lost::default(),
        }
    }
}

/// The most bytes a kept session takes: a mark's value.
pub const MAX_SESSION_BYTES: usize = 4096;
