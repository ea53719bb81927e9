//! What a module does about what happened: what it asks of the engine.

use super::{BACKOFF, Container, Module, STOP_SLACK_MS, State, Wanted};
use crate::{device::module::Effect, machine::Effects, time::Time};

impl Module {
    /// Brings what there is closer to what is wanted, as far as nothing has to be waited for.
    pub(super) fn settle(&mut self, now: Time, out: &mut Effects<Effect>) {
        match &self.state {
            State::Starting(held) | State::Running { container: held, .. } if !self.fits(held) => {
                let held = held.clone();
                if let Some(Wanted { spec, hash }) = &self.wanted {
                    let (spec, spec_hash) = (spec.clone(), hash.clone());
                    out.push(Effect::Prepare { spec, spec_hash, grace_ms: self.grace_ms });
                }
                self.stop(held, false, now, out);
            }
            State::BackOff { container: Some(held), .. } | State::Ended(held) if !self.fits(held) => {
                let held = held.clone();
                self.remove(held, out);
            }
            State::BackOff { container: Some(held), until } if *until <= now => {
                let held = held.clone();
                self.start(held, out);
            }
            State::BackOff { container: None, until } if *until <= now || self.wanted.is_none() => {
                self.create(out);
            }
            State::Unknown
            | State::Creating { .. }
            | State::Starting(_)
            | State::Running { .. }
            | State::BackOff { .. }
            | State::Ended(_)
            | State::Stopping { .. }
            | State::Removing { .. } => {}
        }
    }

    pub(super) fn adopt(
        &mut self,
        found: Container,
        running: bool,
        exit_code: Option<i64>,
        now: Time,
        out: &mut Effects<Effect>,
    ) {
        self.exit_code = exit_code;
        self.starts = u32::from(running || exit_code.is_some());
        match exit_code {
            _ if running => {
                self.forget_health();
                self.state = State::Running { container: found, since: now };
            }
            // It ended while nobody watched, maybe because the device or the engine restarted.
            Some(code) if self.fits(&found) && self.starts_again(code) => self.start(found, out),
            None if self.fits(&found) => self.start(found, out),
            Some(_) | None => self.state = State::Ended(found),
        }
        self.settle(now, out);
    }

    /// Creates what is wanted; where nothing is, there is nothing left to know.
    pub(super) fn create(&mut self, out: &mut Effects<Effect>) {
        self.state = match &self.wanted {
            Some(Wanted { spec, hash }) => {
                out.push(Effect::Create { spec: spec.clone(), spec_hash: hash.clone() });
                State::Creating { hash: hash.clone() }
            }
            None => State::Unknown,
        };
    }

    pub(super) fn start(&mut self, container: Container, out: &mut Effects<Effect>) {
        out.push(Effect::Start { container: container.id.clone() });
        self.forget_health();
        self.state = State::Starting(container);
    }

    /// Ends a run to begin another with the same container. What is on its way to a run already needs no more.
    pub(super) fn restart(&mut self, now: Time, out: &mut Effects<Effect>) {
        if self.wanted.is_none() {
            return;
        }
        self.failures = 0;
        match &mut self.state {
            State::Running { container, .. } => {
                let container = container.clone();
                self.stop(container, true, now, out);
            }
            State::BackOff { until, .. } => {
                *until = now;
                self.settle(now, out);
            }
            State::Ended(container) => {
                let container = container.clone();
                self.start(container, out);
            }
            State::Unknown
            | State::Creating { .. }
            | State::Starting(_)
            | State::Stopping { .. }
            | State::Removing { .. } => {}
        }
    }

    pub(super) fn stop(&mut self, container: Container, again: bool, now: Time, out: &mut Effects<Effect>) {
        let force_at = now.plus_millis(self.grace_ms.saturating_add(STOP_SLACK_MS));
        out.push(Effect::Stop { container: container.id.clone(), grace_ms: self.grace_ms });
        out.wake_at(force_at);
        self.state = State::Stopping { container, force_at, again };
    }

    pub(super) fn remove(&mut self, container: Container, out: &mut Effects<Effect>) {
        out.push(Effect::Remove { container: container.id.clone() });
        self.state = State::Removing { container, retry_at: None };
    }

    pub(super) fn back_off(&mut self, container: Option<Container>, now: Time, out: &mut Effects<Effect>) {
        let until = now.plus_millis(BACKOFF.wait_ms(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.state = State::BackOff { container, until };
        out.wake_at(until);
    }
}
