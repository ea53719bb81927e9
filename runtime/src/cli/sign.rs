//! `wayside sign`: adds an operator's signature to what others have made.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use wayside_config::{
    cosign::{self, Kind},
    document::{Assignment, Grant, Release, Revocation, TwinChange},
    fleet::Root,
    identity::FleetId,
    limits::{CHAIN_BYTES, SEALED_BYTES},
    rule::{Joining, Rule},
    secret::SecretChange,
    signer::Signer,
};

use super::{
    failure::Failure,
    fleet_file::{FleetFile, replace},
    operator::KeyFile,
    output,
    verify::{Verdict, judge},
};

/// Add your signature to a release, a grant, or the roots of a fleet, that others have made
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside verify weather.release      see first what it is and who has signed it
  wayside sign weather.release
  wayside sign ewr.grant
  wayside sign ~/operator.fleet       the newest root of a fleet, and what is revoked

The file is replaced by one with all signatures.")]
pub(super) struct SignArgs {
    /// The release, the grant, or the fleet file
    file: PathBuf,
    #[command(flatten)]
    key: KeyFile,
}

impl SignArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let bytes = read(&self.file)?;
        if !FleetFile::is_one(&bytes) {
            signed(&self.file, &bytes)?;
        }
        let signer = self.key.load()?;
        let fleet_path = self.key.fleet_path()?;
        if FleetFile::is_one(&bytes) {
            let file = FleetFile::decode(&self.file, &bytes)?;
            sign_fleet(&self.file, file, &*signer)?;
        } else {
            let operator = self.key.operator_of(std::sync::Arc::clone(&signer))?;
            let kind = kind_of(&operator.fleet.id(), &bytes)
                .ok_or_else(|| Failure::Failed(unknown(&self.file, &fleet_path)))?;
            let sealed = cosign::add(kind, &operator.fleet.id(), &bytes, &*signer)
                .map_err(|error| Failure::Failed(format!("{}: {error}", self.file.display())))?;
            replace(&self.file, &sealed)?;
        }
        let verdicts = judge(&self.file, &read(&self.file)?, &self.key)?;
        output::text(&verdicts.iter().map(Verdict::line).collect::<Vec<_>>().join("\n"))
    }
}

/// Adds a signature to the last root and to the list of what is revoked, where they lack it.
fn sign_fleet(path: &Path, file: FleetFile, signer: &dyn Signer) -> Result<(), Failure> {
    let id = file.id()?;
    let mut next = file.clone();
    let add = |kind: Kind, sealed: &[u8]| match cosign::add(kind, &id, sealed, signer) {
        Ok(sealed) => Ok(Some(sealed.into())),
        Err(cosign::CosignError::Again(_)) => Ok(None),
        Err(error) => Err(Failure::Failed(format!("{}: {error}", path.display()))),
    };
    let (_, draft) = file.parts(path)?;
    let mut signed = 0;
    if let (Some(draft), Some(last)) = (draft, next.roots.last_mut())
        && let Some(sealed) = add(Kind::Root, draft)?
    {
        *last = sealed;
        signed += 1;
    }
    if let Some(list) = &mut next.revocation
        && let Some(sealed) = add(Kind::Revocation, list)?
    {
        *list = sealed;
        signed += 1;
    }
    if signed == 0 {
        return Err(Failure::Failed(format!(
            "{} has nothing that your signature is missing on",
            path.display()
        )));
    }
    next.write(path)
}

/// What kind of document of the fleet it is: that under which its signatures hold.
pub(super) fn kind_of(fleet: &FleetId, sealed: &[u8]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| match kind {
        Kind::Root => cosign::inspect::<Root>(fleet, sealed).is_ok(),
        Kind::Release => cosign::inspect::<Release>(fleet, sealed).is_ok(),
        Kind::Assignment => cosign::inspect::<Assignment>(fleet, sealed).is_ok(),
        Kind::TwinChange => cosign::inspect::<TwinChange>(fleet, sealed).is_ok(),
        Kind::Secret => cosign::inspect::<SecretChange>(fleet, sealed).is_ok(),
        Kind::Revocation => cosign::inspect::<Revocation>(fleet, sealed).is_ok(),
        Kind::Grant => cosign::inspect::<Grant>(fleet, sealed).is_ok(),
        Kind::Rule => cosign::inspect::<Rule>(fleet, sealed).is_ok(),
        Kind::Joining => cosign::inspect::<Joining>(fleet, sealed).is_ok(),
    })
}

pub(super) fn unknown(file: &Path, fleet: &Path) -> String {
    format!(
        "{} is no document of your fleet whose signatures hold; your fleet is what {} says, or that of your key alone",
        file.display(),
        fleet.display()
    )
}

/// Refuses a file that nobody has signed yet, such as the Compose file that a release is made from.
pub(super) fn signed(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if is_sealed(bytes) {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{0} is not signed: `wayside apply {0} --out FILE` makes a release of a Compose file and signs it",
        file.display()
    )))
}

/// Whether these bytes begin as a tagged COSE_Sign does.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xd8, 98])
}

/// Reads no more than the largest file that there is.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = (CHAIN_BYTES + 2 * SEALED_BYTES) as u64;
    let read =
        |bytes: &mut Vec<u8>| -> io::Result<usize> { fs::File::open(path)?.take(most).read_to_end(bytes) };
    read(&mut bytes).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
}
