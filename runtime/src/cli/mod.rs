//! The command line `wayside`: one file a command.

mod apply;
mod assign;
mod cloud;
mod devices;
mod failure;
mod key;
mod logs;
mod messages;
mod operator;
mod output;
mod place;
mod remove;
mod site;
mod status;
mod up;
mod view;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Apply(apply::ApplyArgs),
    Remove(remove::RemoveArgs),
    Devices(devices::DevicesArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Messages(messages::MessagesArgs),
    Key(key::KeyArgs),
}

/// Reads the command line, does what it says, and tells of failure on stderr.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(args) => args.run(),
        Command::Apply(args) => args.run(),
        Command::Remove(args) => args.run(),
        Command::Devices(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Logs(args) => args.run(),
        Command::Messages(args) => args.run(),
        Command::Key(args) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_sound_and_has_examples() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{help}");
        }
    }
}
