//! Which images may go from the device: those alone that it got itself, and never one that a version needs that runs, that it
//! may have to go back to, or that is coming.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The images that this device got, and since when nothing needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled(BTreeMap<String, Option<u64>>);

impl Pulled {
    /// Those that there are, by their names in releases.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// This one was missing, and was got.
    pub(super) fn got(&mut self, image: String) {
        self.0.insert(image, None);
    }

    /// It is gone, or somebody else's now.
    pub(super) fn forget(&mut self, image: &str) {
        self.0.remove(image);
    }

    /// Notes which of them are needed now, and gives those that are to go: not needed for `keep_ms`, or, on a disk without room
    /// for others, at all; the oldest first. By the wall clock; one that was set back makes no image old.
    pub(super) fn sweep(
        &mut self,
        needed: &BTreeSet<&str>,
        is_full: bool,
        wall_ms: u64,
        keep_ms: u64,
    ) -> Vec<String> {
        let mut going = Vec::new();
        for (image, unused) in &mut self.0 {
            if needed.contains(image.as_str()) {
                *unused = None;
                continue;
            }
            let since = unused.filter(|since| *since <= wall_ms).unwrap_or(wall_ms);
            *unused = Some(since);
            if is_full || wall_ms - since >= keep_ms {
                going.push((since, image.clone()));
            }
        }
        going.sort();
        going.into_iter().map(|(_, image)| image).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: bool = true;
    const ROOM: bool = false;

    fn pulled(images: &[&str]) -> Pulled {
        let mut pulled = Pulled::default();
        images.iter().for_each(|image| pulled.got((*image).to_owned()));
        pulled
    }

    #[test]
    fn an_image_goes_when_nothing_has_needed_it_for_long() {
        let mut pulled = pulled(&["old", "runs"]);
        let needed = BTreeSet::from(["runs"]);
        assert_eq!(pulled.sweep(&needed, ROOM, 5_000, 1_000), [""; 0]);
        assert_eq!(pulled.sweep(&needed, ROOM, 5_999, 1_000), [""; 0]);
        assert_eq!(pulled.sweep(&needed, ROOM, 6_000, 1_000), ["old"]);
        // Needed again meanwhile: its time begins anew.
        assert_eq!(pulled.sweep(&BTreeSet::from(["old", "runs"]), ROOM, 6_000, 1_000), [""; 0]);
        assert_eq!(pulled.sweep(&needed, ROOM, 7_000, 1_000), [""; 0]);
        assert_eq!(pulled.sweep(&needed, ROOM, 10, 1_000), [""; 0], "the clock was set back");
        assert_eq!(pulled.sweep(&needed, ROOM, 1_010, 1_000), ["old"]);
        pulled.forget("old");
        assert_eq!(pulled.images().collect::<Vec<_>>(), ["runs"]);
    }

    #[test]
    fn on_a_full_disk_all_go_that_nothing_needs_the_oldest_first() {
        let mut pulled = pulled(&["b", "c"]);
        pulled.sweep(&BTreeSet::from(["c"]), ROOM, 1, 1_000);
        pulled.got("a".into());
        pulled.sweep(&BTreeSet::from(["c"]), ROOM, 2, 1_000);
        assert_eq!(pulled.sweep(&BTreeSet::from(["c"]), FULL, 3, 1_000), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn what_is_needed_or_was_not_got_here_never_goes(
            got in prop::collection::btree_set("[a-e]", 0..5),
            needed in prop::collection::btree_set("[a-e]", 0..5),
            sweeps in prop::collection::vec((any::<bool>(), 0u64..5_000), 1..8),
        ) {
            let mut pulled = pulled(&got.iter().map(String::as_str).collect::<Vec<_>>());
            let needed: BTreeSet<&str> = needed.iter().map(String::as_str).collect();
            for (is_full, wall_ms) in sweeps {
                for image in pulled.sweep(&needed, is_full, wall_ms, 1_000) {
                    prop_assert!(got.contains(&image) && !needed.contains(image.as_str()), "{}", image);
                }
            }
        }
    }
}
