//! `wayside approve`: admits devices to the fleet.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use wayside_config::{cosign, document::Grant, settings::is_device_name};

use super::{
    admit::{Terms, admit, admit_at, choose, confirm, is_called, own_words, sign_all, waiting_at},
    apply::introduce,
    cloud::Cloud,
    failure::Failure,
    fleet::expiry,
    fleet_file::replace,
    operator::Operator,
    output,
    place::{Place, PlaceArgs},
    sign::read,
    site::Site,
    wait::now_ms,
};
use crate::control::Present;

/// Admit devices to your fleet: they get a grant, and link with the others
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside devices                             who waits, with the keys
  wayside approve ewr                         one, by name; or by key, or by how its key begins
  wayside approve --label plant=p7            all that say so of themselves
  wayside approve --all --cloud URL           all that wait at a cloud
  wayside approve ewr --out ewr.grant         only sign it, for others to sign as well (`wayside sign`)
  wayside approve --grant ewr.grant           hand over what enough operators have signed

A device that waits is heard by everybody on its LAN, and by its cloud, and links with nobody. What it says of itself is not
proven but for its key: compare it with what `wayside status` says on the device. `wayside apply` asks the same of devices that
a workload is for.")]
pub(super) struct ApproveArgs {
    /// Devices that wait, or are to be granted other labels or another name than they were: by name, key, or how the key begins
    devices: Vec<String>,
    /// All that wait and have this label; may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// All that wait
    #[arg(long)]
    all: bool,
    /// What the device is to be called, in place of its own name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// They may link with the devices of this site alone, and with those of none
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// After so many days they are out again
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires: Option<u32>,
    /// Do not ask
    #[arg(long, env = "WAYSIDE_YES")]
    yes: bool,
    /// Sign the grant of one device and write it to this file, and hand it to nobody
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Hand over the grant in this file, as `--out` wrote it; may be given again
    #[arg(long = "grant", value_name = "FILE", conflicts_with_all = ["out", "name", "site", "expires", "devices", "labels", "all"])]
    grants: Vec<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

impl ApproveArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.devices.is_empty() && self.labels.is_empty() && !self.all && self.grants.is_empty() {
            return Err(Failure::Usage(
                "say whom: a name, a key, --label NAME=VALUE or --all; `wayside devices` shows who waits"
                    .into(),
            ));
        }
        if let Some(name) = [&self.name, &self.site].into_iter().flatten().find(|name| !is_device_name(name))
        {
            return Err(Failure::Usage(format!(
                "`{name}` is no name: up to 64 letters, digits, `-`, `_` and `.`"
            )));
        }
        let mut place = self.place.find()?;
        let operator = match &mut place {
            Place::Cloud(_) => self.place.key.operator()?,
            Place::Site(site) => site.operator()?,
        };
        let waiting = match &place {
            Place::Cloud(cloud) => self.candidates_at(cloud, &operator)?,
            Place::Site(site) => self.candidates(site, &operator),
        };
        let (devices, grants) = if self.grants.is_empty() {
            self.sign(&operator, waiting)?
        } else {
            self.signed(&operator, &waiting)?
        };
        if let Some(out) = &self.out {
            return match grants.as_slice() {
                [grant] => {
                    replace(out, grant)?;
                    output::text(&format!("the grant of {} is written to {}", devices[0].name, out.display()))
                }
                several => Err(Failure::Usage(format!(
                    "--out takes the grant of one device, and these are {}",
                    several.len()
                ))),
            };
        }
        if devices.is_empty() {
            return output::text("no device that you mean waits here");
        }
        if self.grants.is_empty() && !confirm(&devices, self.yes)? {
            return Err(Failure::Failed("nobody is admitted: say yes on a terminal, or --yes".into()));
        }
        match &mut place {
            Place::Cloud(cloud) => {
                // Or else it could not tell whose grants count.
                introduce(cloud, &operator)?;
                admit_at(cloud, &self.place.key, &operator, &devices, &grants)?;
            }
            Place::Site(site) => {
                admit(site, &operator, &devices, &grants)?;
                let keys: Vec<_> = devices.iter().map(|device| device.device).collect();
                site.await_members(&operator, &keys)?;
            }
        }
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        output::text(&format!("{} device(s) are admitted: {}", devices.len(), names.join(", ")))
    }

    /// Those that wait, and those of the devices named here that are to be granted something else.
    fn candidates(&self, site: &Site, operator: &Operator) -> Vec<Present> {
        let mut candidates = site.waiting(operator);
        let is_meant = |device: &Present| {
            self.differs(device, operator) && self.devices.iter().any(|name| is_called(device, name))
        };
        candidates.extend(site.members(operator).into_iter().filter(is_meant));
        candidates
    }

    /// Whether a member says of itself what it was not granted, or is to have another name.
    fn differs(&self, device: &Present, operator: &Operator) -> bool {
        operator.grant_of(device).is_some_and(|grant| {
            grant.labels != device.labels || self.name.as_ref().is_some_and(|name| *name != grant.name)
        })
    }

    /// As [`Self::candidates`], of a cloud.
    fn candidates_at(&self, cloud: &Cloud, operator: &Operator) -> Result<Vec<Present>, Failure> {
        let mut candidates = waiting_at(cloud, &self.place.key, operator)?;
        for name in &self.devices {
            if !candidates.iter().any(|device| is_called(device, name))
                && let Ok(Some(device)) = own_words(cloud, &self.place.key, name)
                && self.differs(&device, operator)
            {
                candidates.push(device);
            }
        }
        Ok(candidates)
    }

    fn sign(
        &self,
        operator: &Operator,
        waiting: Vec<Present>,
    ) -> Result<(Vec<Present>, Vec<Vec<u8>>), Failure> {
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let devices = choose(waiting, &self.devices, &labels, self.all)?;
        if self.name.is_some() && devices.len() > 1 {
            return Err(Failure::Usage("--name is for one device".into()));
        }
        let expires_ms = expiry(now_ms(), self.expires);
        let terms = Terms { name: self.name.clone(), site: self.site.clone(), expires_ms };
        let grants = sign_all(operator, &devices, &terms)?;
        Ok((devices, grants))
    }

    /// Grants from files, each with the device that waits for it.
    fn signed(
        &self,
        operator: &Operator,
        waiting: &[Present],
    ) -> Result<(Vec<Present>, Vec<Vec<u8>>), Failure> {
        let (mut devices, mut grants) = (Vec::new(), Vec::new());
        for file in &self.grants {
            let sealed = read(file)?;
            let grant = operator.check::<Grant>(&sealed)?;
            let device = waiting.iter().find(|device| device.device == grant.device).ok_or_else(|| {
                let (name, key) = (&grant.name, grant.device);
                Failure::Failed(format!("{} is for {name} ({key}), which does not wait here", file.display()))
            })?;
            devices.push(device.clone());
            grants.push(sealed);
        }
        Ok((devices, grants))
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What a sealed grant says, for a person.
pub(super) fn what(sealed: &[u8]) -> Result<String, cosign::CosignError> {
    let Grant { device, name, version, .. } = cosign::peek(sealed)?;
    Ok(format!("grant {version} of {name} ({device})"))
}
