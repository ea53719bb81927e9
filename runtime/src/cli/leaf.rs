//! `wayside leaf`: what a workload needs to say of leaf devices.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use wayside_mesh::mqtt::password;

use super::{failure::Failure, output};

/// The longest password, in bytes.
const PASSWORD_BYTES: usize = 1024;

/// Prepare what a workload says of leaf devices
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside leaf password                    asks for the password, and prints what to write in the workload
  pwgen 24 1 | wayside leaf password       takes it from another program")]
pub(super) struct LeafArgs {
    #[command(subcommand)]
    command: LeafCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum LeafCommand {
    /// Print the `password` of a leaf: an Argon2id hash, with each `$` doubled as Compose wants it
    #[command(
        after_long_help = "The password is read from the terminal, or one line of standard input; never from
the command line, which other users of the machine see."
    )]
    Password,
}

impl LeafArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            LeafCommand::Password => {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt).map_err(|error| Failure::Failed(error.to_string()))?;
                output::text(&hashed(&read()?, &salt)?)
            }
        }
    }
}

/// What stands in the workload.
fn hashed(password: &str, salt: &[u8]) -> Result<String, Failure> {
    if password.is_empty() || password.len() > PASSWORD_BYTES {
        return Err(Failure::Usage(format!("a password has 1 to {PASSWORD_BYTES} bytes")));
    }
    let hash =
        password::hash(password.as_bytes(), salt).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(hash.to_string().replace('$', "$$"))
}

/// Without showing it on a terminal.
fn read() -> Result<String, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        return line();
    }
    output::note("Password:");
    let before = tcgetattr(&input).map_err(unreadable)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(unreadable)?;
    let line = line();
    tcsetattr(&input, OptionalActions::Flush, &before).map_err(unreadable)?;
    line
}

/// One line of standard input, without its end.
fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let most = PASSWORD_BYTES as u64 + 2;
    io::stdin().lock().take(most).read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("cannot read the password: {error}"))
}

#[cfg(test)]
mod tests {
    use wayside_config::leaf::PasswordHash;

    use super::*;

    #[test]
    fn what_is_printed_stands_in_a_compose_file() {
        let printed = hashed("secret", b"sixteen bytes of").unwrap();
        assert!(printed.starts_with("$$argon2id$$v=19$$"), "{printed}");
        assert!(printed.replace("$$", "$").parse::<PasswordHash>().is_ok());
        assert!(matches!(hashed("", b"sixteen bytes of"), Err(Failure::Usage(_))));
        assert!(matches!(hashed(&"x".repeat(1025), b"sixteen bytes of"), Err(Failure::Usage(_))));
    }
}
