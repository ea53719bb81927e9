//! `wayside apply`: reads a workload, signs it, and hands it to a cloud or to the devices of a LAN.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use wayside_config::{
    cbor, compose,
    cosign::{self, Kind},
    document::Release,
    hash::sha256,
    identity::DeviceId,
    limits::COMPOSE_BYTES,
    workload::{Workload, is_name},
};

use crate::control::Versions;

use super::{
    admit::{admit_targets, admit_targets_at},
    assign::{Handed, hand_out, is_target, next_version},
    away::away,
    cloud::{Cloud, Listed},
    failure::{Failure, show},
    fleet_file::replace,
    labels::{check_labels, check_labels_at},
    operator::Operator,
    output,
    pin::PinArgs,
    place::{Place, PlaceArgs},
    remove::{ask_all, besides, hand_over, kept_for},
    sign::is_sealed,
    site::Site,
    view::{CloudDevice, DeviceView, Source},
    wait::{Awaited, now_ms, wait},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Run a workload: check the file, sign it, hand it over, wait until it runs
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside apply compose.yaml                                   on this device and its LAN
  wayside apply compose.yaml --lan                             from a machine without a daemon
  wayside apply compose.yaml --device ewr                      on one device
  wayside apply compose.yaml --cloud http://127.0.0.1:8480     on all devices of a cloud that the file names
  wayside apply compose.yaml --check                           only check the file
  wayside apply compose.yaml --out weather.release             only sign it, for others to sign as well
  wayside apply weather.release                                run what enough operators have signed
  wayside apply compose.yaml --pin                             only with the digests of all its images
  wayside apply compose.yaml --now                             outside of maintenance windows, too
  wayside apply compose.yaml --yes                             admit new devices that it is for, without a question

The file is a Compose file; its `x-wayside` block says which devices run it and where its messages go.
It is signed with the operator's key: see `wayside key --help`, and `wayside fleet --help` for several operators.")]
pub(super) struct ApplyArgs {
    /// The Compose file, or a release that `--out` wrote
    file: PathBuf,
    /// Only on this device of the LAN, by name or key
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Check the file and go no further
    #[arg(long)]
    check: bool,
    /// Sign the release and write it to this file, and hand it to nobody
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// After so many days no device takes the release any more that has not taken it before
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires: Option<u32>,
    #[command(flatten)]
    pin: PinArgs,
    /// Outside of maintenance windows, too, of the devices and of the file
    #[arg(long)]
    now: bool,
    /// Admit the devices that it is for and that wait, without a question
    #[arg(long, env = "WAYSIDE_YES")]
    yes: bool,
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
    /// Names of those that are away, and get it when they are back.
    #[serde(default)]
    away: Vec<String>,
    /// In words, why devices that have it do not begin yet: locks, and maintenance windows.
    #[serde(default)]
    held: Vec<String>,
}

/// What is to be applied.
enum Input {
    /// To be signed first.
    Workload(Workload),
    /// Signed already, by one or several.
    Release(Box<Release>, Vec<u8>),
}

impl ApplyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let input = self.read()?;
        if self.check {
            return self.tell(match &input {
                Input::Workload(workload) => workload,
                Input::Release(release, _) => &release.workload,
            });
        }
        let applied = match self.find()? {
            Place::Cloud(cloud) => self.to_cloud(&cloud, input)?,
            Place::Site(mut site) => self.to_site(&mut site, input)?,
        };
        let Some(applied) = applied else { return Ok(()) };
        if self.json {
            return output::json(&applied);
        }
        let Applied { name, version, devices, away, held } = applied;
        let is_on = if self.no_wait || !held.is_empty() { "is with" } else { "is on" };
        output::text(&format!("{name} version {version} {is_on} {devices} device(s){}", kept_for(&away)))
    }

    fn tell(&self, workload: &Workload) -> Result<(), Failure> {
        if self.json {
            return output::json(workload);
        }
        let Workload { name, modules, routes, .. } = workload;
        let (modules, routes) = (modules.len(), routes.len());
        output::text(&format!("{name} is a workload of {modules} module(s) and {routes} route(s)"))
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

    fn read(&self) -> Result<Input, Failure> {
        let name = self.file.to_string_lossy();
        let failed = |error| Failure::Usage(format!("cannot read {name}: {error}"));
        let bytes = read_bounded(&self.file).map_err(failed)?;
        if is_sealed(&bytes) {
            let flags = [
                ("--now", self.now),
                ("--pin", self.pin.pin),
                ("--no-pin", self.pin.no_pin),
                ("--expires", self.expires.is_some()),
            ];
            if let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) {
                let text = format!(
                    "`{flag}` is signed with the release: give it where the release is made, with `--out`"
                );
                return Err(Failure::Usage(text));
            }
            let release = cosign::peek(&bytes)
                .map_err(|error| Failure::Usage(format!("{name} is no release: {error}")))?;
            return Ok(Input::Release(Box::new(release), bytes));
        }
        let text = text_of(bytes).map_err(failed)?;
        match compose::parse_in_folder(&folder_name(&self.file), &name, &text) {
            Ok((workload, warnings)) => {
                if !warnings.is_empty() {
                    eprintln!("{}", show(&warnings));
                }
                Ok(Input::Workload(if self.check && !self.pin.pin {
                    workload
                } else {
                    self.pin.pinned(workload)?
                }))
            }
            Err(report) if self.json => {
                output::json(&report.findings())?;
                Err(Failure::Told)
            }
            Err(report) => Err(Failure::File(report)),
        }
    }

    /// The release as devices take it; `None` when it was written for others to sign.
    fn ready(
        &self,
        operator: &Operator,
        input: Input,
        version: impl FnOnce(&str) -> Result<u64, Failure>,
    ) -> Result<Option<(Release, Vec<u8>)>, Failure> {
        let (release, sealed) = match input {
            Input::Workload(workload) => {
                let (version, issued_ms) = (version(&workload.name)?, now_ms());
                let expires_ms = self.expires.map(|days| issued_ms + u64::from(days) * DAY_MS);
                let mut release = Release { version, issued_ms, expires_ms, workload };
                release.workload.update.now = self.now;
                let sealed = operator.sign(&release)?;
                (release, sealed)
            }
            Input::Release(release, sealed) => (*release, sealed),
        };
        if let Some(out) = &self.out {
            replace(out, &sealed)?;
            let (name, version) = (&release.workload.name, release.version);
            output::note(&format!("{name} version {version} is written to {}", out.display()));
            return Ok(None);
        }
        operator.check::<Release>(&sealed)?;
        Ok(Some((release, sealed)))
    }

    fn to_cloud(&self, cloud: &Cloud, input: Input) -> Result<Option<Applied>, Failure> {
        let operator = self.place.key.operator()?;
        let ready = self.ready(&operator, input, |name| {
            let listed: Vec<Listed> = cloud.get("workloads", &[])?;
            Ok(version_for_cloud(listed.iter().find(|listed| listed.name == name), now_ms()))
        })?;
        let Some((release, sealed)) = ready else { return Ok(None) };
        introduce(cloud, &operator)?;
        admit_targets_at(cloud, &self.place.key, &operator, &release.workload.target, self.yes)?;
        check_labels_at(cloud, &release.workload)?;
        let mut applied: Applied = cloud.post("workloads", &sealed)?;
        let modules: BTreeSet<String> = release.workload.modules.keys().cloned().collect();
        if !self.no_wait {
            output::note(&format!("{} version {} is with the cloud", applied.name, applied.version));
            let mut awaited = Awaited::new(&applied.name, applied.version, &modules);
            wait(Duration::from_secs(self.timeout), || missing_in_fleet(cloud, &mut awaited))?;
            awaited.note_rest();
            applied.held = awaited.held();
        }
        Ok(Some(applied))
    }

    fn to_site(&self, site: &mut Site, input: Input) -> Result<Option<Applied>, Failure> {
        let operator = site.operator()?;
        let target = match &input {
            Input::Workload(workload) => &workload.target,
            Input::Release(release, _) => &release.workload.target,
        };
        if self.out.is_none() {
            admit_targets(site, &operator, target, self.device.as_deref(), self.yes)?;
        }
        let (here, unknown) = ask_all(site);
        let mut known = [here.clone(), away(&operator, &here)].concat();
        let ready =
            self.ready(&operator, input, |name| next_version(&known, name).map_err(Failure::Failed))?;
        let Some((release, sealed)) = ready else { return Ok(None) };
        if let Some(name) = &self.device {
            let is_meant = |known: &Versions| known.name == *name || known.device.to_string() == *name;
            let meant: Vec<Versions> = known.into_iter().filter(is_meant).collect();
            // None of them, or several.
            known = if meant.len() == 1 { meant } else { Vec::new() };
            if known.is_empty() {
                site.find(name)?;
            }
        }
        let targets = known.iter().filter(|device| is_target(&release.workload.target, device));
        check_labels(&release.workload, targets.map(|device| (&*device.name, &device.labels)))?;
        let version = release.version;
        let Workload { name, target, modules, .. } = release.workload;
        let handed = Handed { workload: &name, target: &target, version, sha256: sha256(&sealed) };
        let changes = hand_out(&known, &handed).map_err(Failure::Failed)?;
        let is_here = |device: &DeviceId| here.iter().any(|there| there.device == *device);
        let runs = changes.iter().filter(|change| change.runs).map(|change| change.assignment.device);
        let (targets, later): (Vec<_>, Vec<_>) = runs.partition(is_here);
        if targets.is_empty() && later.is_empty() {
            let text = format!(
                "no device here is a target of {name}{}: see `target` in {}",
                besides(&unknown),
                self.file.display()
            );
            return Err(Failure::Failed(text));
        }
        let away = hand_over(site, &operator, &here, &changes, &[sealed])?;
        let modules: BTreeSet<String> = modules.into_keys().collect();
        let mut held = Vec::new();
        if !self.no_wait {
            output::note(&format!("{name} version {version} is with {} device(s)", targets.len()));
            let mut awaited = Awaited::new(&name, version, &modules);
            wait(Duration::from_secs(self.timeout), || {
                let mut missing = Vec::new();
                for status in site.statuses(&targets) {
                    match status {
                        Ok(status) => missing.extend(awaited.missing(&status.into())?),
                        // It has what was handed over, and opens its mesh again when its addresses change.
                        Err(Failure::Unreachable(why)) => missing.push(why),
                        Err(other) => return Err(other),
                    }
                }
                Ok(missing)
            })?;
            awaited.note_rest();
            held = awaited.held();
        }
        Ok(Some(Applied { name, version, devices: targets.len() as u64, away, held }))
    }
}

