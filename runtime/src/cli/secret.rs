//! `wayside secret`: sets secrets on devices, each encrypted to its device, and removes them.

mod reach;

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use wayside_config::{
    limits::{SECRET_BYTES, VERSION_MAX},
    secret::{SecretChange, SecretName, is_secret_name},
    workload::is_name,
};
use zeroize::Zeroizing;

use self::reach::{Member, Reached};
use super::{
    approve::label,
    failure::Failure,
    operator::Operator,
    output::{self, table},
    passphrase::type_in,
    place::PlaceArgs,
    site::unexpected,
};
use crate::{
    control::{Answer, Ask, Sealed},
    secrets::seal,
    undumped::leave_no_core,
};

/// Set and remove secrets of devices, and see which they have
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside secret set token --device ewr < token.txt           on one device
  wayside secret set token --all --file token.txt             on all devices of this LAN
  wayside secret set token --label plant=p7 --workload grid   for the modules of one workload
  wayside secret set token --device ewr --cloud URL           by way of a cloud, which cannot read it
  wayside secret list
  wayside secret remove token --all

A value is read from a file, from standard input, or typed unseen, and never stands in an argument. It is encrypted to each device's key
and signed with the operator's. Modules that name the secret in their Compose file have it in /run/secrets; a new value reaches them while they run.")]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Set a secret, or give it a new value
    Set(SetArgs),
    /// Show which secrets devices have; not their values, which no device tells
    List(ListArgs),
    /// Remove a secret: its file is gone from the modules that have it
    Remove(RemoveArgs),
}

/// Which devices.
#[derive(Debug, Args)]
pub(super) struct Targets {
    /// A device, by name or key; may be given again
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Devices that were granted this label; may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// All devices that are there
    #[arg(long, conflicts_with_all = ["devices", "labels"])]
    all: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The secret's name, as in the Compose file
    #[arg(value_parser = secret)]
    name: String,
    /// For the modules of this workload alone
    #[arg(long, value_name = "NAME", value_parser = workload)]
    workload: Option<String>,
    /// The file that holds the value [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// The secret's name
    #[arg(value_parser = secret)]
    name: String,
    /// That for the modules of this workload alone
    #[arg(long, value_name = "NAME", value_parser = workload)]
    workload: Option<String>,
    #[command(flatten)]
    targets: Targets,
}

/// A secret of a device.
#[derive(Debug, Serialize)]
struct Line {
    device: String,
    secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
    version: u64,
}

impl SecretArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            SecretCommand::Set(args) => args.run(),
            SecretCommand::List(args) => args.run(),
            SecretCommand::Remove(args) => args.run(),
        }
    }
}

impl SetArgs {
    fn run(&self) -> Result<(), Failure> {
        leave_no_core();
        self.targets.check()?;
        let value = self.value()?;
        let name = SecretName { workload: self.workload.clone(), secret: self.name.clone() };
        let done = self.targets.change(&name, Some(&value))?;
        output::text(&format!("{name} is set on {done} device(s)"))
    }

    /// The bytes as they are, with whatever ends them.
    fn value(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut value = Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 1));
        let most = SECRET_BYTES as u64 + 1;
        match &self.file {
            Some(path) => {
                let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut value));
                read.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
            }
            None if io::stdin().is_terminal() => {
                let typed = Zeroizing::new(type_in(&format!("the value of {}", self.name))?);
                value.extend_from_slice(typed.as_bytes());
            }
            None => drop(io::stdin().lock().take(most).read_to_end(&mut value)?),
        }
        match value.len() {
            0 => {
                Err(Failure::Usage("the value is empty: `wayside secret remove` takes a secret away".into()))
            }
            1..=SECRET_BYTES => Ok(value),
            _ => Err(Failure::Usage(format!("the value has more than {SECRET_BYTES} bytes"))),
        }
    }
}

impl RemoveArgs {
    fn run(&self) -> Result<(), Failure> {
        self.targets.check()?;
        let name = SecretName { workload: self.workload.clone(), secret: self.name.clone() };
        let done = self.targets.change(&name, None)?;
        output::text(&format!("{name} is removed from {done} device(s)"))
    }
}

