//! `wayside key`: who this operator is.

use clap::Args;
use serde_json::json;

use super::{
    failure::Failure,
    operator::{KeyFile, public},
    output,
};

/// Show this operator's public key; make the key at first use
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside key
  wayside up --operator \"$(ssh office wayside key)\"     a device that obeys the office

The key signs what devices run. A device obeys the keys given with `wayside up --operator`, or else the
first that hands it a workload.")]
pub(super) struct KeyArgs {
    #[command(flatten)]
    key: KeyFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl KeyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let key = public(&self.key.load()?);
        if self.json {
            return output::json(&json!({ "key": key, "file": self.key.path()? }));
        }
        output::text(&key.to_string())
    }
}
