//! Whose releases this cloud takes.
//!
//! The file holds their keys, one a line. Without a file nobody was ever known, and the first operator who
//! applies a release is obeyed. A file without keys means that nobody is until `--operator` names one: that
//! is what a damaged file is replaced by, so that damage is no way in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wayside_config::identity::PublicKey;

use super::state::{StateError, write};

/// The operators whom this cloud obeys.
#[derive(Debug)]
pub(super) struct Operators {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    keys: Vec<PublicKey>,
    /// Whether there is a file.
    is_kept: bool,
}

impl Operators {
    /// Reads the file. A damaged one is moved to the folder `damaged`, and nobody is obeyed then.
    pub(super) fn open(path: &Path, damaged: &Path) -> Result<Self, StateError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        let known = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(at(path)(error)),
            Ok(bytes) => match parse(&bytes) {
                Ok(keys) => Known { keys, is_kept: true },
                Err(reason) => {
                    fs::create_dir_all(damaged).map_err(at(damaged))?;
                    let to = damaged.join(format!("operators-{}", super::clock::wall_ms()));
                    // A copy first: a crash in between leaves the damaged file, not none.
                    fs::copy(path, &to).and_then(|_| fs::File::open(&to)?.sync_all()).map_err(at(&to))?;
                    write(path, "")?;
                    tracing::error!(
                        file = %path.display(), %reason, saved = %to.display(),
                        "the list of operators is damaged and saved aside"
                    );
                    Known { keys: Vec::new(), is_kept: true }
                }
            },
        };
        Ok(Self { path: path.to_owned(), known: Mutex::new(known) })
    }

    /// Their keys.
    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.lock().keys.clone()
    }

    /// What is wrong with them, for people.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let known = self.lock();
        (known.is_kept && known.keys.is_empty()).then_some(
            "the list of operators was damaged: what is assigned goes on, but no release is taken until wayside-cloud is started with --operator KEY",
        )
    }

    /// Adds those of `keys` that are new, durably.
    pub(super) fn add(&self, keys: &[PublicKey]) -> Result<(), StateError> {
        self.extend(&mut self.lock(), keys)
    }

    /// Makes `key` the first operator, when none was ever known; gives whether it is one now.
    pub(super) fn admit(&self, key: PublicKey) -> Result<bool, StateError> {
        let mut known = self.lock();
        if !known.is_kept {
            self.extend(&mut known, &[key])?;
            tracing::info!(%key, "obeying the operator of the first release; others need --operator");
        }
        Ok(known.keys.contains(&key))
    }

    fn extend(&self, known: &mut Known, keys: &[PublicKey]) -> Result<(), StateError> {
        let mut all = known.keys.clone();
        all.extend(keys);
        all.sort_unstable();
        all.dedup();
        if all != known.keys {
            let text: String = all.iter().map(|key| format!("{key}\n")).collect();
            write(&self.path, &text)?;
            *known = Known { keys: all, is_kept: true };
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<PublicKey>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let keys = text.lines().enumerate().map(|(index, line)| {
        line.parse::<PublicKey>().map_err(|error| format!("line {}: {error}", index + 1))
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [PublicKey; 2] = [PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32])];

    fn open(folder: &Path) -> Operators {
        Operators::open(&folder.join("operators"), &folder.join("damaged")).unwrap()
    }

    #[test]
    fn the_first_operator_is_obeyed_and_then_only_those_that_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = KEYS;
        let operators = open(folder.path());
        assert!(operators.admit(one).unwrap());
        assert!(!operators.admit(two).unwrap());
        operators.add(&[two]).unwrap();
        assert_eq!(open(folder.path()).keys(), [one, two]);
    }

    #[test]
    fn a_damaged_list_lets_nobody_in_until_one_is_named() {
        let [one, two] = KEYS;
        for damaged in [format!("{one}\n{}", &two.to_string()[1..]).into_bytes(), vec![0xff; 7], Vec::new()] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("operators"), &damaged).unwrap();
            // Also at the next start, when the damaged file is no longer there.
            for _ in 0..2 {
                let operators = open(folder.path());
                assert!(!operators.admit(one).unwrap() && !operators.admit(two).unwrap());
                assert!(operators.problem().is_some_and(|problem| problem.contains("--operator KEY")));
            }
            if !damaged.is_empty() {
                let saved = fs::read_dir(folder.path().join("damaged")).unwrap().next().unwrap().unwrap();
                assert_eq!(fs::read(saved.path()).unwrap(), damaged);
            }
            let operators = open(folder.path());
            operators.add(&[two]).unwrap();
            assert!(operators.admit(two).unwrap() && !operators.admit(one).unwrap());
            assert_eq!(operators.problem(), None);
            assert_eq!(open(folder.path()).keys(), [two]);
        }
    }
}
