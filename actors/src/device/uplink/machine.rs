//! The connection's life: dial, greet, talk, and back off when it is lost.

use super::{Effect, Event};
use crate::{
    backoff::Backoff,
    cloud::session::MAX_QUESTIONS,
    frame::{Answer, Hello, ToCloud, ToDevice},
    machine::{Effects, Machine},
    report::Report,
    time::Time,
};

/// The wait before the next attempt to connect.
pub const RECONNECT: Backoff = Backoff { first_ms: 1_000, cap_ms: 60_000 };
/// How long the cloud may take to answer a `Hello`, in milliseconds.
pub const HELLO_MS: u64 = 10_000;

/// A connection that stood for so long was a good one, in milliseconds: what follows its end begins anew.
pub const STEADY_MS: u64 = 10_000;
/// The wait after a conversation in which one side could not read the other, in milliseconds: somebody has to upgrade something.
pub const UNFIT_MS: u64 = 600_000;

/// How often the cloud is asked for the time, in milliseconds, from when a connection has stood for [`STEADY_MS`].
pub const CLOCK_MS: u64 = 600_000;

/// The wait before what found no room is said again, in milliseconds.
pub const AGAIN_MS: u64 = 1_000;
/// Answers that are kept whole until there is room; of more it is only said that there was none.
pub const MAX_ANSWERS: usize = 4;

/// The machine of the uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    hello: Hello,
    seed: u64,
    state: State,
    /// Attempts in a row that did not lead to a `Welcome`, or connections that ended soon after it.
    failures: u32,
    /// Connections in a row that did not stand for [`STEADY_MS`].
    short: u32,
    /// Why the cloud refused this device; empty when it did not.
    problem: String,
    /// Whether one side could not read the other the last time.
    is_unfit: bool,
    /// Answers for which there was no room.
    answers: Vec<Answer>,
    /// When the cloud is to be asked for the time.
    clock_at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked to connect, or asked to stop.
    Idle,
    Connecting,
    Greeting {
        until: Time,
    },
    /// `told` says whether the connection has had its full report; `again`, when something is said again for which there
    /// was no room.
    Online {
        since: Time,
        told: bool,
        again: Option<Time>,
    },
    Waiting {
        until: Time,
    },
}

impl Uplink {
    /// An uplink that has not begun. `seed` spreads its attempts.
    #[must_use]
    pub const fn new(hello: Hello, seed: u64) -> Self {
        Self {
            hello,
            seed,
            state: State::Idle,
            failures: 0,
            short: 0,
            problem: String::new(),
            is_unfit: false,
            answers: Vec::new(),
            clock_at: Time::from_millis(0),
        }
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
            Event::Unreadable { reason } => {
                let problem =
                    format!("the cloud said what this device cannot read ({reason}): upgrade the device");
                self.unfit(problem, now, out);
            }
            Event::Report(report) => self.report(report, out),
            Event::Answer(answer) => {
                if self.is_online() {
                    out.push(Effect::Send(ToCloud::Answer(answer)));
                }
            }
            Event::ReportUntold => {
                if let State::Online { told, .. } = &mut self.state {
                    *told = false;
                    self.again(now, out);
                }
            }
            Event::AnswerUntold(answer) => self.answer_again(answer, now, out),
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
        // What they answer was asked on an earlier connection.
        self.answers.clear();
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
                self.state = State::Online { since: now, told: false, again: None };
                // Whoever could not read the other may be so still: that shows.
                self.clock_at = now.plus_millis(STEADY_MS);
                out.wake_at(self.clock_at);
                if !self.is_unfit {
                    self.set_problem(String::new(), out);
                }
                out.push(Effect::Up);
                out.push(Effect::FullWanted);
            }
            (ToDevice::Refused { reason }, State::Online { .. }) => {
                self.unfit(format!("the cloud refuses this device: {reason}"), now, out);
            }
            (ToDevice::Refused { reason }, State::Greeting { .. }) => {
                self.set_problem(format!("the cloud refuses this device: {reason}"), out);
                self.failures = u32::MAX;
                self.close(out);
                self.wait(now, out);
            }
            (ToDevice::Desired(desired), State::Online { .. }) => out.push(Effect::Desired(desired)),
            (ToDevice::Confirm(confirm), State::Online { .. }) => out.push(Effect::Confirm(confirm)),
            (ToDevice::Ask(ask), State::Online { .. }) => out.push(Effect::Ask(ask)),
            (ToDevice::Clock { asked_ms, cloud_ms }, State::Online { .. }) => {
                let round_trip_ms = now.millis_since(Time::from_millis(asked_ms));
                out.push(Effect::Clock { cloud_ms, round_trip_ms });
            }
            (ToDevice::Twin(sealed), State::Online { .. }) => out.push(Effect::Twin(sealed)),
            // From a connection that is given up, or out of turn.
            (
                ToDevice::Welcome
                | ToDevice::Refused { .. }
                | ToDevice::Desired(_)
                | ToDevice::Confirm(_)
                | ToDevice::Ask(_)
                | ToDevice::Clock { .. }
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
        if let State::Online { told, .. } = &mut self.state
            && (*told || report.full)
        {
            *told = true;
            out.push(Effect::Send(ToCloud::Report(report)));
        }
    }

