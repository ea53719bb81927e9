//! `wayside revoke`: devices and releases that do not count any more.

use std::path::PathBuf;

use clap::Args;
use wayside_config::{
    cosign::{self, Kind},
    document::{DocumentId, Revocation},
    identity::DeviceId,
    limits::VERSION_MAX,
};

use super::{failure::Failure, fleet_file::FleetFile, operator::KeyFile, output, sign::read, wait::now_ms};

/// Put devices out of your fleet, and releases out of use
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside revoke --device KEY                 a device that was stolen
  wayside revoke --release weather.release    a release that must not be taken any more

The list of all that is revoked is kept in the fleet file; devices and clouds take it with what is applied next. A device
that is on it takes nothing any more; what runs, runs on. A release that is on it is taken by no device that does not hold it.")]
pub(super) struct RevokeArgs {
    /// A device, by its key; may be given again
    #[arg(long = "device", value_name = "KEY")]
    devices: Vec<DeviceId>,
    /// A release, as `wayside apply --out` wrote it; may be given again
    #[arg(long = "release", value_name = "FILE")]
    releases: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyFile,
}

impl RevokeArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.devices.is_empty() && self.releases.is_empty() {
            return Err(Failure::Usage("say what: --device KEY or --release FILE".into()));
        }
        let (operator, path) = (self.key.operator()?, self.key.fleet_path()?);
        let failed = |error: cosign::CosignError| Failure::Failed(error.to_string());
        // Of a list that still lacks signatures nothing is left out either.
        let file = FleetFile::read(&path)?.unwrap_or_else(|| FleetFile {
            roots: operator.fleet.roots().iter().cloned().map(Into::into).collect(),
            revocation: None,
        });
        let before = file.revocation.map(|sealed| cosign::peek::<Revocation>(Kind::Revocation, &sealed));
        let (version, mut devices, mut documents) = match before.transpose().map_err(failed)? {
            Some(list) => (list.version, list.devices, list.documents),
            None => (0, Vec::new(), Vec::new()),
        };
        devices.extend(&self.devices);
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
        let sealed = operator.sign(Kind::Revocation, &list)?;
        let enough = operator.fleet.verify::<Revocation>(Kind::Revocation, &sealed);
        FleetFile { roots: file.roots, revocation: Some(sealed.into()) }.write(&path)?;
        let (devices, documents) = (list.devices.len(), list.documents.len());
        let next = match enough {
            Ok(_) => "devices and clouds take it with what is applied next".to_owned(),
            Err(error) => format!("{error}; let others `wayside sign {}`", path.display()),
        };
        output::text(&format!("list {version}: {devices} device(s), {documents} document(s); {next}"))
    }
}
