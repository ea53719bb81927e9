//! Which images this device got, on its own disk: it removes no others.

use std::io;

use wayside_actors::device::reconciler::Pulled;

use crate::state::{Found, StateFolder};

const FILE: &str = "images";
const VERSION: u16 = 1;

/// Replaces them as a whole.
///
/// # Errors
/// They are as they were before.
pub(crate) fn save(state: &StateFolder, pulled: &Pulled) -> io::Result<()> {
    state.write(FILE, VERSION, pulled)
}

/// Reads them. What is damaged is saved aside; the text is a problem to show, if there is one.
#[must_use]
pub(crate) fn load(state: &StateFolder) -> (Pulled, Option<String>) {
    match state.read(FILE, VERSION) {
        Found::Nothing => (Pulled::default(), None),
        Found::Whole(pulled) => (pulled, None),
        Found::Damaged(problem) => {
            const MEANING: &str = "images that were got until now stay on the device: remove those that nobody uses with `docker image prune --all`";
            (Pulled::default(), Some(format!("{problem}; {MEANING}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_is_saved_aside_and_what_that_means_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(load(&state), (Pulled::default(), None));
        save(&state, &Pulled::default()).unwrap();
        assert_eq!(load(&state).1, None);
        std::fs::write(folder.path().join(FILE), "x").unwrap();
        let problem = load(&state).1.unwrap();
        assert!(problem.contains("damaged/images-") && problem.contains("stay on the device"), "{problem}");
    }
}