    /// None is forgotten: the cloud counts what it asked, and asks no more while too much of it is open.
    fn answer_again(&mut self, mut answer: Answer, now: Time, out: &mut Effects<Effect>) {
        if !self.is_online() || self.answers.len() >= MAX_QUESTIONS {
            return;
        }
        if self.answers.len() >= MAX_ANSWERS {
            answer.result = Err("the device's uplink had no room for the answer: ask again".into());
        }
        self.answers.push(answer);
        self.again(now, out);
    }

    fn again(&mut self, now: Time, out: &mut Effects<Effect>) {
        if let State::Online { again: again @ None, .. } = &mut self.state {
            let at = now.plus_millis(AGAIN_MS);
            *again = Some(at);
            out.wake_at(at);
        }
    }

    /// A connection stands for a while, or something is to be said again.
    fn stands(&mut self, now: Time, since: Time, told: bool, again: Option<Time>, out: &mut Effects<Effect>) {
        let is_due = again.is_some_and(|at| at <= now);
        if now.millis_since(since) >= STEADY_MS {
            self.short = 0;
            self.is_unfit = false;
            self.set_problem(String::new(), out);
        }
        if self.clock_at <= now {
            self.clock_at = now.plus_millis(CLOCK_MS);
            out.push(Effect::Send(ToCloud::Clock { asked_ms: now.as_millis() }));
        }
        let again = again.filter(|at| *at > now);
        let steady = Some(since.plus_millis(STEADY_MS)).filter(|at| *at > now);
        if let Some(at) = again.into_iter().chain(steady).chain(Some(self.clock_at)).min() {
            out.wake_at(at);
        }
        if is_due {
            self.say_again(since, told, out);
        }
    }

    /// A report that was not told left a gap: a full one closes it.
    fn say_again(&mut self, since: Time, told: bool, out: &mut Effects<Effect>) {
        self.state = State::Online { since, told, again: None };
        for answer in self.answers.drain(..) {
            out.push(Effect::Send(ToCloud::Answer(answer)));
        }
        if !told {
            out.push(Effect::FullWanted);
        }
    }

    fn lost(&mut self, now: Time, out: &mut Effects<Effect>) {
        match self.state {
            State::Online { since, .. } => {
                if now.millis_since(since) >= STEADY_MS {
                    self.short = 0;
                }
                self.failures = self.short;
                self.short = self.short.saturating_add(1);
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
            State::Online { since, told, again } => self.stands(now, since, told, again, out),
            State::Idle | State::Connecting | State::Greeting { .. } | State::Waiting { .. } => {}
        }
    }

    /// One side cannot read the other, and would not the next time either.
    fn unfit(&mut self, problem: String, now: Time, out: &mut Effects<Effect>) {
        if let State::Greeting { .. } | State::Online { .. } = self.state {
            self.is_unfit = true;
            self.set_problem(problem, out);
            self.close(out);
            let until = now.plus_millis(UNFIT_MS - UNFIT_MS / 4 + self.seed % (UNFIT_MS / 4));
            self.state = State::Waiting { until };
            out.wake_at(until);
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