impl ListArgs {
    fn run(&self) -> Result<(), Failure> {
        let mut reached = Reached::find(&self.targets.place)?;
        let operator = reached.operator(&self.targets.place)?;
        let mut lines = Vec::new();
        self.targets.each(&mut reached, &operator, |reached, member| {
            let Answer::Secrets { secrets, .. } = reached.ask(member, &Ask::Secrets)? else {
                return Err(unexpected());
            };
            lines.extend(secrets.into_iter().map(|known| Line {
                device: member.name.clone(),
                secret: known.secret,
                workload: known.workload,
                version: known.version,
            }));
            Ok(())
        })?;
        if self.json {
            return output::json(&lines);
        }
        let row = |line: &Line| {
            let workload = line.workload.clone().unwrap_or_default();
            vec![line.device.clone(), line.secret.clone(), workload, line.version.to_string()]
        };
        let rows: Vec<_> = lines.iter().map(row).collect();
        output::text(&table(&["DEVICE", "SECRET", "WORKLOAD", "VERSION"], &rows))
    }
}

impl Targets {
    fn check(&self) -> Result<(), Failure> {
        if self.devices.is_empty() && self.labels.is_empty() && !self.all {
            return Err(Failure::Usage("say where: --device NAME, --label NAME=VALUE or --all".into()));
        }
        Ok(())
    }

    fn is_meant(&self, member: &Member) -> bool {
        let key = member.device.to_string();
        let is_named = self.devices.iter().any(|name| *name == member.name || *name == key);
        let is_labelled = !self.labels.is_empty()
            && self.labels.iter().all(|(name, value)| member.labels.get(name) == Some(value));
        let is_any = self.devices.is_empty() && self.labels.is_empty();
        is_named || is_labelled || is_any
    }

    /// Does it with each device that is meant, and goes on where one fails. Gives how many there were.
    fn each(
        &self,
        reached: &mut Reached<'_>,
        operator: &Operator,
        mut step: impl FnMut(&mut Reached<'_>, &Member) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut members = reached.members(operator)?;
        let is_any = !members.is_empty();
        members.retain(|member| self.is_meant(member));
        let known = |name: &String| members.iter().any(|m| m.name == *name || m.device.to_string() == *name);
        if let Some(name) = self.devices.iter().find(|name| !known(name)) {
            return Err(Failure::Failed(format!(
                "no device {name} that was admitted to your fleet answers here: see `wayside devices`"
            )));
        }
        if members.is_empty() {
            let whose = if is_any { "that you mean" } else { "that was admitted to the fleet of this key" };
            return Err(Failure::Failed(format!("no device {whose} is here: see `wayside devices`")));
        }
        let mut failed = Vec::new();
        for member in &members {
            match step(reached, member) {
                Ok(()) => {}
                Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                    failed.push(format!("{}: {reason}", member.name));
                }
                Err(other) => return Err(other),
            }
        }
        if failed.is_empty() {
            return Ok(members.len());
        }
        let done = members.len() - failed.len();
        Err(Failure::Failed(format!("{done} of {} device(s) did it; {}", members.len(), failed.join("; "))))
    }

    fn change(&self, name: &SecretName, value: Option<&[u8]>) -> Result<usize, Failure> {
        let mut reached = Reached::find(&self.place)?;
        let operator = reached.operator(&self.place)?;
        self.each(&mut reached, &operator, |reached, member| {
            let Answer::Secrets { version, .. } = reached.ask(member, &Ask::Secrets)? else {
                return Err(unexpected());
            };
            let change = sealed(&operator, member, name, version, value)?;
            let Answer::Secrets { .. } = reached.ask(member, &Ask::SetSecret { change: Sealed(change) })?
            else {
                return Err(unexpected());
            };
            Ok(())
        })
    }
}

/// The change that follows the version that a device knows.
fn sealed(
    operator: &Operator,
    member: &Member,
    name: &SecretName,
    version: u64,
    value: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    if version >= VERSION_MAX {
        let text = "it has taken the highest version of a secret that there is: it has to begin anew with an empty state directory";
        return Err(Failure::Failed(text.into()));
    }
    let mut change =
        SecretChange { device: member.device, version: version + 1, secret: name.clone(), value: None };
    let binding = change.binding(&operator.fleet.id());
    change.value =
        value.map(|value| seal(value, &member.device, &binding)).transpose().map_err(Failure::Failed)?;
    operator.seal(&change)
}

fn secret(text: &str) -> Result<String, String> {
    match is_secret_name(text) {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 63 letters, digits, `-`, `_` and `.`".into()),
    }
}

fn workload(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("this is no name of a workload".into()) }
}
