//! `wayside token`: join tokens, with which devices come in without being approved.

use clap::{Args, Subcommand};
use wayside_config::{limits::MEMBERS, rule::Token};

use super::{failure::Failure, output, rule::Gives};

/// Make a join token: a device that has it is admitted without being approved
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside token new                                 for one device, for a week
  wayside token new --uses 40 --label plant=p7      for forty, which are given this label
  WAYSIDE_JOIN_TOKEN=... wayside up                 the device, on the same LAN; or `join_token` in wayside.toml
  wayside rule list                                 who came in by it
  wayside revoke --rule ID                          end it: who came in by it is out as well

The token is a secret until it is used up: whoever has it comes in. It is applied by one device, the one on this machine or
`--at`, which counts, and must be on for others to come in.")]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    New(NewArgs),
}

/// Print a new join token
#[derive(Debug, Args)]
struct NewArgs {
    /// How many devices it is for
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MEMBERS as u64))]
    uses: u64,
    #[command(flatten)]
    gives: Gives,
}

impl TokenArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            TokenCommand::New(NewArgs { uses, gives }) => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|error| Failure::Failed(error.to_string()))?;
                let token = Token::new(gives.operator()?.fleet.id(), &seed);
                let id = gives.make(Some(token.key()), Some(uses), Default::default())?;
                output::note(&format!("rule {id}; the token, which is not shown again:"));
                output::text(&token.reveal())
            }
        }
    }
}
