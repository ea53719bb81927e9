//! The device's side of the conversation with the cloud.

mod machine;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::machine::{AGAIN_MS, CLOCK_MS, HELLO_MS, MAX_ANSWERS, RECONNECT, STEADY_MS, UNFIT_MS, Uplink};
use crate::{
    frame::{Ask, Desired, ToCloud, ToDevice},
    message::Confirm,
    report::Report,
};

/// What can happen to the uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// There is a cloud to talk to: begin.
    Start,
    /// The connection stands and the cloud's key is the expected one.
    Connected,
    /// The connection could not be made, or ended.
    Lost {
        /// In words.
        reason: String,
    },
    /// A frame came.
    Frame(ToDevice),
    /// Something came that is no frame of this version.
    Unreadable {
        /// In words.
        reason: String,
    },
    /// The device's report changed.
    Report(Box<Report>),
    /// The answer to a question.
    Answer(crate::frame::Answer),
    /// There was no room for a report.
    ReportUntold,
    /// There was no room for this answer.
    AnswerUntold(crate::frame::Answer),
    /// A delivery asks whether the cloud can be reached: answered by `Up` or `Down`.
    Asked,
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The daemon is draining: say what is left to say and close.
    Stop,
    /// The time asked for has come.
    Woken,
}

/// What the uplink wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// See [`crate::device::io::Uplink::Connect`].
    Connect,
    /// See [`crate::device::io::Uplink::Close`].
    Close,
    /// See [`crate::device::io::Uplink::Send`].
    Send(ToCloud),
    /// The cloud can be reached: deliveries to it start.
    Up,
    /// A connection begins with a full report.
    FullWanted,
    /// The cloud cannot be reached.
    Down,
    /// Desired state came; the adapter checks signatures and tells the reconciler.
    Desired(Desired),
    /// Messages are stored in the cloud.
    Confirm(Confirm),
    /// An operator's question; the adapter answers it.
    Ask(Ask),
    /// What the cloud's clock is; the adapter holds the device's against it.
    Clock {
        /// The cloud's wall clock when it answered.
        cloud_ms: u64,
        /// Milliseconds from the question to the answer.
        round_trip_ms: u64,
    },
    /// An operator's change of a twin; the adapter checks its signature and tells the twins.
    Twin(Bytes),
    /// The cloud refuses this device; shown as a problem of the device. Empty clears it.
    Problem(String),
}
