//! `wayside verify`: who signed what, and whether that is enough.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use wayside_config::{
    cosign::{self, Kind},
    document::{Assignment, Release, Revocation, TwinChange},
    fleet::{Fleet, Root},
    identity::{FleetId, PublicKey},
    rule::{Rule, verify_grant},
    secret::SecretChange,
};

use super::{
    approve,
    failure::Failure,
    fleet_file::FleetFile,
    operator::KeyFile,
    output,
    sign::{kind_of, read, signed, unknown},
};

/// Show what a file is, who has signed it, and whether devices of your fleet would take it
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside verify weather.release
  wayside verify ~/operator.fleet

The exit code is 0 only where enough have signed.")]
pub(super) struct VerifyArgs {
    /// A release, a grant, or a fleet file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyFile,
}

/// What is to be said of one document.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// What it is.
    what: String,
    fleet: FleetId,
    signers: Vec<PublicKey>,
    /// Why it is not taken, as far as signatures go.
    lacks: Option<String>,
}

impl VerifyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let verdicts = judge(&self.file, &read(&self.file)?, &self.key)?;
        if self.json {
            output::json(&verdicts)?;
        } else {
            output::text(&verdicts.iter().map(Verdict::line).collect::<Vec<_>>().join("\n"))?;
        }
        if verdicts.iter().all(|verdict| verdict.lacks.is_none()) { Ok(()) } else { Err(Failure::Told) }
    }
}

impl Verdict {
    /// For a person.
    pub(super) fn line(&self) -> String {
        let Self { what, fleet, signers, lacks } = self;
        let signers = signers.iter().map(PublicKey::short).collect::<Vec<_>>().join(", ");
        let verdict = lacks.as_deref().unwrap_or("enough have signed");
        format!("{what} of fleet {}, signed by {signers}: {verdict}", fleet.short())
    }
}

/// What is to be said of all documents in a file.
pub(super) fn judge(path: &Path, bytes: &[u8], key: &KeyFile) -> Result<Vec<Verdict>, Failure> {
    if FleetFile::is_one(bytes) {
        return judge_fleet(path, &FleetFile::decode(path, bytes)?);
    }
    signed(path, bytes)?;
    let fleet = key.fleet()?;
    let kind = kind_of(&fleet.id(), bytes)
        .ok_or_else(|| Failure::Failed(unknown(path, &key.fleet_path().unwrap_or_default())))?;
    let what = match kind {
        Kind::Release => {
            let release = cosign::peek::<Release>(bytes).map_err(|error| failed(path, &error))?;
            format!("release {} version {}", release.workload.name, release.version)
        }
        Kind::Root => "a root".into(),
        Kind::Assignment => "an assignment".into(),
        Kind::TwinChange => "a change of a twin".into(),
        Kind::Secret => "a secret".into(),
        Kind::Revocation => "a list of what is revoked".into(),
        Kind::Grant => approve::what(bytes).map_err(|error| failed(path, &error))?,
        Kind::Rule => "a rule by which a device admits others".into(),
        Kind::Joining => "a proof of a join token".into(),
    };
    let lacks = match kind {
        Kind::Release => fleet.verify::<Release>(bytes).err().map(|error| error.to_string()),
        Kind::Revocation => fleet.verify::<Revocation>(bytes).err().map(|error| error.to_string()),
        Kind::Grant => verify_grant(&fleet, bytes).err().map(|error| error.to_string()),
        Kind::Rule => fleet.verify::<Rule>(bytes).err().map(|error| error.to_string()),
        Kind::TwinChange => fleet.verify::<TwinChange>(bytes).err().map(|error| error.to_string()),
        Kind::Secret => fleet.verify::<SecretChange>(bytes).err().map(|error| error.to_string()),
        // A cloud may sign it alone, and which one a device obeys only that device knows.
        Kind::Assignment => fleet
            .verify::<Assignment>(bytes)
            .err()
            .map(|error| format!("{error}; a device takes it if that is its cloud")),
        Kind::Root => Some("a root counts with the chain before it alone: verify the fleet file".into()),
        Kind::Joining => Some("it shows that a device has a join token, which only the rule can tell".into()),
    };
    let signers = cosign::claimed_signers(kind, bytes).map_err(|error| failed(path, &error))?;
    Ok(vec![Verdict { what, fleet: fleet.id(), signers, lacks }])
}

fn judge_fleet(path: &Path, file: &FleetFile) -> Result<Vec<Verdict>, Failure> {
    let id = file.id()?;
    let (whole, draft) = file.parts(path)?;
    let mut verdicts = Vec::new();
    for (version, sealed) in (1..).zip(&file.roots) {
        let (signers, _) = cosign::inspect::<Root>(&id, sealed).map_err(|error| failed(path, &error))?;
        let lacks = draft
            .filter(|draft| *draft == sealed)
            .and_then(|_| Fleet::open(&file.roots).err().map(|error| error.to_string()));
        verdicts.push(Verdict { what: format!("root {version}"), fleet: id, signers, lacks });
    }
    if let (Some(fleet), Some(sealed)) = (&whole, &file.revocation) {
        let (signers, list) =
            cosign::inspect::<Revocation>(&id, sealed).map_err(|error| failed(path, &error))?;
        let lacks = fleet.verify::<Revocation>(sealed).err().map(|error| error.to_string());
        let (devices, documents) = (list.devices.len(), list.documents.len());
        let what =
            format!("list {} of {devices} revoked device(s) and {documents} document(s)", list.version);
        verdicts.push(Verdict { what, fleet: id, signers, lacks });
    }
    Ok(verdicts)
}

fn failed(path: &Path, error: &cosign::CosignError) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}
