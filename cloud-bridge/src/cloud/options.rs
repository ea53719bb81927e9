//! The command line of `wayside-cloud`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use wayside_config::{
    fleet::Pinned,
    identity::{FleetId, PublicKey},
};

/// The cloud of a fleet: devices connect to it over QUIC, operators use its page and its HTTP API.
///
/// On start it prints the page's address with its token, and the link that lets a device join: to a
/// terminal alone. `wayside-cloud links` shows them at any time.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "wayside-cloud",
    version,
    after_help = "Examples:
  wayside-cloud --state /var/lib/wayside-cloud --advertise cloud.example.org
  wayside-cloud --state ./cloud --listen 127.0.0.1:7443 --operator \"$(wayside key)\"
  wayside-cloud links --state /var/lib/wayside-cloud"
)]
pub struct Options {
    /// Something else than to run
    #[command(subcommand)]
    pub command: Option<Command>,

    /// UDP address that devices connect to
    #[arg(long, default_value = "0.0.0.0:7443", env = "WAYSIDE_CLOUD_LISTEN")]
    pub listen: SocketAddr,

    /// TCP address of the HTTP API and the page
    #[arg(long, default_value = "127.0.0.1:8480", env = "WAYSIDE_CLOUD_API")]
    pub api: SocketAddr,

    /// State directory; made when it is missing [default: /var/lib/wayside-cloud for root, else
    /// ~/.local/state/wayside-cloud]
    #[arg(long, value_name = "DIR", env = "WAYSIDE_CLOUD_STATE", global = true)]
    pub state: Option<PathBuf>,

    /// Host name or address that join links name; without it, the address of --listen or this
    /// machine's own
    #[arg(long, value_name = "HOST", env = "WAYSIDE_CLOUD_ADVERTISE")]
    pub advertise: Option<String>,

    /// Serve the fleet of this key alone. When neither this nor --fleet was ever given, the fleet of the
    /// first operator who applies something is taken and kept
    #[arg(long, value_name = "KEY", conflicts_with = "fleet")]
    pub operator: Option<PublicKey>,

    /// Serve this fleet, as `wayside fleet` prints it
    #[arg(long, value_name = "FLEET")]
    pub fleet: Option<FleetId>,

    /// Keep at most this much of the messages; the oldest are dropped and counted. In bytes, or with a
    /// unit: MiB, GiB
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    pub keep_bytes: u64,

    /// The most devices that may be connected at a time
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub max_devices: u32,

    /// More words in the log: -v decisions, -vv messages
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The form of the log, which goes to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Options {
    /// The fleet that it was told to serve.
    #[must_use]
    pub fn pinned(&self) -> Option<Pinned> {
        self.fleet.map(Pinned::Fleet).or(self.operator.map(Pinned::Operator))
    }

    /// The state directory that holds: `--state`, or the one that is usual for this user.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| wayside_host::state_folder("wayside-cloud"))
    }
}

/// What `wayside-cloud` does instead of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Show the page's address with its token, and the join link, of the cloud on this state directory
    Links,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least that may be kept: two parts of the log.
const MIN_KEEP_BYTES: u64 = 128 << 20;

fn parse_size(text: &str) -> Result<u64, String> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        other => return Err(format!("unknown unit `{other}`: use KiB, MiB, GiB or TiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number such as 10GiB".to_owned())?;
    let bytes = number.checked_mul(factor).ok_or("that is more than there can be")?;
    if bytes < MIN_KEEP_BYTES { Err("at least 128MiB".into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("200 MiB"), Ok(200 << 20));
        assert_eq!(parse_size("134217728"), Ok(128 << 20));
        for wrong in ["", "GiB", "10GB", "1MiB", "99999999999TiB", "-1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }
}
