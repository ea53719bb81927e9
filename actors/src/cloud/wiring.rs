//! Who hears what in the cloud: where effects of one machine become events of another, or I/O.
//!
//! The service and the simulator both go through here, so what they host is wired alike.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{Assignment, Release},
    identity::DeviceId,
    workload::ModuleId,
};

use crate::{
    cloud::{
        fleet::{self, DeviceRecord, TwinRecord},
        session::{self, Window},
    },
    frame::{Answer, Hello, ToDevice},
    message::Message,
};

/// An actor of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// See [`mod@fleet`].
    Fleet,
    /// See [`mod@session`]. One a device.
    Session(DeviceId),
}

/// An event and the actor that it is for. An event for a device without a session is dropped,
/// except that a question is answered by the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// For the fleet.
    Fleet(fleet::Event),
    /// For a device's session.
    Session(DeviceId, session::Event),
}

/// What one effect leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Out {
    /// Another actor hears of it.
    Tell(Event),
    /// Something is done outside.
    Io(Io),
    /// The actor is no longer needed.
    End(Actor),
}

/// What the cloud's machines want done outside: the whole list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Io {
    /// Check the token of a `Hello`, if it has one, in constant time; answered to the fleet by
    /// [`fleet::Event::Greeted`].
    Greet {
        /// Who.
        device: DeviceId,
        /// With what words.
        hello: Hello,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// Send a frame on the device's connection, if any.
    Send(DeviceId, ToDevice),
    /// Close the device's connection once what was sent is on its way; answered to the session by
    /// [`session::Event::Closed`].
    Close {
        /// Whose.
        device: DeviceId,
        /// For the log and the peer.
        reason: String,
    },
    /// Store messages and the window, together: always a persist step.
    Store {
        /// Whose.
        device: DeviceId,
        /// `workload/route`.
        route: String,
        /// New messages, each with its sequence number.
        messages: Vec<(u64, Message)>,
        /// How far the route is stored then.
        window: Window,
        /// When they came.
        wall_ms: u64,
    },
    /// For the operator who asked.
    Answered(DeviceId, Answer),
    /// Keep what is known of a device: always a persist step.
    SaveDevice(DeviceId, Box<DeviceRecord>),
    /// Keep a release in place of the workload's older one: always a persist step.
    SaveRelease {
        /// What it says.
        release: Box<Release>,
        /// SHA-256 of the bytes.
        sha256: [u8; 32],
        /// The bytes.
        sealed: Bytes,
    },
    /// Forget a workload's release: always a persist step.
    DropRelease {
        /// Its name.
        workload: String,
    },
    /// Sign this with the cloud's key, gather its releases, and tell the device's session by
    /// [`session::Event::Desired`].
    Assign(Box<Assignment>),
    /// For the operator who applied or removed; see [`fleet::Effect::Settled`].
    Settled {
        /// From the event.
        ticket: u64,
        /// See [`fleet::Effect::Settled`].
        result: Result<u64, String>,
    },
    /// Keep what is known of a twin: always a persist step.
    SaveTwin(DeviceId, ModuleId, Box<TwinRecord>),
    /// Forget a twin: always a persist step.
    DropTwin(DeviceId, ModuleId),
    /// What is known of a twin changed; `None` when it is gone.
    TwinChanged(DeviceId, ModuleId, Option<Box<TwinRecord>>),
    /// What is known of a device changed: for the page.
    Changed(DeviceId, Box<DeviceRecord>),
}

/// Where an effect of a session leads, in order.
#[must_use]
pub fn session(effect: session::Effect) -> Vec<Out> {
    use session::Effect;
    let out = match effect {
        Effect::Greet { device, hello, wall_ms } => Out::Io(Io::Greet { device, hello, wall_ms }),
        Effect::Send(device, frame) => Out::Io(Io::Send(device, frame)),
        Effect::Close { device, reason } => Out::Io(Io::Close { device, reason }),
        Effect::Store { device, route, messages, window, wall_ms } => {
            Out::Io(Io::Store { device, route, messages, window, wall_ms })
        }
        Effect::Seen(device, wall_ms) => tell_fleet(fleet::Event::Seen { device, wall_ms }),
        Effect::Reported(device, report, wall_ms) => {
            tell_fleet(fleet::Event::Reported { device, report, wall_ms })
        }
        Effect::TwinNames(device, modules) => tell_fleet(fleet::Event::TwinNames { device, modules }),
        Effect::Twin(device, module, twin) => tell_fleet(fleet::Event::TwinReported { device, module, twin }),
        Effect::TwinRefused(device, sha256, reason) => {
            tell_fleet(fleet::Event::TwinRefused { device, sha256, reason })
        }
        Effect::Answered(device, answer) => Out::Io(Io::Answered(device, answer)),
        Effect::Gone(device) => {
            return vec![tell_fleet(fleet::Event::Gone { device }), Out::End(Actor::Session(device))];
        }
    };
    vec![out]
}

/// Where an effect of the fleet leads.
#[must_use]
pub fn fleet(effect: fleet::Effect) -> Out {
    use fleet::Effect;
    match effect {
        Effect::SaveDevice(device, record) => Out::Io(Io::SaveDevice(device, record)),
        Effect::SaveRelease { release, sha256, sealed } => {
            Out::Io(Io::SaveRelease { release, sha256, sealed })
        }
        Effect::DropRelease { workload } => Out::Io(Io::DropRelease { workload }),
        Effect::Admit(device, answer) => tell_session(device, session::Event::Admitted(answer)),
        Effect::Hangup { device, reason } => tell_session(device, session::Event::Hangup { reason }),
        Effect::Assign(assignment) => Out::Io(Io::Assign(assignment)),
        Effect::Settled { ticket, result } => Out::Io(Io::Settled { ticket, result }),
        Effect::SaveTwin(device, module, record) => Out::Io(Io::SaveTwin(device, module, record)),
        Effect::DropTwin(device, module) => Out::Io(Io::DropTwin(device, module)),
        Effect::SendTwin(device, sealed) => tell_session(device, session::Event::Twin(sealed)),
        Effect::TwinChanged(device, module, record) => Out::Io(Io::TwinChanged(device, module, record)),
        Effect::Changed(device, record) => Out::Io(Io::Changed(device, record)),
    }
}

const fn tell_fleet(event: fleet::Event) -> Out {
    Out::Tell(Event::Fleet(event))
}

const fn tell_session(device: DeviceId, event: session::Event) -> Out {
    Out::Tell(Event::Session(device, event))
}
