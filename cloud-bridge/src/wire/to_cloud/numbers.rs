//! States as the numbers that stand for them on the wire. A number is never given to another state.

use wayside_actors::report::{Health, ModuleState, Phase};

use crate::codec::CodecError;

pub(super) const fn state_number(state: ModuleState) -> u64 {
    match state {
        ModuleState::Creating => 0,
        ModuleState::Starting => 1,
        ModuleState::Running => 2,
        ModuleState::BackOff => 3,
        ModuleState::Ended => 4,
        ModuleState::Stopping => 5,
        ModuleState::Failed => 6,
    }
}

pub(super) fn state(number: u64) -> Result<ModuleState, CodecError> {
    Ok(match number {
        0 => ModuleState::Creating,
        1 => ModuleState::Starting,
        2 => ModuleState::Running,
        3 => ModuleState::BackOff,
        4 => ModuleState::Ended,
        5 => ModuleState::Stopping,
        6 => ModuleState::Failed,
        _ => return Err(CodecError::Expected("a module's state that this version knows")),
    })
}

pub(super) const fn phase_number(phase: Phase) -> u64 {
    match phase {
        Phase::Preparing => 0,
        Phase::Switching => 1,
        Phase::Probation => 2,
        Phase::RollingBack => 3,
        Phase::Running => 4,
    }
}

pub(super) fn phase(number: u64) -> Result<Phase, CodecError> {
    Ok(match number {
        0 => Phase::Preparing,
        1 => Phase::Switching,
        2 => Phase::Probation,
        3 => Phase::RollingBack,
        4 => Phase::Running,
        _ => return Err(CodecError::Expected("a workload's phase that this version knows")),
    })
}

pub(super) const fn health_number(health: Health) -> u64 {
    match health {
        Health::Starting => 0,
        Health::Healthy => 1,
        Health::Unhealthy => 2,
    }
}

pub(super) fn health(number: u64) -> Result<Health, CodecError> {
    Ok(match number {
        0 => Health::Starting,
        1 => Health::Healthy,
        2 => Health::Unhealthy,
        _ => return Err(CodecError::Expected("a module's health that this version knows")),
    })
}
