//! Small files that are whole or not there: written aside, synced, renamed; damaged ones saved.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, de::DeserializeOwned};
use wayside_config::{
    limits::STATE_FILE_BYTES,
    statefile::{self, StateFileError},
};

use super::{
    StateFolder,
    steps::{self, Step},
};

/// What a state file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There is none.
    Nothing,
    /// It is whole.
    Whole(T),
    /// It was damaged and is saved aside. In words, with what it means.
    Damaged(String),
}

impl StateFolder {
    /// Reads the file `name`. One that cannot be read is moved to `damaged/`, so that the daemon
    /// comes up with the rest and nothing is lost for whoever wants to look.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self, name: &str, version: u16) -> Found<T> {
        let path = self.path().join(name);
        let read = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > STATE_FILE_BYTES as u64 => {
                Err(format!("it has {} bytes, more than any state file", metadata.len()))
            }
            Ok(_) => fs::read(&path).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => Err(error.to_string()),
        };
        let decoded =
            read.and_then(|bytes| statefile::decode(name, version, &bytes).map_err(|e| e.to_string()));
        match decoded {
            Ok(value) => Found::Whole(value),
            Err(reason) => Found::Damaged(self.set_aside(name, &reason)),
        }
    }

    /// Whether the file `name` may be taken for damaged, where it is not whole: the disk gave its bytes, and no daemon of another
    /// version wrote it. To be asked of what a device cannot do without before it goes on without it.
    ///
    /// # Errors
    /// It may be whole, and is left alone.
    pub fn can_be_judged(&self, name: &str, version: u16) -> io::Result<()> {
        let path = self.path().join(name);
        let about = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), about(&error))),
            Ok(bytes) => match statefile::decode::<serde::de::IgnoredAny>(name, version, &bytes) {
                Err(error @ StateFileError::UnknownVersion { .. }) => Err(io::Error::other(about(&error))),
                Ok(_)
                | Err(
                    StateFileError::Truncated | StateFileError::Damaged(_) | StateFileError::WrongKind { .. },
                ) => Ok(()),
            },
        }
    }

    /// Replaces the file `name`, which may be in a folder of this one that is there, as a whole. It is on the disk when this returns. Readable by its
    /// owner only. A full disk takes of the reserve as long as there is any.
    ///
    /// # Errors
    /// The file is as it was before.
    pub fn write<T: Serialize>(&self, name: &str, version: u16, value: &T) -> io::Result<()> {
        within(name)?;
        let bytes = statefile::encode(name, version, value);
        loop {
            match self.replace(name, &bytes) {
                Err(error) if is_full(&error) && self.spend_reserve(bytes.len()) => {}
                written => return written,
            }
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.path().join(format!("{name}.new"));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        steps::at(Step::Wrote(&new, bytes));
        file.sync_all()?;
        steps::at(Step::Synced(&new));
        let path = self.path().join(name);
        fs::rename(&new, &path)?;
        steps::at(Step::Renamed(&new, &path));
        sync_folder(path.parent().unwrap_or(self.path()))
    }

    /// Removes the file `name`, if it is there. It is gone from the disk when this returns.
    ///
    /// # Errors
    /// The system's word.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        within(name)?;
        let path = self.path().join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => steps::at(Step::Removed(&path)),
        }
        sync_folder(path.parent().unwrap_or(self.path()))
    }

    /// The folder `name` in this one, made when it is not there; for its owner only.
    ///
    /// # Errors
    /// The system's word.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        fs::File::open(self.path())?.sync_all()?;
        Ok(path)
    }

    /// Moves the file `name` to `damaged/`. Gives that in words.
    pub fn set_aside(&self, name: &str, reason: &str) -> String {
        let path = self.path().join(name);
        let aside = self.damaged().join(damaged_name(name));
        let moved = fs::create_dir_all(self.damaged()).and_then(|()| fs::rename(&path, &aside));
        let saved = match moved {
            Ok(()) => format!("it is saved as {}", aside.display()),
            Err(error) => format!("and it could not be moved to {}: {error}", aside.display()),
        };
        tracing::error!(file = %path.display(), reason, "a state file is damaged; {saved}");
        format!("the state file {} was damaged ({reason}); {saved}", path.display())
    }
}

/// The names in it are on the disk when this returns.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()?;
    steps::at(Step::SyncedFolder(folder));
    Ok(())
}

/// Whether a write failed for want of room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Refuses a name that leads out of the state directory. Names are checked before they come here: this is the second lock.
fn within(name: &str) -> io::Result<()> {
    let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    if !name.is_empty() && std::path::Path::new(name).components().all(plain) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("`{}` is no name of a state file", name.escape_debug()),
    ))
}

/// A name in `damaged/` that tells what it was and when it was saved.
#[must_use]
pub fn damaged_name(name: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", name.replace('/', "-"), now.as_millis()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.read::<String>("desired", 1), Found::Nothing);
        state.write("desired", 1, &"first").unwrap();
        state.write("desired", 1, &"second").unwrap();
        assert_eq!(state.read("desired", 1), Found::Whole("second".to_owned()));
    }

    #[test]
    fn nothing_is_written_or_removed_outside() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state");
        let state = StateFolder::open(&inner).unwrap();
        fs::write(folder.path().join("other"), "text").unwrap();
        for name in ["../other", "a/../../other", "/etc/passwd", "", "."] {
            assert!(state.write(name, 1, &1u8).is_err() && state.remove(name).is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(folder.path().join("other")).unwrap(), "text");
    }

    #[test]
    fn a_damaged_file_is_saved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.write("desired", 1, &"text").unwrap();
        let path = folder.path().join("desired");
        let whole = fs::read(&path).unwrap();
        for damage in [&whole[..whole.len() - 1], b"", b"nonsense"] {
            fs::write(&path, damage).unwrap();
            let Found::Damaged(problem) = state.read::<String>("desired", 1) else { panic!("not noticed") };
            let aside = problem.rsplit_once("saved as ").unwrap().1;
            assert_eq!(fs::read(aside).unwrap(), damage);
            assert!(!path.exists());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
