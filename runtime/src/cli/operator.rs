//! The operator: a key, made at first use and read ever after, and the fleet that it signs for.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use clap::Args;
use ed25519_dalek::SigningKey;
use wayside_config::{
    cosign::{self, CosignError, Document},
    document::{Grant, Revocation},
    fleet::Fleet,
    rule::verify_grant,
    signer::Signer,
    statefile,
};

use super::{
    failure::Failure,
    fleet_file::FleetFile,
    locked::{self, is_locked},
    output,
    passphrase::Passphrase,
    wait::now_ms,
};
use crate::control::Present;

const KIND: &str = "operator.key";
const VERSION: u16 = 1;

/// An operator's key, which TLS may use on any thread.
pub(super) type Key = Arc<dyn Signer + Send + Sync>;

/// A fleet, and the sealed list of what is revoked in it.
type OfFile = (Fleet, Option<Vec<u8>>, Option<Revocation>);

/// Which key signs, and for which fleet.
#[derive(Clone, Debug, Args)]
pub(super) struct KeyFile {
    /// The operator's key [default: ~/.config/wayside/operator.key, which is made when there is none]
    #[arg(long, value_name = "FILE", env = "WAYSIDE_OPERATOR_KEY")]
    operator_key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// The fleet's roots; without the file the fleet is that of the key alone [default: beside the key, as *.fleet]
    #[arg(long, value_name = "FILE", env = "WAYSIDE_FLEET_FILE")]
    fleet_file: Option<PathBuf>,
}

/// Somebody who signs for a fleet.
pub(super) struct Operator {
    pub(super) signer: Key,
    /// As far as the operator knows its roots.
    pub(super) fleet: Fleet,
    /// The sealed list of what does not count any more.
    pub(super) revocation: Option<Vec<u8>>,
    /// What the fleet's file says to be revoked, also while others still have to sign that: it is all of before, and more.
    pub(super) says: Option<Revocation>,
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

    /// Where the fleet's roots are, if there is more than one key to it.
    pub(super) fn fleet_path(&self) -> Result<PathBuf, Failure> {
        match &self.fleet_file {
            Some(path) => Ok(path.clone()),
            None => Ok(self.path()?.with_extension("fleet")),
        }
    }

    /// Reads the key. Where none is and none was named, makes one and says so on stderr.
    pub(super) fn load(&self) -> Result<Key, Failure> {
        match (self.existing()?, &self.operator_key) {
            (Some(key), _) => Ok(key),
            (None, None) => self.make(None),
            // A name that was mistyped is no wish for another key.
            (None, Some(path)) => Err(Failure::Failed(format!(
                "there is no operator's key {0}\nhelp: `wayside key --operator-key {0}` makes one, `wayside key new --operator-key {0}` one that a passphrase locks",
                path.display()
            ))),
        }
    }

    /// Reads the key, or makes one wherever it was named.
    pub(super) fn load_or_make(&self) -> Result<Key, Failure> {
        match self.existing()? {
            Some(key) => Ok(key),
            None => self.make(None),
        }
    }

    /// Reads the key, if there is one.
    pub(super) fn existing(&self) -> Result<Option<Key>, Failure> {
        self.read(|| self.passphrase.ask("the passphrase of the operator's key"))
    }

    /// The operator, with the key made where there is none.
    pub(super) fn operator(&self) -> Result<Operator, Failure> {
        self.operator_of(self.load()?)
    }

    /// The operator whose key was read already.
    pub(super) fn operator_of(&self, signer: Key) -> Result<Operator, Failure> {
        let (fleet, revocation, says) = match self.of_file()? {
            Some(known) => known,
            None => {
                let fleet = Fleet::of_one(&*signer).map_err(|error| Failure::Failed(error.to_string()))?;
                (fleet, None, None)
            }
        };
        Ok(Operator { signer, fleet, revocation, says })
    }

    /// The fleet, for which no key is asked where a file says what it is, and none is made.
    pub(super) fn fleet(&self) -> Result<Fleet, Failure> {
        if let Some((fleet, _, _)) = self.of_file()? {
            return Ok(fleet);
        }
        let Some(key) = self.existing()? else {
            return Err(Failure::Failed(format!(
                "there is no fleet {} and no operator's key {}: name one with --fleet-file or --operator-key",
                self.fleet_path()?.display(),
                self.path()?.display()
            )));
        };
        Fleet::of_one(&*key).map_err(|error| Failure::Failed(error.to_string()))
    }

