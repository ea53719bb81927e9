//! `wayside apply`: reads a workload, signs it, and hands it to a cloud or to the devices of a LAN.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use wayside_config::{
    compose,
    document::Release,
    envelope::{self, Kind},
    hash::sha256,
    limits::COMPOSE_BYTES,
    workload::{Workload, is_name},
};

use super::{
    assign::{Handed, hand_out, next_version},
    cloud::{Cloud, Listed},
    failure::{Failure, show},
    output,
    place::{Place, PlaceArgs},
    remove::{ask_all, besides, hand_over},
    site::Site,
    view::{CloudDevice, DeviceView, Source},
    wait::{Progress, now_ms, progress, wait},
};

/// Run a workload: check the file, sign it, hand it over, wait until it runs
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside apply compose.yaml                                   on this device and its LAN
  wayside apply compose.yaml --lan                             from a machine without a daemon
  wayside apply compose.yaml --device ewr                      on one device
  wayside apply compose.yaml --cloud http://127.0.0.1:8480     on all devices of a cloud that the file names
  wayside apply compose.yaml --check                           only check the file

The file is a Compose file; its `x-wayside` block says which devices run it and where its messages go.
It is signed with the operator's key: see `wayside key --help`.")]
pub(super) struct ApplyArgs {
    /// The Compose file
    file: PathBuf,
    /// Only on this device of the LAN, by name or key
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Check the file and go no further
    #[arg(long)]
    check: bool,
    /// Do not wait until its modules run
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this many seconds until its modules run
    #[arg(long, value_name = "SECONDS", default_value_t = 60, conflicts_with = "no_wait")]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Applied {
    name: String,
    version: u64,
    devices: u64,
}

impl ApplyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let workload = self.read()?;
        if self.check {
            let modules = workload.modules.len();
            return if self.json {
                output::json(&workload)
            } else {
                output::text(&format!(
                    "{} is a workload of {modules} module(s) and {} route(s)",
                    workload.name,
                    workload.routes.len()
                ))
            };
        }
        let applied = match self.find()? {
            Place::Cloud(cloud) => self.to_cloud(&cloud, workload)?,
            Place::Site(mut site) => self.to_site(&mut site, workload)?,
        };
        if self.json {
            return output::json(&applied);
        }
        output::text(&format!(
            "{} version {} is on {} device(s)",
            applied.name, applied.version, applied.devices
        ))
    }

    fn find(&self) -> Result<Place, Failure> {
        if self.device.is_some() && self.place.cloud.is_some() && !self.place.lan {
            return Err(Failure::Usage(
                "`--device` is for a device of this LAN, and a cloud (`--cloud`, or WAYSIDE_CLOUD) sends a workload \
                 where its `target` says: name the device there, or say `--lan`"
                    .into(),
            ));
        }
        self.place.find()
    }

    fn read(&self) -> Result<Workload, Failure> {
        let name = self.file.to_string_lossy();
        let text =
            read_text(&self.file).map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
        match compose::parse_in_folder(&folder_name(&self.file), &name, &text) {
            Ok((workload, warnings)) => {
                if !warnings.is_empty() {
                    eprintln!("{}", show(&warnings));
                }
                Ok(workload)
            }
            Err(report) if self.json => {
                output::json(&report.findings())?;
                Err(Failure::Told)
            }
            Err(report) => Err(Failure::File(report)),
        }
    }

    fn to_cloud(&self, cloud: &Cloud, workload: Workload) -> Result<Applied, Failure> {
        let listed: Vec<Listed> = cloud.get("workloads", &[])?;
        let held = listed.iter().find(|listed| listed.name == workload.name);
        let release = Release { version: version_for_cloud(held, now_ms()), workload };
        let sealed = self.seal(&release)?;
        let applied: Applied = cloud.post("workloads", &sealed)?;
        let modules: BTreeSet<String> = release.workload.modules.keys().cloned().collect();
        if !self.no_wait {
            output::note(&format!("{} version {} is with the cloud", applied.name, applied.version));
            wait(Duration::from_secs(self.timeout), || missing_in_fleet(cloud, &applied.name, &modules))?;
        }
        Ok(applied)
    }

    fn to_site(&self, site: &mut Site, workload: Workload) -> Result<Applied, Failure> {
        let (mut known, unknown) = ask_all(site);
        let version = next_version(&known, &workload.name).map_err(Failure::Failed)?;
        if let Some(name) = &self.device {
            let device = site.find(name)?.device;
            known.retain(|known| known.device == device);
        }
        let release = Release { version, workload };
        let sealed = self.seal(&release)?;
        let Workload { name, target, modules, .. } = release.workload;
        let handed = Handed { workload: &name, target: &target, version, sha256: sha256(&sealed) };
        let changes = hand_out(&known, &handed).map_err(Failure::Failed)?;
        let targets: Vec<_> =
            changes.iter().filter(|change| change.runs).map(|change| change.assignment.device).collect();
        if targets.is_empty() {
            let text = format!(
                "no device here is a target of {name}{}: see `target` in {}",
                besides(&unknown),
                self.file.display()
            );
            return Err(Failure::Failed(text));
        }
        hand_over(site, &changes, &[sealed])?;
        let modules: BTreeSet<String> = modules.into_keys().collect();
        if !self.no_wait {
            output::note(&format!("{name} version {version} is with {} device(s)", targets.len()));
            wait(Duration::from_secs(self.timeout), || {
                let mut missing = Vec::new();
                for device in &targets {
                    let view: DeviceView = site.status(*device)?.into();
                    missing.extend(missing_on(&view, &name, &modules));
                }
                Ok(missing)
            })?;
        }
        Ok(Applied { name, version, devices: targets.len() as u64 })
    }

    fn seal(&self, release: &Release) -> Result<Vec<u8>, Failure> {
        envelope::seal(&self.place.key.load()?, Kind::Release, release).map_err(|error| {
            Failure::Usage(format!("{} is too large as a whole: {error}", self.file.display()))
        })
    }
}

