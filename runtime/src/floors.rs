//! The highest versions that were taken, on this device's own disk: apart from the desired state, which
//! they outlive.

use std::io;

use wayside_actors::device::reconciler::Floors;

use crate::state::{Found, StateFolder};

const FILE: &str = "versions";
const VERSION: u16 = 1;

/// Replaces them as a whole.
///
/// # Errors
/// They are as they were before.
pub(crate) fn save(state: &StateFolder, floors: &Floors) -> io::Result<()> {
    state.write(FILE, VERSION, floors)
}

/// Reads them. What is damaged is saved aside; the text is a problem to show, if there is one.
#[must_use]
pub(crate) fn load(state: &StateFolder) -> (Floors, Option<String>) {
    match state.read(FILE, VERSION) {
        Found::Nothing => (Floors::default(), None),
        Found::Whole(floors) => (floors, None),
        Found::Damaged(problem) => {
            const MEANING: &str = "only the versions of what runs are known now: an older release of a workload that was taken off would be taken again if it were assigned";
            (Floors::default(), Some(format!("{problem}; {MEANING}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_versions_are_saved_aside_and_what_that_means_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(load(&state), (Floors::default(), None));
        save(&state, &Floors::default()).unwrap();
        assert_eq!(load(&state).1, None);
        std::fs::write(folder.path().join(FILE), "x").unwrap();
        let problem = load(&state).1.unwrap();
        assert!(problem.contains("damaged/versions-") && problem.contains("taken again"), "{problem}");
        assert_eq!(std::fs::read_dir(state.damaged()).unwrap().count(), 1);
    }
}
