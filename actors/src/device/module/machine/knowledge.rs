//! What a module knows of itself, and tells.

use wayside_config::workload::Restart;

use super::{Container, Module, State};
use crate::{
    device::module::Effect,
    machine::Effects,
    report::{Health, ModuleState, ModuleStatus},
};

impl Module {
    pub(super) fn fits(&self, container: &Container) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.hash == container.hash)
    }

    pub(super) fn holds(&self) -> Option<&Container> {
        match &self.state {
            State::Unknown | State::Creating { .. } => None,
            State::BackOff { container, .. } => container.as_ref(),
            State::Starting(container)
            | State::Running { container, .. }
            | State::Ended(container)
            | State::Stopping { container, .. }
            | State::Removing { container, .. } => Some(container),
        }
    }

    /// Whether the restart policy starts it again after it ended with `code`.
    pub(super) fn starts_again(&self, code: i64) -> bool {
        match self.wanted.as_ref().map(|wanted| wanted.spec.restart) {
            None | Some(Restart::No) => false,
            Some(Restart::Always | Restart::UnlessStopped) => true,
            Some(Restart::OnFailure { max_retries }) => {
                code != 0 && max_retries.is_none_or(|most| self.failures < most)
            }
        }
    }

    pub(super) fn report(&mut self, out: &mut Effects<Effect>) {
        if self.wanted.is_none() && matches!(self.state, State::Unknown) {
            *self = Self::default();
            return out.push(Effect::Gone);
        }
        let status = ModuleStatus {
            state: self.phase(),
            image: self.image.clone(),
            restarts: self.starts.saturating_sub(1),
            exit_code: self.exit_code,
            problem: self.problem.clone(),
            health: self.health,
            output: self.output.clone(),
        };
        if self.reported.as_ref() != Some(&status) {
            self.reported = Some(status.clone());
            let hash = self.wanted.as_ref().map(|wanted| wanted.hash.clone()).unwrap_or_default();
            out.push(Effect::Report(status, hash));
        }
    }

    fn phase(&self) -> ModuleState {
        match &self.state {
            State::Unknown | State::Creating { .. } => ModuleState::Creating,
            State::Starting(_) => ModuleState::Starting,
            State::Running { .. } => ModuleState::Running,
            State::BackOff { .. } if self.problem.is_empty() => ModuleState::BackOff,
            State::BackOff { .. } | State::Removing { retry_at: Some(_), .. } => ModuleState::Failed,
            State::Ended(_) => ModuleState::Ended,
            State::Stopping { .. } | State::Removing { retry_at: None, .. } => ModuleState::Stopping,
        }
    }

    /// A run begins: its health check, if its release has one, has said nothing yet.
    pub(super) fn forget_health(&mut self) {
        let check = self.wanted.as_ref().and_then(|wanted| wanted.spec.healthcheck.as_ref());
        self.health = check.filter(|check| !check.is_none()).map(|_| Health::Starting);
        self.output.clear();
    }

    /// What the engine says of the container's health. What a list says may be older than an event.
    pub(super) fn hears_of_health(&mut self, health: Option<Health>) {
        if let (State::Running { .. }, Some(health)) = (&self.state, health) {
            self.health = Some(health);
        }
        if self.health != Some(Health::Unhealthy) {
            self.output.clear();
        }
    }
}
