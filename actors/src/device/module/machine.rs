//! The life of one container, as a state machine.

mod actions;
mod knowledge;

use wayside_config::workload::ModuleSpec;

use super::{Effect, Event};
use crate::{
    backoff::Backoff,
    machine::{Effects, Machine},
    report::{Health, ModuleStatus},
    time::Time,
};

/// The wait before a container that ended is started again, and before a failed request is repeated.
pub const BACKOFF: Backoff = Backoff { first_ms: 1000, cap_ms: 300_000 };
/// A module that ran this long begins its back-off anew, in milliseconds.
pub const STABLE_MS: u64 = 60_000;
/// How much longer than its grace a stop may take before the container is removed by force, in milliseconds.
pub const STOP_SLACK_MS: u64 = 5_000;

/// The machine of one module.
///
/// ```text
/// Unknown -- Missing --> Creating -> Starting -> Running -> BackOff -> Starting ...
///    |                                              |  `--> Ended
///    `------ Found ----> Starting, Running, ...     `-> Stopping -> Removing -> Creating, or gone
/// ```
///
/// It asks for a container only when the one before is known to be gone, so there are never two.
#[derive(Clone, Debug, Default)]
pub struct Module {
    wanted: Option<Wanted>,
    state: State,
    /// Ends and failed requests in a row, without a stable run between.
    failures: u32,
    /// Starts since this specification was wanted.
    starts: u32,
    exit_code: Option<i64>,
    problem: String,
    /// What the health check of the run says, and what it wrote last.
    health: Option<Health>,
    output: String,
    reported: Option<ModuleStatus>,
    /// These two are of the specification wanted last, for its container may outlive the wish.
    grace_ms: u64,
    image: String,
}

#[derive(Clone, Debug)]
struct Wanted {
    spec: Box<ModuleSpec>,
    hash: String,
}

/// A container that the engine has, and the hash of what it was made from.
#[derive(Clone, Debug)]
struct Container {
    id: String,
    hash: String,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Nobody has said yet what the engine has.
    #[default]
    Unknown,
    Creating {
        hash: String,
    },
    Starting(Container),
    Running {
        container: Container,
        since: Time,
    },
    /// Waits, then starts the container, or creates one where there is none.
    BackOff {
        container: Option<Container>,
        until: Time,
    },
    Ended(Container),
    /// `again`: to be started once it has ended.
    Stopping {
        container: Container,
        force_at: Time,
        again: bool,
    },
    /// With a time to ask again when the engine failed to remove it.
    Removing {
        container: Container,
        retry_at: Option<Time>,
    },
}

