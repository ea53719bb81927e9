//! One device's connection: greets it, stores its messages once, passes on its reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

use crate::{
    frame::{Answer, Ask, Desired, Hello, ToCloud, ToDevice},
    message::Message,
    report::Report,
};

/// How far one route of one device is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The device store's epoch.
    pub epoch: u64,
    /// The highest number stored without a gap.
    pub upto: u64,
}

/// What can happen to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The device's key is proven by the handshake; these are its windows from the store.
    Opened {
        /// By route.
        windows: BTreeMap<String, Window>,
    },
    /// A frame came. `wall_ms` is the cloud's clock.
    Frame {
        /// What.
        frame: Box<ToCloud>,
        /// Milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// The fleet's word on a `Greet`.
    Admitted(Result<(), String>),
    /// What the device should run, when that changed.
    Desired(Desired),
    /// An operator's question.
    Ask(Ask),
    /// The connection ended.
    Closed,
    /// The time asked for has come.
    Woken,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Ask the fleet whether the device may in.
    Greet(DeviceId, Hello),
    /// Send a frame.
    Send(ToDevice),
    /// Close the connection.
    Close {
        /// For the log and the peer.
        reason: String,
    },
    /// Store messages and the window, together: a persist step.
    Store {
        /// Whose.
        device: DeviceId,
        /// `workload/route`.
        route: String,
        /// New messages only, each with its sequence number.
        messages: Vec<(u64, Message)>,
        /// How far the route is stored then.
        window: Window,
        /// When they came.
        wall_ms: u64,
    },
    /// The device reported.
    Reported(DeviceId, Report, u64),
    /// The device answered.
    Answered(DeviceId, Answer),
    /// The session is over.
    Gone(DeviceId),
}
