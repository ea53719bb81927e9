//! The state directory: locked against a second process, with the cloud's key, its tokens, and the
//! fleet that it serves.
//!
//! ```text
//! lock            held while the service runs
//! cloud.key       the cloud's Ed25519 seed, base32     0600
//! api.token       opens the API and the page           0600
//! join.token      lets a new device in                 0600
//! fleet, fleet.copy    the fleet's roots, see cloud/roots
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

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use subtle::ConstantTimeEq;
use wayside_actors::cloud::fleet::Granted;
use wayside_config::{
    fleet::Pinned,
    identity::{DeviceId, PublicKey},
};

use super::{
    roots::{Known, Refused, Roots},
    store::sync_folder,
};

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
    /// Of another version of the service.
    #[error(
        "{0} is of a wayside-cloud without fleets, whose state this one cannot read: run that version again, or begin anew with another --state and join the devices there"
    )]
    Older(PathBuf),
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
    roots: Roots,
    _lock: File,
}

impl State {
    /// Opens the directory, and makes it and what is missing in it. A `pinned` fleet replaces another that was known.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(folder: &Path, pinned: Option<Pinned>) -> Result<Self, StateError> {
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
            roots: Roots::open(folder, &folder.join(DAMAGED), pinned)?,
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

    /// The fleet that it serves, as far as it is known.
    #[must_use]
    pub fn fleet(&self) -> Known {
        self.roots.known()
    }

    /// Whether an operator put this device out of the fleet.
    #[must_use]
    pub fn is_revoked(&self, device: &DeviceId) -> bool {
        self.roots.is_revoked(device)
    }

    /// What this device shows to be granted to it, where that counts now.
    pub(super) fn granted(&self, device: &DeviceId, sealed: &[u8], now_ms: u64) -> Option<Granted> {
        self.roots.granted(device, sealed, now_ms)
    }

    /// Whether what was granted to this device does not count any more.
    pub(super) fn is_void(&self, device: &DeviceId, granted: &Granted) -> bool {
        self.roots.is_void(device, granted)
    }

    /// What is wrong with the fleet's roots, for people.
    #[must_use]
    pub fn fleet_problem(&self) -> Option<&'static str> {
        self.roots.problem()
    }

    /// Takes the fleet, its newer roots and what is revoked in, durably. Gives what is known now.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is changed then.
    pub fn introduce(&self, roots: &[Bytes], revocation: Option<Bytes>) -> Result<Known, Refused> {
        self.roots.introduce(roots, revocation)
    }

    /// Keeps the text that holds the links to the page and for devices, for [`read_links`].
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn keep_links(&self, text: &str) -> Result<(), StateError> {
        write(&self.folder.join(LINKS), text.as_bytes())
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
            write(path, format!("{secret}\n").as_bytes())?;
            Ok(secret)
        }
        Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

/// Replaces a file as a whole: after a crash it holds the old or the new.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let replace = || {
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
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
        let first = State::open(folder.path(), None).unwrap();
        let (key, token) = (first.public_key(), first.api_token().to_owned());
        assert_ne!(first.api_token(), first.join_token());
        assert!(matches!(State::open(folder.path(), None), Err(StateError::Locked(_))));
        drop(first);
        let again = State::open(folder.path(), None).unwrap();
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
        drop(State::open(folder.path(), None).unwrap());
        fs::write(folder.path().join("cloud.key"), "short").unwrap();
        let error = State::open(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("cloud.key is damaged"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("cloud.key")).unwrap(), "short");
    }
}
