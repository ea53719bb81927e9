//! The state directory: locked against a second process, with the cloud's key, its tokens, and the
//! operators whose releases it takes.
//!
//! ```text
//! lock            held while the service runs
//! cloud.key       the cloud's Ed25519 seed, base32     0600
//! api.token       opens the API and the page           0600
//! join.token      lets a new device in                 0600
//! operators       operators' keys, see cloud/operators
//! links           the page and the join link, as of the last start    0600
//! store/          see cloud/store
//! damaged/        what could not be read
//! ```

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use subtle::ConstantTimeEq;
use wayside_config::identity::PublicKey;

use super::{operators::Operators, store::sync_folder};

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system does not let us.
    #[error(
        "{path} cannot be used: {source}; check that the disk has room and that this user may read and write there"
    )]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another wayside-cloud: stop it, or choose another --state")]
    Locked(PathBuf),
    /// A file is not what it should be, and a new one would be another identity.
    #[error(
        "{path} is damaged: {reason}; restore it from a backup, or remove it to begin anew: {consequence}"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What beginning anew means.
        consequence: &'static str,
    },
    /// The system gives no randomness.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Where damaged parts go, in the state directory.
const DAMAGED: &str = "damaged";

/// The file with the links.
const LINKS: &str = "links";

/// The opened state directory.
pub struct State {
    folder: PathBuf,
    key: SigningKey,
    api_token: String,
    join_token: String,
    operators: Operators,
    _lock: File,
}

impl State {
    /// Opens the directory, and makes it and what is missing in it.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        let key = secret(
            &folder.join("cloud.key"),
            "the devices know this cloud by its key and have to be joined again",
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            key: SigningKey::from_bytes(key.as_bytes()),
            api_token: secret(&folder.join("api.token"), "whoever uses the API needs the new token")?
                .to_string(),
            join_token: secret(&folder.join("join.token"), "older join links let nobody in")?.to_string(),
            operators: Operators::open(&folder.join("operators"), &folder.join(DAMAGED))?,
            _lock: lock,
        })
    }

    /// The cloud's key.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The cloud's public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// What opens the API.
    #[must_use]
    pub fn api_token(&self) -> &str {
        &self.api_token
    }

    /// What lets a new device in.
    #[must_use]
    pub fn join_token(&self) -> &str {
        &self.join_token
    }

    /// Where the store is.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Where damaged parts go.
    #[must_use]
    pub fn damaged(&self) -> PathBuf {
        self.folder.join(DAMAGED)
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The operators whose releases are taken. Empty until the first is known.
    #[must_use]
    pub fn operators(&self) -> Vec<PublicKey> {
        self.operators.keys()
    }

    /// What is wrong with the list of operators, for people.
    #[must_use]
    pub fn operators_problem(&self) -> Option<&'static str> {
        self.operators.problem()
    }

    /// Adds those of `keys` that are new, durably.
    ///
    /// # Errors
    /// When they cannot be saved; nothing is changed then.
    pub fn add_operators(&self, keys: &[PublicKey]) -> Result<(), StateError> {
        self.operators.add(keys)
    }

    /// Makes `key` the first operator, when none was ever known; gives whether it is one now.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn admit_operator(&self, key: PublicKey) -> Result<bool, StateError> {
        self.operators.admit(key)
    }

    /// Keeps the text that holds the links to the page and for devices, for [`read_links`].
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn keep_links(&self, text: &str) -> Result<(), StateError> {
        write(&self.folder.join(LINKS), text)
    }
}

/// Without what is secret, for logs.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The links of the cloud that runs, or last ran, on a state directory. Only who may read its secrets gets them.
///
/// # Errors
/// When they cannot be read.
pub fn read_links(folder: &Path) -> Result<String, StateError> {
    let path = folder.join(LINKS);
    fs::read_to_string(&path).map_err(|source| StateError::Io { path, source })
}

/// Whether two secrets are the same, in a time that tells nothing but their lengths.
#[must_use]
pub fn same_secret(given: &str, own: &str) -> bool {
    given.as_bytes().ct_eq(own.as_bytes()).into()
}

/// 32 random bytes, made at first use. Base32 like a key, which they have the size of.
fn secret(path: &Path, consequence: &'static str) -> Result<PublicKey, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().map_err(|_| StateError::Damaged {
            path: path.to_owned(),
            reason: "it does not hold 52 characters of a-z and 2-7".into(),
            consequence,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(StateError::Random)?;
            let secret = PublicKey::from_bytes(bytes);
            write(path, &format!("{secret}\n"))?;
            Ok(secret)
        }
        Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

/// Replaces a file as a whole: after a crash it holds the old or the new.
pub(super) fn write(path: &Path, text: &str) -> Result<(), StateError> {
    let temporary = path.with_extension("new");
    let replace = || {
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), sync_folder)
    };
    replace().map_err(|source| StateError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        let (key, token) = (first.public_key(), first.api_token().to_owned());
        assert_ne!(first.api_token(), first.join_token());
        assert!(matches!(State::open(folder.path()), Err(StateError::Locked(_))));
        drop(first);
        let again = State::open(folder.path()).unwrap();
        again.keep_links("page  p\n").unwrap();
        assert_eq!(read_links(folder.path()).unwrap(), "page  p\n");
        assert!(!format!("{again:?}").contains(&token));
        assert_eq!((again.public_key(), again.api_token()), (key, token.as_str()));
        for name in ["cloud.key", "api.token", "join.token", "links"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_key_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        drop(State::open(folder.path()).unwrap());
        fs::write(folder.path().join("cloud.key"), "short").unwrap();
        let error = State::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cloud.key is damaged"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("cloud.key")).unwrap(), "short");
    }
}
