//! One device's connection: greets it, stores its messages once, passes on its reports.
//!
//! A device has one session at a time. The adapter ends the older one, and waits until its steps
//! are done, before it reads the windows and opens the next: the windows are then what is stored.

mod check;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wayside_config::{identity::DeviceId, limits, workload::ModuleId};

use self::check::{check_batch, check_hello};
use crate::{
    device::twins::Twin,
    frame::{Answer, Ask, Desired, Hello, OLDEST_PROTOCOL, PROTOCOL, ToCloud, ToDevice},
    machine::{Effects, Machine},
    message::{Batch, Confirm, Message},
    report::Report,
    time::Time,
};

/// How long a device may take from the handshake to its `Hello`, in milliseconds.
pub const HELLO_MS: u64 = 10_000;

/// The fleet hears that a device talks at most this often, in milliseconds.
pub const SEEN_EVERY_MS: u64 = 5_000;

/// How many questions may wait for a device's answer.
pub const MAX_QUESTIONS: usize = 64;

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
    /// Something came that is no frame of this version.
    Unreadable {
        /// In words.
        reason: String,
    },
    /// The fleet's word on a `Greet`.
    Admitted(Result<(), String>),
    /// What the device should run, when that changed.
    Desired(Desired),
    /// A sealed change of a twin.
    Twin(bytes::Bytes),
    /// An operator's question.
    Ask(Ask),
    /// The fleet wants the device to connect anew.
    Hangup {
        /// For the log and the peer.
        reason: String,
    },
    /// The connection ended.
    Closed,
    /// The time asked for has come.
    Woken,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Ask the fleet whether the device may in.
    Greet {
        /// Who.
        device: DeviceId,
        /// With what words.
        hello: Hello,
        /// The cloud's clock.
        wall_ms: u64,
    },
    /// Send a frame.
    Send(DeviceId, ToDevice),
    /// Close the connection; answered by [`Event::Closed`].
    Close {
        /// Whose.
        device: DeviceId,
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
    /// The device talks, at this time of the cloud's clock. At most every [`SEEN_EVERY_MS`].
    Seen(DeviceId, u64),
    /// The device reported, at this time of the cloud's clock.
    Reported(DeviceId, Box<Report>, u64),
    /// The device says which modules have twins.
    TwinNames(DeviceId, Vec<ModuleId>),
    /// The device says how a twin is.
    Twin(DeviceId, ModuleId, Box<Twin>),
    /// The device does not take a change of a twin, and says why.
    TwinRefused(DeviceId, [u8; 32], String),
    /// The device answered, or cannot.
    Answered(DeviceId, Answer),
    /// The session is over.
    Gone(DeviceId),
}

/// One device's connection.
#[derive(Debug)]
pub struct Session {
    device: DeviceId,
    state: State,
    windows: BTreeMap<String, Window>,
    questions: BTreeSet<u64>,
    seen: Option<Time>,
}

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The adapter reads the windows.
    Opening,
    /// The device has to say who it is.
    AwaitingHello { until: Time },
    /// The fleet decides.
    Greeting,
    /// The device is admitted.
    Welcomed,
    /// The connection is being closed.
    Closing,
}

impl Session {
    /// A session of the device whose key the handshake proved.
    #[must_use]
    pub const fn new(device: DeviceId) -> Self {
        Self {
            device,
            state: State::Opening,
            windows: BTreeMap::new(),
            questions: BTreeSet::new(),
            seen: None,
        }
    }
}

