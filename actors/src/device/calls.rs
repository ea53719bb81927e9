//! Calls of modules' methods: who waits for an answer, and until when.
//!
//! A call is stored nowhere. A module that is not there to take it is said to be so at once, and every call is
//! settled exactly once: with the module's answer, or with why there is none. What an operator asks of the device
//! itself is answered by its adapters, except the restart of a module, which is a call that waits until
//! the module runs again.

mod machine;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::workload::ModuleId;

pub use self::machine::Calls;
use crate::report::ModuleStatus;

/// Calls under way on one device; more are refused.
pub const MAX_CALLS: usize = 256;
/// Calls under way of one module; more are refused.
pub const MAX_CALLS_OF_MODULE: usize = 16;
/// The body of a call or of its answer, in bytes.
pub const MAX_BODY_BYTES: usize = 128 << 10;
/// The longest that a call may wait for its answer, in milliseconds.
pub const MAX_DEADLINE_MS: u64 = 60_000;
/// The name of a method, in bytes.
pub const MAX_METHOD_BYTES: usize = 64;

/// Whether this may be the name of a method: 1 to [`MAX_METHOD_BYTES`] of `A-Z a-z 0-9 - _ .`, so that it is one
/// level of a topic.
#[must_use]
pub fn is_method(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_METHOD_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// What can happen to calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// How a module is, when that changed.
    Module(ModuleId, ModuleStatus),
    /// A module is gone for good.
    ModuleGone(ModuleId),
    /// An operator calls a method of a module. Answered by `Settled`.
    Called {
        /// A number that no other call has, those of earlier daemons included.
        call: u64,
        /// Whose method.
        module: ModuleId,
        /// The method's name.
        method: String,
        /// What is said with it.
        body: Bytes,
        /// How long an answer may take; cut to [`MAX_DEADLINE_MS`].
        deadline_ms: u64,
    },
    /// An operator wants a module to be restarted. Answered by `Settled` when it runs again.
    Restart {
        /// As of `Called`.
        call: u64,
        /// Which.
        module: ModuleId,
        /// How long it may take; cut to [`MAX_DEADLINE_MS`].
        deadline_ms: u64,
    },
    /// The module's MQTT session could not hand the call over, or ended before an answer came.
    Undelivered {
        /// Which.
        call: u64,
        /// Why.
        why: Undelivered,
    },
    /// A module answered a call. It may be late, or not its own.
    Answered {
        /// Which.
        call: u64,
        /// Who.
        module: ModuleId,
        /// Its answer, or its refusal.
        answer: Result<Bytes, Bytes>,
    },
    /// The MQTT listener ended, and all sessions with it.
    ListenerGone,
    /// The time asked for has come.
    Woken,
}

/// Why a module's session does not bring an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undelivered {
    /// No client is connected.
    NotConnected,
    /// Its client subscribes to no calls, or not to this method.
    NotSubscribed,
    /// The call is larger than its client takes.
    TooLarge,
    /// Its client does not read what waits for it already.
    Full,
    /// The connection ended before the client answered.
    Ended,
}

/// What calls want done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// See [`crate::device::io::Mqtt::Call`].
    Deliver {
        /// Which.
        call: u64,
        /// To whom.
        module: ModuleId,
        /// The method's name.
        method: String,
        /// What is said with it.
        body: Bytes,
    },
    /// See [`crate::device::io::Mqtt::Withdraw`].
    Withdraw {
        /// Which.
        call: u64,
        /// Whose.
        module: ModuleId,
    },
    /// The module should be started again.
    Restart(ModuleId),
    /// What came of a call, for whoever made it.
    Settled {
        /// Which.
        call: u64,
        /// Its answer.
        outcome: Outcome,
    },
}

/// What came of a call.
pub type Outcome = Result<Bytes, Failed>;

/// A call without a good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// For programs.
    pub why: Why,
    /// For a person, with what to do; of a refusal what the module said.
    pub reason: Vec<u8>,
}

/// Why a call has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The device runs no such module.
    Absent,
    /// The module is there, and its program is not connected over MQTT.
    NotConnected,
    /// Its program takes no calls, or not of this method.
    NoMethod,
    /// Its connection ended before it answered: it may have done what was asked, or not.
    Ended,
    /// No answer came in time: the module may have done what was asked, or not.
    Deadline,
    /// The module answered that it does not do that.
    Refused,
    /// Too many calls are under way.
    Busy,
    /// The call or its answer is too large.
    TooLarge,
    /// There is no such method, or it cannot be called so.
    Malformed,
}
