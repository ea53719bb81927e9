//! What a device may have of a folder when the power goes: of each file what was synced, and of what was written since
//! any sectors; names that came or went, or did not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::store::steps::Step;

const SECTOR: usize = 512;

/// The device's side of a folder.
pub(super) struct Device {
    root: PathBuf,
    /// What was synced of each file, by its path; also of files that went since.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// The names in each folder that was synced.
    names: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Device {
    pub(super) fn new(root: &Path) -> Self {
        let mut device = Self { root: root.into(), synced: BTreeMap::new(), names: BTreeMap::new() };
        for folder in folders(root) {
            device.sync_names(&folder);
        }
        for file in files(root) {
            device.sync_file(&file);
        }
        device
    }

    /// Takes note of what the store did.
    pub(super) fn see(&mut self, step: Step<'_>) {
        match step {
            Step::Wrote(_) => {}
            Step::Synced(path) if path.is_dir() => self.sync_names(path),
            Step::Synced(path) => self.sync_file(path),
            Step::Opened(folder) => files(folder).iter().for_each(|file| self.sync_file(file)),
        }
    }

    fn sync_file(&mut self, path: &Path) {
        if let Ok(bytes) = fs::read(path) {
            self.synced.insert(path.into(), bytes);
        }
    }

    fn sync_names(&mut self, folder: &Path) {
        let names = entries(folder);
        self.synced.retain(|path, _| path.parent() != Some(folder) || names.contains(path));
        self.names.insert(folder.into(), names);
    }

    /// Makes a folder of what the device may have now.
    pub(super) fn crash(&self, to: &Path, dice: &mut Dice) {
        // How bad it is: everything written is there, nothing, or any sectors.
        let how = dice.below(4);
        let mut paths: BTreeSet<PathBuf> = files(&self.root).into_iter().collect();
        paths.extend(self.synced.keys().cloned());
        let mut folders_there: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in paths {
            let mut is_there = true;
            let mut at = path.as_path();
            while at != self.root {
                let fate = self.fate(at, how, dice);
                is_there &= if at.is_dir() || at != path {
                    *folders_there.entry(at.into()).or_insert(fate)
                } else {
                    fate
                };
                at = at.parent().unwrap();
            }
            if !is_there {
                continue;
            }
            let target = to.join(path.strip_prefix(&self.root).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let synced = self.synced.get(&path).cloned().unwrap_or_default();
            let now = fs::read(&path).unwrap_or_else(|_| synced.clone());
            fs::write(target, torn(&synced, &now, how, dice)).unwrap();
        }
    }

    /// Whether a name is there.
    fn fate(&self, path: &Path, how: u64, dice: &mut Dice) -> bool {
        let was =
            path.parent().and_then(|parent| self.names.get(parent)).is_some_and(|names| names.contains(path));
        match (was, path.exists()) {
            (true, true) => true,
            (false, false) => false,
            (was, is) => match how {
                0 => is,
                1 => was,
                _ => dice.one_in(2),
            },
        }
    }
}

/// `synced` with some of the sectors in which `now` differs from it.
fn torn(synced: &[u8], now: &[u8], how: u64, dice: &mut Dice) -> Vec<u8> {
    match how {
        0 => return now.to_vec(),
        1 => return synced.to_vec(),
        _ => {}
    }
    let len = match dice.below(3) {
        0 => synced.len(),
        1 => now.len(),
        _ => {
            let (low, high) = (synced.len().min(now.len()), synced.len().max(now.len()));
            low + dice.below((high - low) as u64 + 1) as usize
        }
    };
    let mut out = synced.to_vec();
    // What a file grew by and no data came for is nothing, or what was on the device before.
    let garbage = dice.one_in(2);
    while out.len() < len {
        out.push(if garbage { dice.next() as u8 } else { 0 });
    }
    out.truncate(len);
    let part = 1 + dice.below(8);
    for from in (0..len.min(now.len())).step_by(SECTOR) {
        let end = (from + SECTOR).min(len).min(now.len());
        if out[from..end] != now[from..end] && dice.below(9) < part {
            out[from..end].copy_from_slice(&now[from..end]);
        }
    }
    out
}

fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder)
        .map(|all| all.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for path in entries(root).into_iter().filter(|path| path.is_dir()) {
        found.extend(folders(&path));
    }
    found
}

/// Every file below `root`.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    folders(root).iter().flat_map(|folder| entries(folder)).filter(|path| path.is_file()).collect()
}