impl Machine for Session {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Opened { windows } => self.open(now, windows, out),
            Event::Frame { frame, wall_ms } => self.frame(now, *frame, wall_ms, out),
            Event::Unreadable { reason } => {
                if self.state != State::Closing {
                    self.refuse(
                        format!("the device said what this cloud cannot read ({reason}): upgrade the cloud first, then its devices"),
                        out,
                    );
                }
            }
            Event::Admitted(answer) => self.admitted(answer, out),
            Event::Desired(desired) => {
                if self.state == State::Welcomed {
                    out.push(Effect::Send(self.device, ToDevice::Desired(desired)));
                }
            }
            Event::Twin(sealed) => {
                if self.state == State::Welcomed {
                    out.push(Effect::Send(self.device, ToDevice::Twin(sealed)));
                }
            }
            Event::Ask(ask) => self.ask(ask, out),
            Event::Hangup { reason } => self.close(reason, out),
            Event::Closed => self.closed(out),
            Event::Woken => {
                if let State::AwaitingHello { until } = self.state {
                    if now >= until {
                        self.close(format!("no Hello within {} s", HELLO_MS / 1000), out);
                    } else {
                        out.wake_at(until);
                    }
                }
            }
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Session {
    fn open(&mut self, now: Time, windows: BTreeMap<String, Window>, out: &mut Effects<Effect>) {
        if self.state == State::Opening {
            let until = now.plus_millis(HELLO_MS);
            self.windows = windows;
            self.state = State::AwaitingHello { until };
            out.wake_at(until);
        }
    }

    fn frame(&mut self, now: Time, frame: ToCloud, wall_ms: u64, out: &mut Effects<Effect>) {
        match (self.state, frame) {
            (State::Closing, _) => {}
            (State::AwaitingHello { .. }, ToCloud::Hello(hello)) => self.hello(hello, wall_ms, out),
            (State::Welcomed, ToCloud::Batch(batch)) => {
                self.see(now, wall_ms, out);
                self.batch(batch, wall_ms, out);
            }
            (State::Welcomed, ToCloud::Report(report)) => {
                self.seen = Some(now);
                out.push(Effect::Reported(self.device, report, wall_ms));
            }
            (State::Welcomed, ToCloud::TwinNames(modules)) => {
                self.see(now, wall_ms, out);
                out.push(Effect::TwinNames(self.device, modules));
            }
            (State::Welcomed, ToCloud::Twin(module, twin)) => {
                self.see(now, wall_ms, out);
                out.push(Effect::Twin(self.device, module, twin));
            }
            (State::Welcomed, ToCloud::TwinRefused { sha256, reason }) => {
                self.see(now, wall_ms, out);
                out.push(Effect::TwinRefused(self.device, sha256, reason));
            }
            (State::Welcomed, ToCloud::Clock { asked_ms }) => {
                self.see(now, wall_ms, out);
                out.push(Effect::Send(self.device, ToDevice::Clock { asked_ms, cloud_ms: wall_ms }));
            }
            (State::Welcomed, ToCloud::Answer(answer)) => {
                self.see(now, wall_ms, out);
                if self.questions.remove(&answer.id) {
                    out.push(Effect::Answered(self.device, answer));
                }
            }
            (
                State::Opening | State::AwaitingHello { .. } | State::Greeting,
                ToCloud::Batch(_)
                | ToCloud::Report(_)
                | ToCloud::Answer(_)
                | ToCloud::TwinNames(_)
                | ToCloud::Twin(..)
                | ToCloud::TwinRefused { .. }
                | ToCloud::Clock { .. },
            ) => self.close("a frame before Welcome".into(), out),
            (State::Opening | State::Greeting | State::Welcomed, ToCloud::Hello(_)) => {
                self.close("a Hello out of turn".into(), out);
            }
        }
    }

    fn hello(&mut self, hello: Hello, wall_ms: u64, out: &mut Effects<Effect>) {
        if !(OLDEST_PROTOCOL..=PROTOCOL).contains(&hello.protocol) {
            let theirs = hello.protocol;
            let what = if theirs < PROTOCOL {
                "upgrade the device"
            } else {
                "upgrade the cloud first, then its devices"
            };
            self.refuse(format!("the device speaks protocol {theirs}, the cloud {PROTOCOL}: {what}"), out);
        } else if let Err(reason) = check_hello(&hello) {
            self.refuse(reason, out);
        } else {
            self.state = State::Greeting;
            out.push(Effect::Greet { device: self.device, hello, wall_ms });
        }
    }

    fn admitted(&mut self, answer: Result<(), String>, out: &mut Effects<Effect>) {
        if self.state != State::Greeting {
            return;
        }
        match answer {
            Ok(()) => {
                self.state = State::Welcomed;
                out.push(Effect::Send(self.device, ToDevice::Welcome));
            }
            Err(reason) => self.refuse(reason, out),
        }
    }

    /// Stores what is new of a batch, unless one before it is missing, and says how far all is stored.
    fn batch(&mut self, batch: Batch, wall_ms: u64, out: &mut Effects<Effect>) {
        let last = match check_batch(&batch, self.device) {
            Ok(last) => last,
            Err(reason) => return self.close(reason, out),
        };
        let known = self.windows.get(&batch.route).copied();
        if known.is_none() && self.windows.len() >= limits::WORKLOADS * limits::ROUTES {
            return self.close("more routes than a device can have".into(), out);
        }
        let mut window = known
            .filter(|window| window.epoch == batch.epoch)
            .unwrap_or(Window { epoch: batch.epoch, upto: 0 });
        if batch.after <= window.upto && last > window.upto {
            let messages = (batch.first_seq..).zip(batch.messages).filter(|(seq, _)| *seq > window.upto);
            let messages = messages.collect();
            window.upto = last;
            self.windows.insert(batch.route.clone(), window);
            out.persist(Effect::Store {
                device: self.device,
                route: batch.route.clone(),
                messages,
                window,
                wall_ms,
            });
        }
        let confirm = Confirm { route: batch.route, epoch: window.epoch, upto: window.upto };
        out.push(Effect::Send(self.device, ToDevice::Confirm(confirm)));
    }

    fn ask(&mut self, ask: Ask, out: &mut Effects<Effect>) {
        let problem = if self.state != State::Welcomed {
            "the device is not connected"
        } else if self.questions.len() >= MAX_QUESTIONS {
            "too many questions wait for this device's answer: try again"
        } else {
            self.questions.insert(ask.id);
            out.push(Effect::Send(self.device, ToDevice::Ask(ask)));
            return;
        };
        let answer = Answer { id: ask.id, result: Err(problem.into()) };
        out.push(Effect::Answered(self.device, answer));
    }

    fn see(&mut self, now: Time, wall_ms: u64, out: &mut Effects<Effect>) {
        if self.seen.is_none_or(|seen| now.millis_since(seen) >= SEEN_EVERY_MS) {
            self.seen = Some(now);
            out.push(Effect::Seen(self.device, wall_ms));
        }
    }

    fn refuse(&mut self, reason: String, out: &mut Effects<Effect>) {
        out.push(Effect::Send(self.device, ToDevice::Refused { reason: reason.clone() }));
        self.close(reason, out);
    }

    fn close(&mut self, reason: String, out: &mut Effects<Effect>) {
        if self.state != State::Closing {
            self.state = State::Closing;
            out.push(Effect::Close { device: self.device, reason });
        }
    }

    fn closed(&mut self, out: &mut Effects<Effect>) {
        self.state = State::Closing;
        for id in std::mem::take(&mut self.questions) {
            let result = Err("the connection ended before the device answered".into());
            out.push(Effect::Answered(self.device, Answer { id, result }));
        }
        out.push(Effect::Gone(self.device));
    }
}

#[cfg(test)]
mod tests;