    /// The fleet and the list of what is revoked, as far as the fleet's file has them.
    fn of_file(&self) -> Result<Option<OfFile>, Failure> {
        let path = self.fleet_path()?;
        let Some(file) = FleetFile::read(&path)? else { return Ok(None) };
        // A next root that still lacks signatures does not count yet.
        let fleet = match file.parts(&path)? {
            (Some(fleet), _) => fleet,
            (None, _) => file.fleet(&path)?,
        };
        let says = file.revocation.as_ref().and_then(|sealed| cosign::peek::<Revocation>(sealed).ok());
        // One that still lacks signatures no device would take.
        let whole = |sealed: &Bytes| fleet.verify::<Revocation>(sealed).is_ok();
        let revocation = [file.revocation, file.in_force].into_iter().flatten().find(whole).map(Into::into);
        Ok(Some((fleet, revocation, says)))
    }

    /// Makes a key that a passphrase locks.
    pub(super) fn make_locked(&self) -> Result<Key, Failure> {
        let path = self.path()?;
        if path.exists() {
            let text = format!(
                "there is {} already: move it away, or name another file with --operator-key",
                path.display()
            );
            return Err(Failure::Failed(text));
        }
        self.make(Some(&self.passphrase.choose()?))
    }

    fn make(&self, passphrase: Option<&str>) -> Result<Key, Failure> {
        let path = self.path()?;
        let mut secret = [0; 32];
        let random = |error: getrandom::Error| io::Error::other(error.to_string());
        let written = getrandom::fill(&mut secret).map_err(random).and_then(|()| {
            let plain = statefile::encode(KIND, VERSION, &secret);
            let bytes = match passphrase {
                Some(passphrase) => {
                    locked::lock(&plain, passphrase, locked::WORK).map_err(io::Error::other)?
                }
                None => plain,
            };
            write(&path, &bytes)
        });
        if let Err(error) = written {
            let text = format!(
                "cannot write an operator's key to {}: {error}; choose a place with --operator-key",
                path.display()
            );
            return Err(Failure::Failed(text));
        }
        output::note(&format!(
            "made the operator's key {}: devices that obey it run what it signs, so keep it safe",
            path.display()
        ));
        Ok(Arc::new(SigningKey::from_bytes(&secret)))
    }

    fn read(&self, passphrase: impl FnOnce() -> Result<String, Failure>) -> Result<Option<Key>, Failure> {
        let path = self.path()?;
        let broken = |error: String| {
            let path = path.display();
            Failure::Failed(format!(
                "the operator's key {path}: {error}; bring back a copy of it, or move it away to have a new one made"
            ))
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) if is_locked(&bytes) => {
                let wrong =
                    |error| Failure::Failed(format!("the operator's key {}: {error}", path.display()));
                locked::unlock(&bytes, &passphrase()?).map_err(wrong)?
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let path = path.display();
                return Err(Failure::Failed(format!("cannot read the operator's key {path}: {error}")));
            }
        };
        let secret: [u8; 32] =
            statefile::decode(KIND, VERSION, &bytes).map_err(|error| broken(error.to_string()))?;
        Ok(Some(Arc::new(SigningKey::from_bytes(&secret))))
    }
}

impl Operator {
    /// Signs a document that this operator's signature is enough for.
    pub(super) fn seal<T: Document>(&self, document: &T) -> Result<Vec<u8>, Failure> {
        let sealed = self.sign(document)?;
        self.check::<T>(&sealed)?;
        Ok(sealed)
    }

    /// Signs a document that others may have to sign too.
    pub(super) fn sign<T: Document>(&self, document: &T) -> Result<Vec<u8>, Failure> {
        cosign::seal(&self.fleet.id(), document, &*self.signer).map_err(|error| refused(&error))
    }

    /// Whether enough have signed for devices to take it. Gives what it says.
    pub(super) fn check<T: Document>(&self, sealed: &[u8]) -> Result<T, Failure> {
        self.fleet.verify(sealed).map(|(_, document)| document).map_err(|error| refused(&error))
    }

    /// The grant, when it counts in the fleet now.
    pub(super) fn granted(&self, sealed: &[u8]) -> Option<Grant> {
        let (grant, under) = verify_grant(&self.fleet, sealed).ok()?;
        let under = under.as_ref().map(|signed| (&signed.id, &signed.rule.by));
        let is_out = self.says.as_ref().is_some_and(|list| list.is_void(&grant.device, under));
        (!is_out && !grant.has_expired(now_ms())).then_some(grant)
    }

    /// What is granted to a device that says who it is.
    pub(super) fn grant_of(&self, device: &Present) -> Option<Grant> {
        let sealed = device.grant.as_ref()?;
        self.granted(&sealed.0).filter(|grant| grant.device == device.device)
    }

    /// Whether a device waits that this fleet may admit.
    pub(super) fn awaits(&self, device: &Present) -> bool {
        device.fleet.is_none_or(|fleet| fleet == self.fleet.id()) && self.grant_of(device).is_none()
    }

    /// One operator alone.
    #[cfg(test)]
    pub(super) fn alone(key: SigningKey) -> Self {
        let fleet = Fleet::of_one(&key).unwrap();
        Self { signer: Arc::new(key), fleet, revocation: None, says: None }
    }
}

