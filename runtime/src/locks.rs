//! Who holds updates back, on this device's own disk: who took a lock was told that it is held.

use std::io;

use wayside_actors::device::reconciler::Locks;

use crate::state::{Found, StateFolder};

const FILE: &str = "locks";
const VERSION: u16 = 1;

/// Replaces them as a whole.
///
/// # Errors
/// They are as they were before.
pub(crate) fn save(state: &StateFolder, locks: &Locks) -> io::Result<()> {
    state.write(FILE, VERSION, locks)
}

/// Reads them. What is damaged is saved aside; the text is a problem to show, if there is one.
#[must_use]
pub(crate) fn load(state: &StateFolder) -> (Locks, Option<String>) {
    match state.read(FILE, VERSION) {
        Found::Nothing => (Locks::default(), None),
        Found::Whole(locks) => (locks, None),
        Found::Damaged(problem) => {
            const MEANING: &str = "nobody holds updates back now: take locks that are still needed again";
            (Locks::default(), Some(format!("{problem}; {MEANING}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_locks_are_saved_aside_and_what_that_means_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(load(&state), (Locks::default(), None));
        save(&state, &Locks::default()).unwrap();
        assert_eq!(load(&state).1, None);
        std::fs::write(folder.path().join(FILE), "x").unwrap();
        let problem = load(&state).1.unwrap();
        assert!(
            problem.contains("damaged/locks-") && problem.contains("nobody holds updates back"),
            "{problem}"
        );
    }
}
