//! `wayside remove`: takes a workload off the devices that run it.

use std::collections::BTreeSet;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    assign::{Change, take_off},
    away::{Signed, away, hand_copies},
    cloud::encode,
    failure::Failure,
    operator::Operator,
    output,
    place::{Place, PlaceArgs},
    site::Site,
};
use crate::control::{Answer, Ask, Sealed, Versions};

/// Take a workload off the devices that run it
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside remove weather                                   off this device and its LAN
  wayside remove weather --cloud http://127.0.0.1:8480     off all devices of a cloud

Its containers are removed; its volumes stay on the devices.")]
pub(super) struct RemoveArgs {
    /// The workload's name
    workload: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Removed {
    name: String,
    devices: u64,
    /// Names of those that are away, and lose it when they are back.
    #[serde(default)]
    away: Vec<String>,
}

impl RemoveArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let removed: Removed = match self.place.find()? {
            Place::Cloud(cloud) => cloud.delete(&format!("workloads/{}", encode(&self.workload)))?,
            Place::Site(mut site) => {
                let operator = site.operator()?;
                let (here, unknown) = ask_all(&mut site);
                let known = [here.clone(), away(&operator, &here)].concat();
                let changes = take_off(&known, &self.workload).map_err(Failure::Failed)?;
                if changes.is_empty() {
                    let text = format!("no device here runs {}{}", self.workload, besides(&unknown));
                    return Err(Failure::Failed(text));
                }
                let away = hand_over(&mut site, &operator, &here, &changes, &[])?;
                let devices = (changes.len() - away.len()) as u64;
                Removed { name: self.workload.clone(), devices, away }
            }
        };
        if self.json {
            return output::json(&removed);
        }
        let away = kept_for(&removed.away);
        output::text(&format!("{} is being taken off {} device(s){away}", removed.name, removed.devices))
    }
}

/// What each device of the site has been told to run; and who did not say.
pub(super) fn ask_all(site: &mut Site) -> (Vec<Versions>, Vec<String>) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let devices = site.devices().to_vec();
    let answers = site.ask_each(devices.iter().map(|device| (device.device, Ask::Versions)));
    for (device, answer) in devices.into_iter().zip(answers) {
        match answer {
            Ok(Answer::Versions(mut versions)) if versions.device == device.device => {
                // What operators called it, and the labels that they gave it, count; not what it says.
                if let Some(grant) = site.grant_of(&device.device) {
                    (versions.name, versions.labels) = (grant.name.clone(), grant.labels.clone());
                }
                known.push(versions);
            }
            Ok(_) => {
                let name = &device.name;
                output::note(&format!(
                    "warning: {name} is left out: another device, or one of another version, answered for it"
                ));
                unknown.push(device.name);
            }
            Err(Failure::Failed(reason) | Failure::Unreachable(reason) | Failure::Usage(reason)) => {
                output::note(&format!("warning: {} is left out: {reason}", device.name));
                unknown.push(device.name);
            }
            Err(Failure::File(_) | Failure::Told | Failure::Enough) => unknown.push(device.name),
        }
    }
    (known, unknown)
}

/// The end of a sentence about devices that answered.
pub(super) fn besides(unknown: &[String]) -> String {
    if unknown.is_empty() { String::new() } else { format!("; not asked: {}", unknown.join(", ")) }
}

/// The end of a sentence about what was handed over.
pub(super) fn kept_for(away: &[String]) -> String {
    if away.is_empty() {
        return String::new();
    }
    format!("; {} away, and the others tell them when they are back: {}", away.len(), away.join(", "))
}

/// Signs the changes and gives each to its device, and to others that keep it for when it was away. Gives the names of those
/// that are away now, which get it when they are back.
pub(super) fn hand_over(
    site: &mut Site,
    operator: &Operator,
    here: &[Versions],
    changes: &[Change],
    releases: &[Vec<u8>],
) -> Result<Vec<String>, Failure> {
    let mut signed = Vec::new();
    for change in changes {
        let assignment = operator.seal(&change.assignment)?;
        signed.push(Signed { change, assignment });
    }
    let is_here = |change: &Change| here.iter().any(|there| there.device == change.assignment.device);
    let (mut refused, mut untaken) = (Vec::new(), BTreeSet::new());
    let question = |Signed { change, assignment }: &Signed<'_>| Ask::Apply {
        roots: operator.fleet.roots().iter().cloned().map(Sealed).collect(),
        revocation: operator.revocation.clone().map(Sealed),
        assignment: Sealed(assignment.clone()),
        releases: if change.runs { releases.iter().cloned().map(Sealed).collect() } else { Vec::new() },
    };
    let told: Vec<&Signed<'_>> = signed.iter().filter(|one| is_here(one.change)).collect();
    let answers = site.ask_each(told.iter().map(|one| (one.change.assignment.device, question(one))));
    for (Signed { change, .. }, answer) in told.into_iter().zip(answers) {
        match answer {
            Ok(_) => {}
            Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                refused.push(format!("{}: {reason}", change.name));
                untaken.insert(change.assignment.device);
            }
            Err(other @ (Failure::Usage(_) | Failure::File(_) | Failure::Told | Failure::Enough)) => {
                return Err(other);
            }
        }
    }
    // What a device refused nobody brings it again.
    signed.retain(|one| !untaken.contains(&one.change.assignment.device));
    let unkept = hand_copies(site, operator, here, &signed, releases)?;
    let away = changes.iter().filter(|change| !is_here(change));
    let (kept, lost): (Vec<&Change>, Vec<&Change>) =
        away.partition(|change| !unkept.contains_key(&change.assignment.device));
    refused.extend(lost.into_iter().map(|change| {
        let reason = &unkept[&change.assignment.device];
        format!("{}: it is away, and nobody keeps it until it is back: {reason}", change.name)
    }));
    if refused.is_empty() {
        return Ok(kept.into_iter().map(|change| change.name.clone()).collect());
    }
    let done = changes.len() - refused.len();
    Err(Failure::Failed(format!(
        "{done} of {} devices took it; these did not:\n  {}",
        changes.len(),
        refused.join("\n  ")
    )))
}
