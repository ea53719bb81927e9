//! The desired state on this device's own disk.

use std::io;

use wayside_actors::frame::Desired;

use crate::{
    state::{Found, StateFolder},
    trust::{self, Verified},
};

const FILE: &str = "desired";
const VERSION: u16 = 2;

/// Replaces it as a whole.
///
/// # Errors
/// It is as it was before.
pub(crate) fn save(state: &StateFolder, desired: &Desired) -> io::Result<()> {
    state.write(FILE, VERSION, desired)
}

/// Reads it. What is damaged is saved aside.
#[must_use]
pub(crate) fn load(state: &StateFolder) -> Found<Verified> {
    const MEANING: &str = "containers that run are left alone until something is applied again";
    match state.read::<Desired>(FILE, VERSION) {
        Found::Nothing => Found::Nothing,
        Found::Damaged(problem) => Found::Damaged(format!("{problem}; {MEANING}")),
        Found::Whole(desired) => match trust::reopen(desired) {
            Ok(verified) => Found::Whole(verified),
            Err(error) => Found::Damaged(format!("{}; {MEANING}", state.set_aside(FILE, &error.to_string()))),
        },
    }
}
