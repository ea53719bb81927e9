//! What an operator keeps of a fleet that more than one key makes: its roots, and what is revoked. No secret is in it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    cosign::{self, Kind},
    fleet::Fleet,
    identity::FleetId,
    limits::{CHAIN_BYTES, SEALED_BYTES},
    statefile,
};

use super::failure::Failure;

const KIND: &str = "operator.fleet";
const VERSION: u16 = 1;
/// The chain, both lists of what is revoked, and the frame around them.
const MAX_BYTES: usize = CHAIN_BYTES + 2 * SEALED_BYTES + 4096;

/// The file. Its last root, and its list, may still lack signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FleetFile {
    /// The chain of sealed roots, from the first on.
    pub(super) roots: Vec<Bytes>,
    /// The sealed list of what does not count any more.
    pub(super) revocation: Option<Bytes>,
    /// The list before, as long as that one lacks signatures: devices are given what they take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_force: Option<Bytes>,
}

impl FleetFile {
    /// Reads it; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        match fs::read(path) {
            Ok(bytes) => Self::decode(path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::Failed(format!("cannot read the fleet {}: {error}", path.display()))),
        }
    }

    /// What `bytes`, read from `path`, say.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let wrong = |error: String| {
            Failure::Failed(format!("the fleet {}: {error}; bring back a copy of it", path.display()))
        };
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("it has {} bytes, more than any fleet", bytes.len())));
        }
        let file: Self = statefile::decode(KIND, VERSION, bytes).map_err(|error| wrong(error.to_string()))?;
        if file.roots.is_empty() { Err(wrong("it holds no root".into())) } else { Ok(file) }
    }

    /// Whether these bytes are such a file rather than a document.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"WAYSIDE\n")
    }

    /// Replaces the file as a whole.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        replace(path, &statefile::encode(KIND, VERSION, self))
    }

    /// The fleet, as devices take it.
    pub(super) fn fleet(&self, path: &Path) -> Result<Fleet, Failure> {
        Fleet::open(&self.roots).map_err(|error| {
            Failure::Failed(format!(
                "the fleet {}: {error}; where signatures are missing, let others add theirs with `wayside sign`",
                path.display()
            ))
        })
    }

    /// The fleet that holds, and the root after it that still lacks signatures, if there is one.
    pub(super) fn parts(&self, path: &Path) -> Result<(Option<Fleet>, Option<&Bytes>), Failure> {
        if let Ok(whole) = Fleet::open(&self.roots) {
            return Ok((Some(whole), None));
        }
        match self.roots.split_last() {
            Some((draft, [])) => Ok((None, Some(draft))),
            Some((draft, before)) => {
                let before = Self { roots: before.to_vec(), revocation: None, in_force: None };
                Ok((Some(before.fleet(path)?), Some(draft)))
            }
            None => Ok((None, None)),
        }
    }

    /// Which fleet it is.
    pub(super) fn id(&self) -> Result<FleetId, Failure> {
        let first = self.roots.first().map(|root| cosign::payload_hash(Kind::Root, root));
        match first {
            Some(Ok(hash)) => Ok(FleetId::from_bytes(hash)),
            Some(Err(error)) => Err(Failure::Failed(format!("root 1: {error}"))),
            None => Err(Failure::Failed("there is no root".into())),
        }
    }
}

/// Replaces a file as a whole, for everybody to read.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let written = (|| {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::File::create(&name)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&name, path)?;
        // Or else the power could take a newer root back that others have already.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
