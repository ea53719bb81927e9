//! `wayside twin`: what is desired of a module, and what it says of itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wayside_config::{document::TwinChange, identity::DeviceId, patch, workload::ModuleId};

use super::{
    call::pretty,
    cloud::{Cloud, encode},
    failure::Failure,
    operator::{KeyFile, Operator},
    output,
    place::{Place, PlaceArgs},
    relay::Relayed,
    site::{Site, unexpected},
};
use crate::control::{Answer, Ask, Sealed, TwinView};

/// How long a device may take to write a change.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(200);

/// Show a module's twin, or change what is desired of it
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "Examples:
  wayside twin ewr/weather/sensor                                 what is desired, and what the module reports
  wayside twin set ewr/weather/sensor '{\"interval_ms\": 500}'      change one property, leave the others
  wayside twin set ewr/weather/sensor '{\"interval_ms\": null}'     remove it
  wayside twin set ewr/weather/sensor '{\"depth\": 2}' --cloud http://127.0.0.1:8480

A change is a JSON Merge Patch (RFC 7396), signed with the operator's key. The module is not restarted: it is told now, or when
it next appears. What a module has to do for that is in docs/workload.md."
)]
pub(super) struct TwinArgs {
    #[command(subcommand)]
    set: Option<TwinCommand>,
    /// A device and one of its modules; DEVICE/WORKLOAD/MODULE where the module alone is not clear
    #[arg(value_name = "DEVICE/MODULE")]
    target: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Subcommand)]
enum TwinCommand {
    Set(SetArgs),
}

/// Change what is desired of a module
#[derive(Debug, Args)]
struct SetArgs {
    /// A device and one of its modules; DEVICE/WORKLOAD/MODULE where the module alone is not clear
    #[arg(value_name = "DEVICE/MODULE")]
    target: String,
    /// A JSON Merge Patch: what is named is set, what is null is removed, the rest stays
    #[arg(value_name = "PATCH")]
    patch: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl TwinArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match (&self.set, &self.target) {
            (Some(TwinCommand::Set(args)), _) => args.run(),
            (None, Some(target)) => {
                let (device, module) = split(target)?;
                show(&Reached::find(&self.place, device)?.look(module)?, self.json)
            }
            (None, None) => Err(Failure::Usage("which twin? Write DEVICE/MODULE, such as ewr/sensor".into())),
        }
    }
}

impl SetArgs {
    fn run(&self) -> Result<(), Failure> {
        let (device, module) = split(&self.target)?;
        if let Err(error) = patch::object(self.patch.as_bytes()) {
            return Err(Failure::Usage(format!("`{}` is no change: {error}", self.patch)));
        }
        let mut place = Reached::find(&self.place, device)?;
        let operator = self.place.key.operator()?;
        show(&place.set(&operator, module, &self.patch)?, self.json)
    }
}

/// A twin, and what a cloud knows of changes that its device is still to take.
#[derive(Serialize, Deserialize)]
struct Shown {
    #[serde(flatten)]
    twin: TwinView,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    problem: String,
}

/// What a cloud says of a change.
#[derive(Deserialize)]
struct Taken {
    version: u64,
    handed: bool,
}

/// The way to a device.
enum Reached<'a> {
    Site { site: Box<Site>, device: DeviceId, meant: Option<String> },
    Cloud { cloud: Cloud, key: &'a KeyFile, name: &'a str },
}

impl<'a> Reached<'a> {
    fn find(place: &'a PlaceArgs, name: &'a str) -> Result<Self, Failure> {
        Ok(match place.find()? {
            Place::Cloud(cloud) => Self::Cloud { cloud, key: &place.key, name },
            Place::Site(site) => {
                let device = site.find(name)?.device;
                let meant = name.parse::<DeviceId>().is_err().then(|| name.to_owned());
                Self::Site { site, device, meant }
            }
        })
    }

    fn look(&mut self, module: &str) -> Result<Shown, Failure> {
        match self {
            Self::Site { site, device, meant } => {
                shown(site.ask(*device, &Ask::Twin { to: meant.clone(), module: module.to_owned() })?)
            }
            Self::Cloud { cloud, key, name } => match known(cloud, name, module)? {
                Some(shown) => Ok(shown),
                // It begins with this look, if the device is there.
                None => {
                    let relayed = Relayed::find(cloud, key, name)?;
                    let ask = Ask::Twin { to: relayed.meant.clone(), module: module.to_owned() };
                    shown(relayed.ask(&ask, PATIENCE)?)
                }
            },
        }
    }

    fn set(&mut self, operator: &Operator, module: &str, patch: &str) -> Result<Shown, Failure> {
        let before = self.look(module)?;
        match self {
            Self::Site { site, device, meant } => {
                let change = change(operator, *device, meant.clone(), &before, patch)?;
                shown(site.ask(*device, &Ask::SetTwin { change: Sealed(change) })?)
            }
            Self::Cloud { cloud, key: file, name } => {
                let relayed = Relayed::find(cloud, file, name)?;
                let change = change(operator, relayed.device, relayed.meant.clone(), &before, patch)?;
                hand_over(cloud, &relayed, &before.twin.module, &change)
            }
        }
    }
}

