//! Where a command goes: to a cloud, to the daemon on this machine, or onto the LAN.

use std::path::PathBuf;

use clap::Args;

use super::{cloud::Cloud, failure::Failure, operator::KeyFile, output, site::Site};
use crate::{
    control::Client,
    state::{control_socket, default_folder},
};

/// Where to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where to")]
pub(super) struct PlaceArgs {
    /// A cloud's API, such as http://127.0.0.1:8480. The page's address with `#token=` is as good
    #[arg(long, value_name = "URL", env = "WAYSIDE_CLOUD")]
    pub(super) cloud: Option<String>,
    /// The file that holds the cloud's API token [default: the variable WAYSIDE_TOKEN]
    #[arg(long, value_name = "FILE", requires = "cloud")]
    pub(super) token_file: Option<PathBuf>,
    /// Find devices on the LAN, past a daemon on this machine and past a cloud
    #[arg(long)]
    pub(super) lan: bool,
    /// The state directory of the daemon on this machine
    #[arg(long, value_name = "DIR", env = "WAYSIDE_STATE")]
    pub(super) state: Option<PathBuf>,
    #[command(flatten)]
    pub(super) key: KeyFile,
}

/// Whom a command talks to.
pub(super) enum Place {
    /// A cloud.
    Cloud(Cloud),
    /// The daemon on this machine and its neighbours, or the LAN.
    Site(Box<Site>),
}

impl PlaceArgs {
    /// Finds whom to talk to. Does not connect to a cloud yet.
    pub(super) fn find(&self) -> Result<Place, Failure> {
        match &self.cloud {
            Some(url) if !self.lan => Cloud::new(url, self.token_file.as_deref()).map(Place::Cloud),
            Some(_) | None => Ok(Place::Site(Box::new(self.find_site()?))),
        }
    }

    /// Finds the devices of this LAN, whatever cloud is named.
    pub(super) fn find_site(&self) -> Result<Site, Failure> {
        if self.lan {
            return Site::new(None, self.key.clone());
        }
        let socket = control_socket(&self.state.clone().unwrap_or_else(default_folder));
        match Client::connect(&socket) {
            Ok(client) => Site::new(Some(client), self.key.clone()),
            Err(no_daemon) => {
                output::note(&format!("{no_daemon}; looking on the LAN (--lan does so at once)"));
                Site::new(None, self.key.clone())
            }
        }
    }
}
