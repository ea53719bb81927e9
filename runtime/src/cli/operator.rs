//! The operator's key: made at first use, read ever after.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use clap::Args;
use ed25519_dalek::SigningKey;
use wayside_config::{identity::PublicKey, statefile};

use super::{failure::Failure, output};

const KIND: &str = "operator.key";
const VERSION: u16 = 1;

/// Which key signs.
#[derive(Clone, Debug, Args)]
pub(super) struct KeyFile {
    /// The operator's key; made when there is none [default: ~/.config/wayside/operator.key]
    #[arg(long, value_name = "FILE", env = "WAYSIDE_OPERATOR_KEY")]
    operator_key: Option<PathBuf>,
}

impl KeyFile {
    /// Where the key is.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        self.operator_key
            .clone()
            .or_else(|| Some(folder("XDG_CONFIG_HOME")?.join("wayside/operator.key")))
            .or_else(|| Some(folder("HOME")?.join(".config/wayside/operator.key")))
            .ok_or_else(|| {
                Failure::Usage(
                    "there is no home directory: say where the operator's key is with --operator-key".into(),
                )
            })
    }

    /// Reads the key, or makes one and says so on stderr.
    pub(super) fn load(&self) -> Result<SigningKey, Failure> {
        match self.existing()? {
            Some(key) => Ok(key),
            None => make(&self.path()?),
        }
    }

    /// Reads the key, if there is one.
    pub(super) fn existing(&self) -> Result<Option<SigningKey>, Failure> {
        let path = self.path()?;
        match fs::read(&path) {
            Ok(bytes) => statefile::decode::<[u8; 32]>(KIND, VERSION, &bytes)
                .map(|secret| Some(SigningKey::from_bytes(&secret)))
                .map_err(|error| {
                    let text = format!("the operator's key {}: {error}; bring back a copy of it, or move it away to have a new one made", path.display());
                    Failure::Failed(text)
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::Failed(format!("cannot read the operator's key {}: {error}", path.display()))),
        }
    }
}

/// What others know a key by.
pub(super) fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from_bytes(key.verifying_key().to_bytes())
}

fn make(path: &Path) -> Result<SigningKey, Failure> {
    let mut secret = [0; 32];
    let written = getrandom::fill(&mut secret)
        .map_err(|error| io::Error::other(error.to_string()))
        .and_then(|()| write(path, &secret));
    if let Err(error) = written {
        let text = format!(
            "cannot write an operator's key to {}: {error}; choose a place with --operator-key",
            path.display()
        );
        return Err(Failure::Failed(text));
    }
    let key = SigningKey::from_bytes(&secret);
    output::note(&format!(
        "made the operator's key {}: devices that obey it run what it signs, so keep it safe",
        path.display()
    ));
    Ok(key)
}

fn write(path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&statefile::encode(KIND, VERSION, secret))?;
    file.sync_all()?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/operator.key");
        let file = KeyFile { operator_key: Some(path.clone()) };
        let first = public(&file.load().unwrap());
        assert_eq!(public(&file.load().unwrap()), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "x").unwrap();
        assert!(matches!(file.load(), Err(Failure::Failed(text)) if text.contains("operator.key")));
    }
}