/// Gives a cloud a change; waits until the device has it, when it is there.
fn hand_over(cloud: &Cloud, relayed: &Relayed<'_>, module: &str, change: &[u8]) -> Result<Shown, Failure> {
    let device = relayed.device.to_string();
    let path = format!("devices/{device}/twins/{module}");
    let deadline = Instant::now() + PATIENCE;
    // A twin that has only just begun may not be known to the cloud yet.
    let Taken { version, handed } = loop {
        match cloud.post(&path, change) {
            Ok(taken) => break taken,
            Err(failure) if known(cloud, &device, module)?.is_some() || Instant::now() > deadline => {
                return Err(failure);
            }
            Err(_) => thread::sleep(LOOK),
        }
    };
    loop {
        let shown = known(cloud, &device, module)?.ok_or_else(unexpected)?;
        if !shown.pending.contains(&version) && !shown.problem.is_empty() {
            return Err(Failure::Failed(shown.problem));
        }
        if !handed || !shown.pending.contains(&version) {
            return Ok(shown);
        }
        if Instant::now() > deadline {
            let text =
                format!("{} has not taken the change yet: see `wayside status`", relayed.device.short());
            return Err(Failure::Failed(text));
        }
        thread::sleep(LOOK);
    }
}

/// The twin that `module` means, `workload/module` or `module` alone, as a cloud knows it.
fn known(cloud: &Cloud, device: &str, module: &str) -> Result<Option<Shown>, Failure> {
    let mut all: Vec<Shown> = cloud.get(&format!("devices/{}/twins", encode(device)), &[])?;
    let is_meant =
        |name: &str| name == module || name.split_once('/').is_some_and(|(_, last)| last == module);
    all.retain(|shown| is_meant(&shown.twin.module));
    match all.len() {
        0 | 1 => Ok(all.pop()),
        _ => {
            let names: Vec<&str> = all.iter().map(|shown| shown.twin.module.as_str()).collect();
            let text = format!("several twins are named `{module}`: say which of {}", names.join(", "));
            Err(Failure::Failed(text))
        }
    }
}

fn shown(answer: Answer) -> Result<Shown, Failure> {
    match answer {
        Answer::Twin(twin) => Ok(Shown { twin, pending: Vec::new(), problem: String::new() }),
        Answer::Status(_)
        | Answer::Devices { .. }
        | Answer::Lobby(_)
        | Answer::Admitted { .. }
        | Answer::Rules { .. }
        | Answer::Versions(_)
        | Answer::Applied { .. }
        | Answer::Kept { .. }
        | Answer::Logs { .. }
        | Answer::Secrets { .. }
        | Answer::Audit { .. }
        | Answer::Locks { .. }
        | Answer::Called { .. } => Err(unexpected()),
    }
}

/// An operator's change, which makes the version after all that are known of.
fn change(
    operator: &Operator,
    device: DeviceId,
    name: Option<String>,
    before: &Shown,
    patch: &str,
) -> Result<Vec<u8>, Failure> {
    let Shown { twin, pending, .. } = before;
    let module: ModuleId =
        twin.module.parse().map_err(|error| Failure::Failed(format!("{}: {error}", twin.module)))?;
    let version = pending.last().copied().unwrap_or(0).max(twin.desired_version).saturating_add(1);
    let change = TwinChange { device, name, module, life: twin.life, version, patch: patch.to_owned() };
    operator.seal(&change)
}

fn split(target: &str) -> Result<(&str, &str), Failure> {
    target
        .split_once('/')
        .filter(|(device, module)| !device.is_empty() && !module.is_empty())
        .ok_or_else(|| Failure::Usage(format!("`{target}` is not DEVICE/MODULE, such as ewr/weather/sensor")))
}

fn show(shown: &Shown, json: bool) -> Result<(), Failure> {
    if json { output::json(shown) } else { output::text(&describe(shown)) }
}

fn describe(shown: &Shown) -> String {
    let Shown { twin, pending, problem } = shown;
    let side =
        |name: &str, version: u64, value: &Value| format!("{name} (version {version})\n{}", pretty(value));
    let mut parts = vec![
        side("desired", twin.desired_version, &twin.desired),
        side("reported", twin.reported_version, &twin.reported),
    ];
    if let (Some(first), Some(last)) = (pending.first(), pending.last()) {
        parts.push(format!(
            "the device is still to take the changes {first} to {last}: it does when it is back"
        ));
    }
    if !problem.is_empty() {
        parts.push(problem.clone());
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_actors::device::twins::Twin;

    use super::*;

    #[test]
    fn a_change_is_for_the_version_after_those_that_wait() {
        let operator = Operator::alone(SigningKey::from_bytes(&[1; 32]));
        let twin = TwinView::new(&"w/m".parse().unwrap(), &Twin::new(7));
        let sealed = |pending| {
            let before = Shown { twin: twin.clone(), pending, problem: String::new() };
            let sealed = change(&operator, DeviceId::from_bytes([2; 32]), None, &before, "{}").unwrap();
            operator.fleet.verify::<TwinChange>(&sealed).unwrap().1
        };
        assert_eq!((sealed(Vec::new()).version, sealed(vec![1, 2]).version), (1, 3));
        assert_eq!(sealed(Vec::new()).life, 7);
    }

    #[test]
    fn people_read_both_sides_and_what_waits() {
        let twin = TwinView::new(&"w/m".parse().unwrap(), &Twin::new(7));
        let shown = Shown { twin, pending: vec![1, 2], problem: String::new() };
        insta::assert_snapshot!(describe(&shown), @r"
        desired (version 0)
        {}

        reported (version 0)
        {}

        the device is still to take the changes 1 to 2: it does when it is back
        ");
    }
}
