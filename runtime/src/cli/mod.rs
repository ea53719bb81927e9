//! The command line `wayside`: one file a command.

mod admit;
mod apply;
mod approve;
mod assign;
mod audit;
mod away;
mod call;
mod cloud;
mod devices;
mod failure;
mod fleet;
mod fleet_file;
mod key;
mod labels;
mod leaf;
mod lock;
mod locked;
mod logs;
mod messages;
mod operator;
mod output;
mod passphrase;
mod pin;
mod place;
mod push;
mod relay;
mod remove;
mod revoke;
mod rotate;
mod rule;
mod secret;
mod sign;
mod site;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod twin;
mod up;
mod verify;
mod view;
mod visible;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Runs container workloads on fleets of edge devices and moves their data.
#[derive(Debug, Parser)]
#[command(
    name = "wayside",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:
  wayside up                           make this machine a device
  wayside apply compose.yaml           run a workload on this device and its LAN
  wayside status                       how this device is
  wayside COMMAND --help               more of a command, with examples

Exit codes: 0 done, 1 failed, 2 wrong usage or input file, 3 daemon or cloud not reached."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::UpArgs>),
    Approve(approve::ApproveArgs),
    Token(token::TokenArgs),
    Rule(rule::RuleArgs),
    Apply(apply::ApplyArgs),
    Remove(remove::RemoveArgs),
    Devices(devices::DevicesArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Lock(lock::LockArgs),
    Unlock(lock::UnlockArgs),
    Call(call::CallArgs),
    Twin(twin::TwinArgs),
    Secret(secret::SecretArgs),
    Messages(messages::MessagesArgs),
    Key(key::KeyArgs),
    Fleet(fleet::FleetArgs),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    Rotate(rotate::RotateArgs),
    Revoke(revoke::RevokeArgs),
    Leaf(leaf::LeafArgs),
    Audit(audit::AuditArgs),
}

/// Reads the command line, does what it says, and tells of failure on stderr.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Up(args) => args.run(),
            Command::Approve(args) => args.run(),
            Command::Token(args) => args.run(),
            Command::Rule(args) => args.run(),
            Command::Apply(args) => args.run(),
            Command::Remove(args) => args.run(),
            Command::Devices(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Lock(args) => args.run(),
            Command::Unlock(args) => args.run(),
            Command::Call(args) => args.run(),
            Command::Twin(args) => args.run(),
            Command::Secret(args) => args.run(),
            Command::Messages(args) => args.run(),
            Command::Key(args) => args.run(),
            Command::Fleet(args) => args.run(),
            Command::Sign(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Rotate(args) => args.run(),
            Command::Revoke(args) => args.run(),
            Command::Leaf(args) => args.run(),
            Command::Audit(args) => args.run(),
        }
    }
}
