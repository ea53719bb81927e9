//! `wayside key`: who this operator is.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{failure::Failure, operator::KeyFile, output};

/// Show this operator's public key; make the key at first use
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_long_help = "Examples:
  wayside key
  wayside key new                                      a key that a passphrase locks
  wayside up --operator \"$(ssh office wayside key)\"     a device that obeys the office

The key signs what devices run. A device obeys the fleet given with `wayside up --operator` or `--fleet`, or else
that of the first who hands it a workload. Made without being asked for, the key lies unlocked in a file that only
its owner may read; `key new` locks it with a passphrase, in the format of age.")]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: Option<KeyCommand>,
    #[command(flatten)]
    key: KeyFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    New(NewArgs),
}

/// Make a key that a passphrase locks
#[derive(Debug, Args)]
struct NewArgs {
    #[command(flatten)]
    key: KeyFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl KeyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (signer, file, json) = match &self.command {
            Some(KeyCommand::New(new)) => (new.key.make_locked()?, &new.key, new.json),
            None => (self.key.load_or_make()?, &self.key, self.json),
        };
        if json {
            return output::json(&json!({ "key": signer.key(), "file": file.path()? }));
        }
        output::text(&signer.key().to_string())
    }
}