/// What a cloud says of the fleet that it obeys.
#[derive(Debug, Deserialize)]
struct Introduced {
    root: u64,
}

/// Tells a cloud the fleet's roots and what is revoked, as this operator knows them.
pub(super) fn introduce(cloud: &Cloud, operator: &Operator) -> Result<(), Failure> {
    let roots: Vec<Bytes> = operator.fleet.roots().iter().cloned().map(Bytes::from).collect();
    let revocation = operator.revocation.clone().map(Bytes::from);
    let known: Introduced = cloud.put("fleet", &cbor::encode(&(roots, revocation)))?;
    let ours = operator.fleet.root().version;
    if known.root > ours {
        let theirs = known.root;
        output::note(&format!(
            "warning: the cloud knows root {theirs} of the fleet, and this operator only {ours}: get the newer fleet file from another operator"
        ));
    }
    Ok(())
}

/// A cloud forgets the versions of what was removed from it, and devices do not. So the first release of
/// a name has the seconds of the clock for a version, which are above all that one name can have had.
fn version_for_cloud(held: Option<&Listed>, now_ms: u64) -> u64 {
    held.map_or(now_ms / 1000, |held| held.version.saturating_add(1)).max(1)
}

/// A device that is away gets it when it is back: nobody waits for it.
fn missing_in_fleet(cloud: &Cloud, awaited: &mut Awaited<'_>) -> Result<Vec<String>, Failure> {
    let devices: Vec<CloudDevice> = cloud.get("devices", &[])?;
    let mut missing = Vec::new();
    for device in devices {
        let view = DeviceView::from(device);
        let Source::Cloud { assigned, workloads, .. } = &view.source else { continue };
        if view.presence != "online" || !workloads.iter().any(|name| name == awaited.workload) {
            continue;
        }
        if view.held < *assigned {
            missing.push(format!("{} has not taken it yet", view.name));
        } else {
            missing.extend(awaited.missing(&view)?);
        }
    }
    Ok(missing)
}

