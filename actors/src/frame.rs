//! What a device and the cloud say to each other. The bytes are `cloud-bridge`'s business.
//!
//! ```text
//! device                         cloud
//!   Hello            ->                    key known, or token good?
//!                    <-  Welcome           or Refused, and the connection ends
//!   Report (full)    ->
//!                    <-  Desired           whenever it differs from what the device reported
//!   Report (delta)   ->                    as things change, at most one a second
//!   Batch            ->                    up to a window of unconfirmed messages
//!                    <-  Confirm           cumulative, after the commit
//!                    <-  Ask               an operator's question
//!   Answer           ->                    its own, or sealed for an operator
//!   TwinNames, Twin  ->                    all twins, then those that change
//!                    <-  Twin              an operator's sealed change, until it is taken or refused
//!   TwinRefused      ->                    such a change is not taken, and why
//!   Clock            ->                    what time is it there?
//!                    <-  Clock             the cloud's wall clock
//!                    <-  Refused           what the device said could not be read, and the connection ends
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use wayside_config::workload::ModuleId;

use crate::{
    device::twins::Twin,
    message::{Batch, Confirm},
    report::Report,
};

/// The protocol version spoken here. It is raised with every kind of frame that is added, for who does not know it ends
/// the conversation: a cloud of an older version then says so when the device greets. Clouds are upgraded first, and talk to devices
/// of [`OLDEST_PROTOCOL`] and later.
pub const PROTOCOL: u16 = 4;

/// The oldest protocol version of a device that a cloud talks to: those before have no fleet.
pub const OLDEST_PROTOCOL: u16 = 3;

/// The text of an [`Answer`], in bytes.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why a device is refused, in bytes.
pub const MAX_REASON_BYTES: usize = 4096;

/// From a device to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCloud {
    /// The first frame of a connection.
    Hello(Hello),
    /// What the device says of itself.
    Report(Box<Report>),
    /// Messages for the cloud.
    Batch(Batch),
    /// The answer to an [`Ask`].
    Answer(Answer),
    /// The modules that have twins: others have none any more.
    TwinNames(Vec<ModuleId>),
    /// How a module's twin is now.
    Twin(ModuleId, Box<Twin>),
    /// A change of a twin is not taken, now or later.
    TwinRefused {
        /// SHA-256 of the sealed change.
        sha256: [u8; 32],
        /// For a person, at most [`crate::report::MAX_PROBLEM_BYTES`].
        reason: String,
    },
    /// Asks for the time.
    Clock {
        /// The asker's own clock, whatever it counts from: the answer carries it.
        asked_ms: u64,
    },
}

/// From the cloud to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDevice {
    /// The device is admitted.
    Welcome,
    /// The device is not admitted, or said what the cloud cannot read; `reason` says why and what to do. The connection ends.
    Refused {
        /// For a person.
        reason: String,
    },
    /// What the device should run.
    Desired(Desired),
    /// Messages are stored.
    Confirm(Confirm),
    /// An operator's question.
    Ask(Ask),
    /// A sealed [`wayside_config::document::TwinChange`].
    Twin(bytes::Bytes),
    /// The answer to a [`ToCloud::Clock`].
    Clock {
        /// From the question.
        asked_ms: u64,
        /// The cloud's wall clock.
        cloud_ms: u64,
    },
}

/// Who connects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// The device's name, for people.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// Labels of the device's configuration.
    pub labels: Vec<(String, String)>,
    /// The join token, until the device has been admitted once.
    pub token: Option<String>,
    /// A number of this start of the daemon that no other has; 0 from a daemon of before there was one.
    #[serde(default)]
    pub run: u64,
    /// Its own sealed [`wayside_config::document::Grant`], once it has one. The adapter puts it in.
    #[serde(default)]
    pub grant: Option<bytes::Bytes>,
}

/// Without the token, for logs.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("protocol", &self.protocol)
            .field("name", &self.name)
            .field("version", &self.version)
            .field("labels", &self.labels)
            .field("has_token", &self.token.is_some())
            .field("has_grant", &self.grant.is_some())
            .finish()
    }
}

/// Signed documents that say what a device should run. Bytes as they were signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The chain of the fleet's sealed [`wayside_config::fleet::Root`]s, from the first on; empty where there is nothing new to say.
    pub roots: Vec<bytes::Bytes>,
    /// The sealed [`wayside_config::document::Revocation`] that holds, if there is one.
    pub revocation: Option<bytes::Bytes>,
    /// A sealed [`wayside_config::document::Assignment`].
    pub assignment: bytes::Bytes,
    /// The sealed [`wayside_config::document::Release`]s that it names.
    pub releases: Vec<bytes::Bytes>,
}

impl Desired {
    /// All documents.
    pub fn documents(&self) -> impl Iterator<Item = &bytes::Bytes> {
        let others = self.revocation.iter().chain([&self.assignment]);
        self.roots.iter().chain(others).chain(&self.releases)
    }
}

/// An operator's question to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the asker; the answer carries it.
    pub id: u64,
    /// The question.
    pub question: Question,
}

/// What can be asked of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The last lines that a module wrote.
    Logs {
        /// `workload/module`, or `module` when only one workload has one of that name.
        module: String,
        /// At most this many lines; at most 10,000.
        tail: u32,
        /// Only lines after this wall-clock time in milliseconds; 0 for all.
        since_ms: u64,
    },
    /// An operator's sealed [`wayside_config::document::Request`], as it would come over the mesh. The answer is
    /// a sealed [`wayside_config::document::Reply`], base64: the cloud can neither make nor change either.
    Sealed {
        /// The request's bytes.
        request: bytes::Bytes,
    },
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: u64,
    /// Text, at most [`MAX_ANSWER_BYTES`]; or what went wrong and what to do.
    pub result: Result<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_token_is_in_no_log() {
        let token = Some("s3cret".into());
        let hello = Hello {
            protocol: PROTOCOL,
            name: "ewr".into(),
            version: "1".into(),
            labels: vec![],
            token,
            run: 1,
            grant: None,
        };
        let shown = format!("{:?}", ToCloud::Hello(hello));
        assert!(shown.contains("ewr") && shown.contains("has_token: true"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