impl Machine for Module {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Wanted { spec, spec_hash } => self.want(Wanted { spec, hash: spec_hash }, now, out),
            Event::Unwanted => {
                self.wanted = None;
                self.settle(now, out);
            }
            Event::Found { container, spec_hash, running, exit_code, health } => {
                let container = Container { id: container, hash: spec_hash };
                self.found(container, running, exit_code, now, out);
                // A list may be older than an event.
                let is_known = matches!(self.health, Some(Health::Healthy | Health::Unhealthy));
                self.hears_of_health(health.filter(|health| !is_known || *health != Health::Starting));
            }
            Event::Health { container, health, output } => {
                if self.holds().is_some_and(|held| held.id == container) {
                    self.output = output.trim_end().to_owned();
                    self.hears_of_health(Some(health));
                }
            }
            Event::Missing => self.missing(out),
            Event::Created { container, spec_hash } => {
                self.created(Container { id: container, hash: spec_hash }, out);
            }
            Event::Started { container } => self.started(&container, now),
            Event::Exited { container, code } => self.exited(&container, code, now, out),
            Event::Removed { container } => self.removed(&container, out),
            Event::Failed { container, problem } => self.failed(container, problem, now, out),
            Event::Restart => self.restart(now, out),
            Event::Woken => self.awake(now, out),
        }
        self.report(out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

/// What happens to it.
impl Module {
    fn want(&mut self, wanted: Wanted, now: Time, out: &mut Effects<Effect>) {
        let changed = self.wanted.as_ref().is_none_or(|before| before.hash != wanted.hash);
        let grace_ms = wanted.spec.grace_ms();
        self.image.clone_from(&wanted.spec.image);
        self.wanted = Some(wanted);
        // Whoever says so again has forgotten what it was told.
        self.reported = None;
        if changed {
            self.failures = 0;
            self.starts = 0;
            self.exit_code = None;
            self.problem.clear();
            if let State::BackOff { until, .. } = &mut self.state {
                *until = now;
            }
        }
        self.settle(now, out);
        // Only now: what had to be stopped for the change was given the time that it was promised.
        self.grace_ms = grace_ms;
    }

    fn found(
        &mut self,
        found: Container,
        running: bool,
        exit_code: Option<i64>,
        now: Time,
        out: &mut Effects<Effect>,
    ) {
        if self.holds().is_some_and(|held| held.id != found.id) {
            return out.push(Effect::Remove { container: found.id });
        }
        match &self.state {
            State::Unknown | State::BackOff { container: None, .. } => {
                if self.wanted.is_some() {
                    self.adopt(found, running, exit_code, now, out);
                }
            }
            State::Starting(_) | State::Ended(_) if running => {
                self.state = State::Running { container: found, since: now };
            }
            State::Running { .. } | State::Stopping { .. } if !running => {
                self.exited(&found.id, exit_code.unwrap_or_default(), now, out);
            }
            // Either as it should be, or older than an answer that is on its way.
            State::Creating { .. }
            | State::Starting(_)
            | State::Running { .. }
            | State::BackOff { .. }
            | State::Ended(_)
            | State::Stopping { .. }
            | State::Removing { .. } => {}
        }
    }

    fn missing(&mut self, out: &mut Effects<Effect>) {
        match &self.state {
            State::Unknown => self.create(out),
            State::Creating { .. } | State::BackOff { container: None, .. } | State::Removing { .. } => {}
            // The list may be older than the container: its removal is the proof that it is gone.
            State::Starting(held)
            | State::Running { container: held, .. }
            | State::BackOff { container: Some(held), .. }
            | State::Ended(held)
            | State::Stopping { container: held, .. } => {
                let held = held.clone();
                self.remove(held, out);
            }
        }
    }

    fn created(&mut self, container: Container, out: &mut Effects<Effect>) {
        match &self.state {
            State::Creating { hash } if *hash == container.hash => {
                if self.fits(&container) {
                    self.start(container, out);
                } else {
                    self.remove(container, out);
                }
            }
            // The reconciler finds it in the engine's list.
            State::Unknown => {}
            State::Creating { .. }
            | State::Starting(_)
            | State::Running { .. }
            | State::BackOff { .. }
            | State::Ended(_)
            | State::Stopping { .. }
            | State::Removing { .. } => {
                if self.holds().is_none_or(|held| held.id != container.id) {
                    out.push(Effect::Remove { container: container.id });
                }
            }
        }
    }

    fn started(&mut self, id: &str, now: Time) {
        // In any other state it is late: the container has ended again, or is on its way out.
        if let State::Starting(container) = &self.state
            && container.id == id
        {
            self.starts += 1;
            self.problem.clear();
            self.state = State::Running { container: container.clone(), since: now };
        }
    }

    fn exited(&mut self, id: &str, code: i64, now: Time, out: &mut Effects<Effect>) {
        if self.holds().is_none_or(|held| held.id != id) {
            return;
        }
        let container = match &self.state {
            State::Starting(container) => {
                self.starts += 1;
                container.clone()
            }
            State::Running { container, since } => {
                if now.millis_since(*since) >= STABLE_MS {
                    self.failures = 0;
                }
                container.clone()
            }
            State::Stopping { container, again, .. } => {
                let (container, again) = (container.clone(), *again);
                if again && self.fits(&container) {
                    return self.start(container, out);
                }
                return self.remove(container, out);
            }
            State::Unknown
            | State::Creating { .. }
            | State::BackOff { .. }
            | State::Ended(_)
            | State::Removing { .. } => return,
        };
        self.exit_code = Some(code);
        self.health = None;
        if self.starts_again(code) {
            self.back_off(Some(container), now, out);
        } else {
            self.state = State::Ended(container);
        }
    }

    fn removed(&mut self, id: &str, out: &mut Effects<Effect>) {
        if self.holds().is_some_and(|held| held.id == id) {
            self.create(out);
        }
    }

    fn failed(&mut self, asked_of: Option<String>, problem: String, now: Time, out: &mut Effects<Effect>) {
        if self.holds().map(|held| &held.id) != asked_of.as_ref() {
            return;
        }
        match &self.state {
            State::Creating { hash } => {
                let outdated = self.wanted.as_ref().is_none_or(|wanted| wanted.hash != *hash);
                if outdated {
                    return self.create(out);
                }
                self.back_off(None, now, out);
            }
            State::Starting(container) => {
                let container = container.clone();
                self.back_off(Some(container), now, out);
            }
            State::Stopping { container, .. } => {
                let container = container.clone();
                return self.remove(container, out);
            }
            State::Removing { container, .. } => {
                let retry_at = now.plus_millis(BACKOFF.wait_ms(self.failures));
                self.failures = self.failures.saturating_add(1);
                self.state = State::Removing { container: container.clone(), retry_at: Some(retry_at) };
                out.wake_at(retry_at);
            }
            // The answer to something that is no longer asked.
            State::Unknown | State::Running { .. } | State::BackOff { .. } | State::Ended(_) => return,
        }
        self.problem = problem;
    }

    fn awake(&mut self, now: Time, out: &mut Effects<Effect>) {
        match &self.state {
            State::BackOff { .. } => self.settle(now, out),
            State::Stopping { container, force_at, .. } if *force_at <= now => {
                let container = container.clone();
                self.remove(container, out);
            }
            State::Removing { container, retry_at: Some(at) } if *at <= now => {
                let container = container.clone();
                self.remove(container, out);
            }
            State::Unknown
            | State::Creating { .. }
            | State::Starting(_)
            | State::Running { .. }
            | State::Ended(_)
            | State::Stopping { .. }
            | State::Removing { .. } => {}
        }
    }
}
