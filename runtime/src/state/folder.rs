//! The state directory: made on first start, and one daemon's alone while it runs.

use std::{
    env, fs, io,
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::is_full;

/// A state directory that this process holds. Released when dropped.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: fs::File,
}

/// Why the state directory is not usable.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon holds it.
    #[error(
        "another daemon (process {pid}) runs on {path}: stop it first, or give this one a directory of its own with --state"
    )]
    Held {
        /// What it wrote into its lock, or `unknown`.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made or written.
    #[error("cannot use the state directory {path}: {error}; {}", advice(.error))]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

impl StateFolder {
    /// Makes the directory if there is none (readable by its owner only) and takes its lock.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: path.into(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mut options = fs::OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = lock.open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message: a lock without a readable number is a lock all the same.
                let _ = lock.take(20).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".into() } else { pid.trim().into() };
                return Err(OpenError::Held { pid, path: path.into() });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For whoever is refused. A full disk must not keep the daemon from starting.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket that `wayside status` and others talk to.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        control_socket(&self.path)
    }

    /// The queue store's own directory.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where damaged files go.
    #[must_use]
    pub fn damaged(&self) -> PathBuf {
        self.path.join("damaged")
    }
}

/// Where a daemon keeps its state when nobody says otherwise.
#[must_use]
pub fn default_folder() -> PathBuf {
    wayside_host::state_folder("wayside")
}

/// Where a daemon keeps what must not be on a disk, when nobody says otherwise.
#[must_use]
pub fn default_memory() -> PathBuf {
    let of_user = || env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if rustix::process::geteuid().is_root() { None } else { of_user() };
    folder.unwrap_or_else(|| PathBuf::from("/run")).join("wayside")
}

/// The socket that the daemon on the state directory `folder` answers commands on.
#[must_use]
pub fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    if kind == Kind::PermissionDenied {
        "run as a user who may write there, or choose another with --state"
    } else if is_full(error) {
        "the disk is full: free some space"
    } else if kind == Kind::ReadOnlyFilesystem {
        "the file system is read-only: choose another directory with --state"
    } else {
        "choose another with --state"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = StateFolder::open(&path).unwrap();
        let refusal = StateFolder::open(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("(process {})", std::process::id())), "{refusal}");
        drop(first);
        StateFolder::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refusal = StateFolder::open(&file.join("state")).unwrap_err().to_string();
        assert!(refusal.contains("--state"), "{refusal}");
    }
}