/// Reads no more than shows that a file is too large.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = COMPOSE_BYTES.max(Kind::Release.max_bytes()) as u64;
    fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text_of(bytes: Vec<u8>) -> std::io::Result<String> {
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_device_without_a_label_is_named_with_the_module_that_wants_it() {
        let file = "name: grid\nservices:\n  pump: {image: p}\n  sensor: {image: s, environment: {WHERE: '{{label:plant}}'}}\nx-wayside: {target: all}\n";
        let (workload, _) = compose::parse("compose.yaml", file).unwrap();
        let (with, without) = (BTreeMap::from([("plant".to_owned(), "p7".to_owned())]), BTreeMap::new());
        assert!(check_labels(&workload, [("ewr", &with)].into_iter()).is_ok());
        let refused = check_labels(&workload, [("ewr", &with), ("jfk", &without)].into_iter());
        let says = "jfk does not have the label `plant`, which grid/sensor names in WHERE: ";
        assert!(matches!(refused, Err(Failure::Failed(text)) if text.starts_with(says)));
    }

    #[test]
    fn a_name_that_a_cloud_does_not_know_gets_a_version_above_those_it_may_have_had() {
        let held = Listed { name: "w".into(), version: 7 };
        assert_eq!(version_for_cloud(Some(&held), 1_700_000_000_123), 8);
        assert_eq!(version_for_cloud(None, 1_700_000_000_123), 1_700_000_000);
        assert_eq!(version_for_cloud(None, 0), 1);
    }
}
