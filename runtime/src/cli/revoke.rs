//! `wayside revoke`: devices and releases that do not count any more.

use std::path::PathBuf;

use clap::Args;
use wayside_config::{
    cosign::{self, Kind},
    document::{DocumentId, Revocation},
    hash::from_hex,
    identity::DeviceId,
    limits::VERSION_MAX,
};

use super::{
    failure::Failure, fleet_file::FleetFile, output, place::PlaceArgs, push::tell, sign::read, wait::now_ms,
};

/// Put devices out of your fleet, and releases out of use
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside revoke --device KEY                 a device that was stolen
  wayside revoke --release weather.release    a release that must not be taken any more
  wayside revoke --rule ID                    a join token that leaked, and all who came in by it

The list of all that is revoked is kept in the fleet file, and told to the cloud or to the devices of this LAN; they tell those that were
away. A device that is on it is out of the mesh and of the cloud, takes nothing any more, and removes its secrets; what runs, runs on. A release that is on it is
taken by no device that does not hold it.")]
pub(super) struct RevokeArgs {
    /// A device, by its key; may be given again
    #[arg(long = "device", value_name = "KEY")]
    devices: Vec<DeviceId>,
    /// A release, as `wayside apply --out` wrote it; may be given again
    #[arg(long = "release", value_name = "FILE")]
    releases: Vec<PathBuf>,
    /// A rule or a join token, as `wayside rule list` names it: whoever came in by it is out as well; may be given again
    #[arg(long = "rule", value_name = "ID", value_parser = rule_id)]
    rules: Vec<DocumentId>,
    #[command(flatten)]
    place: PlaceArgs,
}

impl RevokeArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.devices.is_empty() && self.releases.is_empty() && self.rules.is_empty() {
            return Err(Failure::Usage("say what: --device KEY, --release FILE or --rule ID".into()));
        }
        let key = &self.place.key;
        let (operator, path) = (key.operator()?, key.fleet_path()?);
        let failed = |error: cosign::CosignError| Failure::Failed(error.to_string());
        // Of a list that still lacks signatures nothing is left out either.
        let file = FleetFile::read(&path)?.unwrap_or_else(|| FleetFile {
            roots: operator.fleet.roots().iter().cloned().map(Into::into).collect(),
            revocation: None,
            in_force: None,
        });
        let before = file.revocation.map(|sealed| cosign::peek::<Revocation>(&sealed));
        let (version, mut devices, mut documents) = match before.transpose().map_err(failed)? {
            Some(list) => (list.version, list.devices, list.documents),
            None => (0, Vec::new(), Vec::new()),
        };
        devices.extend(&self.devices);
        documents.extend(&self.rules);
        for file in &self.releases {
            let hash = cosign::payload_hash(Kind::Release, &read(file)?);
            documents.push(DocumentId(
                hash.map_err(|error| Failure::Usage(format!("{} is no release: {error}", file.display())))?,
            ));
        }
        devices.sort_unstable();
        devices.dedup();
        documents.sort_unstable();
        documents.dedup();
        let version = version.saturating_add(1).min(VERSION_MAX);
        let list = Revocation { version, issued_ms: now_ms(), devices, documents };
        let sealed = operator.sign(&list)?;
        let enough = operator.fleet.verify::<Revocation>(&sealed);
        let in_force = operator.revocation.filter(|_| enough.is_err()).map(Into::into);
        FleetFile { roots: file.roots, revocation: Some(sealed.into()), in_force }.write(&path)?;
        let (devices, documents) = (list.devices.len(), list.documents.len());
        let next = match enough {
            Ok(_) => tell(&self.place)?,
            Err(error) => format!("{error}; let others `wayside sign {}`", path.display()),
        };
        output::text(&format!("list {version}: {devices} device(s), {documents} document(s); {next}"))
    }
}

fn rule_id(text: &str) -> Result<DocumentId, String> {
    from_hex(text)
        .map(DocumentId)
        .ok_or_else(|| "expected 64 hexadecimal digits, as `wayside rule list` prints them".into())
}
