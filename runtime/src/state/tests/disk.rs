//! A disk as it may be when the power goes: it has what was synced, and of the rest as much as it likes.
//!
//! Names come onto it in their order, as a journal writes them; of a file that was not synced since it was written there may be what was
//! synced before, nothing, the beginning, zeros of its length, or all.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use wayside_config::hash::sha256;

use crate::state::steps::Step;

/// Chance that a seed decides.
pub(super) struct Dice {
    pub(super) seed: u64,
    pub(super) thrown: u64,
}

impl Dice {
    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.thrown += 1;
        let hash = sha256(&[self.seed.to_le_bytes(), self.thrown.to_le_bytes()].concat());
        let number = u64::from_le_bytes(hash[..8].try_into().unwrap());
        usize::try_from(number % end as u64).unwrap()
    }
}

/// What was done and is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct File {
    written: Vec<u8>,
    synced: Vec<u8>,
}

/// The disk under one folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    /// Which file each name is for sure.
    names: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
}

impl Disk {
    pub(super) fn see(&mut self, step: Step<'_>) {
        match step {
            Step::Wrote(path, bytes) => {
                let file = self.seen(self.pending.len()).get(path).copied().unwrap_or_else(|| {
                    self.files.push(File::default());
                    self.pending.push(Change::Link(path.into(), self.files.len() - 1));
                    self.files.len() - 1
                });
                self.files[file].written = bytes.to_vec();
            }
            Step::Synced(path) => {
                let file = self.seen(self.pending.len())[path];
                self.files[file].synced = self.files[file].written.clone();
            }
            Step::Renamed(from, to) => self.pending.push(Change::Rename(from.into(), to.into())),
            Step::Removed(path) => self.pending.push(Change::Unlink(path.into())),
            Step::SyncedFolder(folder) => {
                let (durable, pending) = self.pending.drain(..).partition(|change| {
                    let (Change::Link(path, _) | Change::Rename(path, _) | Change::Unlink(path)) = change;
                    path.parent() == Some(folder)
                });
                self.pending = pending;
                let durable: Vec<Change> = durable;
                durable.iter().for_each(|change| apply(&mut self.names, change));
            }
        }
    }

    /// The names when so many of the changes that are pending have come onto the disk.
    fn seen(&self, changes: usize) -> BTreeMap<PathBuf, usize> {
        let mut names = self.names.clone();
        self.pending[..changes].iter().for_each(|change| apply(&mut names, change));
        names
    }

    /// The power goes: makes in `folder` what may be there of `of` then.
    pub(super) fn crash(&self, of: &Path, folder: &Path, dice: &mut Dice) {
        for (name, file) in self.seen(dice.below(self.pending.len() + 1)) {
            let File { written, synced } = &self.files[file];
            let bytes = match dice.below(5) {
                _ if written == synced => written.clone(),
                0 => synced.clone(),
                1 => Vec::new(),
                2 => written[..written.len() / 2].to_vec(),
                3 => vec![0; written.len()],
                _ => written.clone(),
            };
            let path = folder.join(name.strip_prefix(of).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Link(path, file) => {
            names.insert(path.clone(), *file);
        }
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Unlink(path) => {
            names.remove(path);
        }
    }
}