/// A cloud forgets the versions of what was removed from it, and devices do not. So the first release of
/// a name has the seconds of the clock for a version, which are above all that one name can have had.
fn version_for_cloud(held: Option<&Listed>, now_ms: u64) -> u64 {
    held.map_or(now_ms / 1000, |held| held.version.saturating_add(1)).max(1)
}

/// A device that is away gets it when it is back: nobody waits for it.
fn missing_in_fleet(
    cloud: &Cloud,
    workload: &str,
    modules: &BTreeSet<String>,
) -> Result<Vec<String>, Failure> {
    let devices: Vec<CloudDevice> = cloud.get("devices", &[])?;
    let mut missing = Vec::new();
    for device in devices {
        let view = DeviceView::from(device);
        let Source::Cloud { assigned, workloads, .. } = &view.source else { continue };
        if view.presence != "online" || !workloads.iter().any(|name| name == workload) {
            continue;
        }
        if view.held < *assigned {
            missing.push(format!("{} has not taken it yet", view.name));
        } else {
            missing.extend(missing_on(&view, workload, modules));
        }
    }
    Ok(missing)
}

fn missing_on(view: &DeviceView, workload: &str, modules: &BTreeSet<String>) -> Option<String> {
    match progress(view, workload, modules) {
        Progress::Done => None,
        Progress::Missing(what) => Some(what),
    }
}

/// Reads no more than shows that a file is too large.
fn read_text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(COMPOSE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() <= COMPOSE_BYTES;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if !whole => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Err(_) => Err(std::io::Error::other("it is not text in UTF-8")),
    }
}

/// The name that Compose gives a project: its folder's, in lower case, without what a name has not.
fn folder_name(file: &Path) -> String {
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = folder.chars().filter(|c| is_name(&format!("a{c}"))).collect();
    name.trim_start_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_cloud_does_not_know_gets_a_version_above_those_it_may_have_had() {
        let held = Listed { name: "w".into(), version: 7 };
        assert_eq!(version_for_cloud(Some(&held), 1_700_000_000_123), 8);
        assert_eq!(version_for_cloud(None, 1_700_000_000_123), 1_700_000_000);
        assert_eq!(version_for_cloud(None, 0), 1);
    }
}