fn refused(error: &CosignError) -> Failure {
    let help = match error {
        CosignError::Threshold { .. } => {
            "; write it with `--out FILE`, let others add their signatures with `wayside sign FILE`, then apply that file"
        }
        CosignError::TooLarge { .. }
        | CosignError::Malformed(_)
        | CosignError::BadSignature(_)
        | CosignError::Again(_)
        | CosignError::Signer(_) => "",
    };
    Failure::Failed(format!("no device of the fleet would take it: {error}{help}"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wayside_config::{
        cbor,
        cosign::Kind,
        fleet::{Roles, Root},
        hash::sha256,
        identity::{DeviceId, FleetId},
        quorum::Quorum,
    };

    use super::*;

    fn key_file(path: &Path, passphrase: Passphrase) -> KeyFile {
        KeyFile { operator_key: Some(path.to_owned()), passphrase, fleet_file: None }
    }

    #[test]
    fn the_key_is_made_once_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/operator.key");
        let file = key_file(&path, Passphrase::default());
        assert!(matches!(file.load(), Err(Failure::Failed(text)) if text.contains("wayside key")));
        assert!(matches!(file.fleet(), Err(Failure::Failed(text)) if text.contains("--fleet-file")));
        assert!(!path.exists(), "who only looks makes no key");
        let first = file.load_or_make().unwrap().key();
        assert_eq!(file.load().unwrap().key(), first);
        assert_eq!(file.operator().unwrap().fleet.id(), Fleet::id_of_one(first));
        assert_eq!(file.fleet().unwrap().id(), Fleet::id_of_one(first));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "x").unwrap();
        assert!(matches!(file.load(), Err(Failure::Failed(text)) if text.contains("operator.key")));
    }

    #[test]
    fn who_is_on_a_list_that_others_still_have_to_sign_is_granted_nothing_here() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet");
        let anna = KeyFile {
            fleet_file: Some(file.clone()),
            ..key_file(&folder.path().join("operator.key"), Passphrase::default())
        };
        let (first, second) = (anna.load_or_make().unwrap(), SigningKey::from_bytes(&[2; 32]));
        let mut keys = vec![first.key(), Signer::key(&second)];
        keys.sort_unstable();
        let both = Quorum::new(keys, 2).unwrap();
        let root =
            Root { version: 1, issued_ms: 1, expires_ms: None, previous: None, roles: Roles::all(&both) };
        let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
        let sign = |kind, sealed: Vec<u8>| cosign::add(kind, &id, &sealed, &second).unwrap();
        let root = sign(Kind::Root, cosign::seal(&id, &root, &*first).unwrap());
        let device = DeviceId::from_bytes([9; 32]);
        let grant = Grant {
            device,
            version: 1,
            issued_ms: 1,
            expires_ms: None,
            name: "ewr".into(),
            labels: Default::default(),
            site: None,
            under: None,
        };
        let grant = sign(Kind::Grant, cosign::seal(&id, &grant, &*first).unwrap());
        let has = |revocation: Option<Bytes>, in_force: Option<Bytes>| {
            FleetFile { roots: vec![root.clone().into()], revocation, in_force }.write(&file).unwrap();
            let operator = anna.operator().unwrap();
            (operator.granted(&grant).is_some(), operator.revocation)
        };
        assert_eq!(has(None, None), (true, None));
        let list = Revocation { version: 1, issued_ms: 1, devices: vec![device], documents: vec![] };
        let draft = cosign::seal(&id, &list, &*first).unwrap();
        assert_eq!(has(Some(draft.clone().into()), None), (false, None));
        // Devices are given the list before until enough have signed this one.
        let before = Revocation { version: 0, devices: vec![], ..list };
        let before = sign(Kind::Revocation, cosign::seal(&id, &before, &*first).unwrap());
        assert_eq!(
            has(Some(draft.clone().into()), Some(before.clone().into())),
            (false, Some(before.clone()))
        );
        let whole = sign(Kind::Revocation, draft);
        assert_eq!(has(Some(whole.clone().into()), Some(before.into())), (false, Some(whole)));
    }

    #[test]
    fn a_locked_key_needs_its_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        let said = |text: &str| {
            let file = folder.path().join("passphrase");
            fs::write(&file, text).unwrap();
            key_file(&path, Passphrase::from_file(file))
        };
        let made = said("correct horse\n").make_locked().unwrap().key();
        assert!(is_locked(&fs::read(&path).unwrap()));
        assert_eq!(said("correct horse").load().unwrap().key(), made);
        assert!(matches!(said("wrong").load(), Err(Failure::Failed(text)) if text.contains("passphrase")));
        assert!(
            matches!(said("correct horse").make_locked(), Err(Failure::Failed(text)) if text.contains("already"))
        );
    }
}
