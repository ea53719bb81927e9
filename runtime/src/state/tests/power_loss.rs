//! The power goes after any step of any write of a document: it is the old one or the new one, whole, and the new one once the write has
//! returned; no other document is touched. A few here, many with `cargo faults documents`.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc};

use super::disk::{Dice, Disk};
use crate::state::{
    Found, StateFolder,
    steps::{Step, WATCHER},
};

/// All documents go through the same write; some lie in folders.
const NAMES: [&str; 6] = ["desired", "fleet", "grants", "secrets", "workloads/w", "twins/w.sensor"];

const VERSION: u16 = 1;

/// A step as it can be kept.
#[derive(Clone, Debug)]
enum Kept {
    Wrote(PathBuf, Vec<u8>),
    Synced(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    SyncedFolder(PathBuf),
}

impl Kept {
    fn of(step: Step<'_>) -> Self {
        match step {
            Step::Wrote(path, bytes) => Self::Wrote(path.into(), bytes.into()),
            Step::Synced(path) => Self::Synced(path.into()),
            Step::Renamed(from, to) => Self::Renamed(from.into(), to.into()),
            Step::Removed(path) => Self::Removed(path.into()),
            Step::SyncedFolder(path) => Self::SyncedFolder(path.into()),
        }
    }

    fn step(&self) -> Step<'_> {
        match self {
            Self::Wrote(path, bytes) => Step::Wrote(path, bytes),
            Self::Synced(path) => Step::Synced(path),
            Self::Renamed(from, to) => Step::Renamed(from, to),
            Self::Removed(path) => Step::Removed(path),
            Self::SyncedFolder(path) => Step::SyncedFolder(path),
        }
    }
}

/// In crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    runs: u64,
    /// An acknowledged document was not there, or was damaged.
    lost: u64,
    /// It was neither the old one nor the new one.
    other: u64,
}

type Documents = BTreeMap<&'static str, String>;

/// Writes and removes documents; the power goes after each step that `happens` on the disk.
fn run(count: u64, seed: u64, happens: fn(&Kept) -> bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path()).unwrap();
    ["workloads", "twins"].iter().for_each(|name| drop(state.folder(name).unwrap()));
    let steps = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&steps);
    WATCHER.set(Some(Box::new(move |step| seen.borrow_mut().push(Kept::of(step)))));
    let (mut dice, mut disk, mut outcome) = (Dice { seed, thrown: 0 }, Disk::default(), Outcome::default());
    let mut before = Documents::new();
    while outcome.runs < count {
        let mut after = before.clone();
        let name = NAMES[dice.below(NAMES.len())];
        if dice.below(5) == 0 {
            state.remove(name).unwrap();
            after.remove(name);
        } else {
            let value = format!("{}:{}", outcome.runs, "x".repeat(dice.below(9000)));
            state.write(name, VERSION, &value).unwrap();
            after.insert(name, value);
        }
        for step in steps.take().into_iter().filter(happens) {
            disk.see(step.step());
            check(&disk, &mut dice, folder.path(), &[&before, &after], &mut outcome);
        }
        check(&disk, &mut dice, folder.path(), &[&after], &mut outcome);
        before = after;
    }
    WATCHER.set(None);
    outcome
}

/// The power goes, and a daemon starts on what is left: each document has to be as in one of `allowed`.
fn check(disk: &Disk, dice: &mut Dice, of: &std::path::Path, allowed: &[&Documents], outcome: &mut Outcome) {
    let left = tempfile::tempdir().unwrap();
    disk.crash(of, left.path(), dice);
    let state = StateFolder::open(left.path()).unwrap();
    outcome.runs += 1;
    for name in NAMES {
        let is_allowed =
            |found: Option<&String>| allowed.iter().any(|documents| documents.get(name) == found);
        match state.read::<String>(name, VERSION) {
            Found::Whole(value) => outcome.other += u64::from(!is_allowed(Some(&value))),
            Found::Nothing => outcome.lost += u64::from(!is_allowed(None)),
            Found::Damaged(_) => outcome.lost += 1,
        }
    }
}

#[test]
fn power_loss() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (count, seed) = (number("WAYSIDE_FAULTS").unwrap_or(200), number("WAYSIDE_SEED").unwrap_or(1));
    let Outcome { runs, lost, other } = run(count, seed, |_| true);
    println!("\noutcome: {{\"runs\":{runs},\"lost\":{lost},\"doubled\":0,\"misordered\":{other}}}");
    assert_eq!((lost, other), (0, 0));
}

/// That the model finds something where there is something to be found.
#[test]
fn a_step_that_is_left_out_is_noticed() {
    let lost = |happens| run(500, 1, happens).lost;
    assert!(lost(|step| !matches!(step, Kept::Synced(_))) > 50, "files that are not synced");
    assert!(lost(|step| !matches!(step, Kept::SyncedFolder(_))) > 0, "names that are not synced");
}
