//! The connection's life: dial, greet, talk, and back off when it is lost.

use super::{Effect, Event};
use crate::{
    backoff::Backoff,
    frame::{Hello, ToCloud, ToDevice},
    machine::{Effects, Machine},
    report::Report,
    time::Time,
};

/// The wait before the next attempt to connect.
pub const RECONNECT: Backoff = Backoff { first_ms: 1_000, cap_ms: 60_000 };
/// How long the cloud may take to answer a `Hello`, in milliseconds.
pub const HELLO_MS: u64 = 10_000;

/// The machine of the uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    hello: Hello,
    seed: u64,
    state: State,
    /// Attempts in a row that did not lead to a `Welcome`.
    failures: u32,
    /// Why the cloud refused this device; empty when it did not.
    problem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked to connect, or asked to stop.
    Idle,
    Connecting,
    Greeting {
        until: Time,
    },
    /// `told` says whether the connection has had its full report.
    Online {
        told: bool,
    },
    Waiting {
        until: Time,
    },
}

impl Uplink {
    /// An uplink that has not begun. `seed` spreads its attempts.
    #[must_use]
    pub const fn new(hello: Hello, seed: u64) -> Self {
        Self { hello, seed, state: State::Idle, failures: 0, problem: String::new() }
    }
}

impl Machine for Uplink {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Start => {
                if self.state == State::Idle {
                    self.connect(out);
                }
            }
            Event::Connected => self.greet(now, out),
            Event::Lost { reason: _ } => self.lost(now, out),
            Event::Frame(frame) => self.heard(frame, now, out),
            Event::Report(report) => self.report(report, out),
            Event::Answer(answer) => {
                if self.is_online() {
                    out.push(Effect::Send(ToCloud::Answer(answer)));
                }
            }
            Event::Asked => out.push(if self.is_online() { Effect::Up } else { Effect::Down }),
            Event::HealthRestarted => out.push(Effect::Problem(self.problem.clone())),
            Event::Stop => {
                self.close(out);
                self.state = State::Idle;
            }
            Event::Woken => self.awake(now, out),
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Uplink {
    fn connect(&mut self, out: &mut Effects<Effect>) {
        self.state = State::Connecting;
        out.push(Effect::Connect);
    }

    fn greet(&mut self, now: Time, out: &mut Effects<Effect>) {
        match self.state {
            // While waiting: a connection that stands is as good as a new one.
            State::Connecting | State::Waiting { .. } => {
                let until = now.plus_millis(HELLO_MS);
                self.state = State::Greeting { until };
                out.push(Effect::Send(ToCloud::Hello(self.hello.clone())));
                out.wake_at(until);
            }
            State::Idle => out.push(Effect::Close),
            State::Greeting { .. } | State::Online { .. } => {}
        }
    }

    fn heard(&mut self, frame: ToDevice, now: Time, out: &mut Effects<Effect>) {
        match (frame, self.state) {
            (ToDevice::Welcome, State::Greeting { .. }) => {
                self.state = State::Online { told: false };
                self.failures = 0;
                self.set_problem(String::new(), out);
                out.push(Effect::Up);
                out.push(Effect::FullWanted);
            }
            (ToDevice::Refused { reason }, State::Greeting { .. } | State::Online { .. }) => {
                self.set_problem(format!("the cloud refuses this device: {reason}"), out);
                self.failures = u32::MAX;
                self.close(out);
                self.wait(now, out);
            }
            (ToDevice::Desired(desired), State::Online { .. }) => out.push(Effect::Desired(desired)),
            (ToDevice::Confirm(confirm), State::Online { .. }) => out.push(Effect::Confirm(confirm)),
            (ToDevice::Ask(ask), State::Online { .. }) => out.push(Effect::Ask(ask)),
            (ToDevice::Twin(sealed), State::Online { .. }) => out.push(Effect::Twin(sealed)),
            // From a connection that is given up, or out of turn.
            (
                ToDevice::Welcome
                | ToDevice::Refused { .. }
                | ToDevice::Desired(_)
                | ToDevice::Confirm(_)
                | ToDevice::Ask(_)
                | ToDevice::Twin(_),
                State::Idle
                | State::Connecting
                | State::Greeting { .. }
                | State::Online { .. }
                | State::Waiting { .. },
            ) => {}
        }
    }

    /// Passes reports on, from the first full one of the connection.
    fn report(&mut self, report: Box<Report>, out: &mut Effects<Effect>) {
        if let State::Online { told } = &mut self.state
            && (*told || report.full)
        {
            *told = true;
            out.push(Effect::Send(ToCloud::Report(report)));
        }
    }

    fn lost(&mut self, now: Time, out: &mut Effects<Effect>) {
        match self.state {
            State::Online { .. } => {
                out.push(Effect::Down);
                self.wait(now, out);
            }
            State::Connecting | State::Greeting { .. } => self.wait(now, out),
            State::Idle | State::Waiting { .. } => {}
        }
    }

    fn awake(&mut self, now: Time, out: &mut Effects<Effect>) {
        match self.state {
            State::Waiting { until } if until <= now => self.connect(out),
            State::Greeting { until } if until <= now => {
                self.close(out);
                self.wait(now, out);
            }
            State::Idle
            | State::Connecting
            | State::Greeting { .. }
            | State::Online { .. }
            | State::Waiting { .. } => {}
        }
    }

    fn close(&self, out: &mut Effects<Effect>) {
        if self.is_online() {
            out.push(Effect::Down);
        }
        out.push(Effect::Close);
    }

    fn wait(&mut self, now: Time, out: &mut Effects<Effect>) {
        let until = now.plus_millis(RECONNECT.jittered_ms(self.failures, self.seed));
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until };
        out.wake_at(until);
    }

    fn set_problem(&mut self, problem: String, out: &mut Effects<Effect>) {
        if self.problem != problem {
            self.problem.clone_from(&problem);
            out.push(Effect::Problem(problem));
        }
    }

    const fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }
}
