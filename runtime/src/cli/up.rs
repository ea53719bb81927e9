//! `wayside up`: the daemon.

use std::{
    fs, io,
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgAction, Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use wayside_config::{
    fleet::Pinned,
    identity::{FleetId, PublicKey},
    join::JoinLink,
    limits::SETTINGS_BYTES,
    rule::Token,
    settings::{DEVICE_NAME_RULE, LeafAddress, Settings, is_device_name},
};

use super::failure::Failure;
use crate::{
    daemon::{UpOptions, up},
    state::default_folder,
};

/// Run this machine as a device, until it is stopped
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside up                                         nothing has to be configured
  wayside up --name ewr --join 'wayside://...'       a device that has a cloud
  wayside up --operator \"$(ssh office wayside key)\"  a device that obeys the office's only operator

Settings may stand in `wayside.toml` in the state directory; what is given here stands above them. On
SIGTERM or Ctrl-C the daemon finishes what it has taken and ends. Modules run on; the next daemon finds
them again.")]
pub(super) struct UpArgs {
    /// The device's name, for people and in topics [default: the host's]
    #[arg(long, value_parser = device_name)]
    name: Option<String>,
    /// A label that targets of workloads may ask for; may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The cloud to join, by the link that `wayside-cloud links` shows
    #[arg(long, value_name = "LINK", env = "WAYSIDE_JOIN", hide_env_values = true)]
    join: Option<JoinLink>,
    /// Belong to the fleet of this key alone, as `wayside key` prints it [default: that of the first who applies something]
    #[arg(long, value_name = "KEY", conflicts_with = "fleet")]
    operator: Option<PublicKey>,
    /// Belong to this fleet, as `wayside fleet` prints it
    #[arg(long, value_name = "FLEET")]
    fleet: Option<FleetId>,
    /// Be admitted to a fleet by a join token, as `wayside token new` prints it
    #[arg(long, value_name = "TOKEN", env = "WAYSIDE_JOIN_TOKEN", hide_env_values = true)]
    join_token: Option<Token>,
    /// The state directory; made when it is missing [default: /var/lib/wayside for root]
    #[arg(long, value_name = "DIR", env = "WAYSIDE_STATE")]
    state: Option<PathBuf>,
    /// The settings file [default: wayside.toml in the state directory, if there is one]
    #[arg(long, value_name = "FILE", env = "WAYSIDE_SETTINGS")]
    settings: Option<PathBuf>,
    /// Port on which modules find MQTT
    #[arg(long, value_name = "PORT")]
    mqtt_port: Option<std::num::NonZeroU16>,
    /// Listen for MQTT on 127.0.0.1 too
    #[arg(long)]
    mqtt_loopback: bool,
    /// Where to listen for leaf devices, such as mqtts://192.168.1.5:8883; may be given again [default: nowhere]
    #[arg(long = "leaf-listen", value_name = "ADDRESS")]
    leaf_listen: Vec<LeafAddress>,
    /// The certificate chain that leaf devices see, a PEM file [default: one that is made from the device's key]
    #[arg(long, value_name = "FILE", requires = "leaf_key")]
    leaf_certificate: Option<PathBuf>,
    /// The key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "leaf_certificate")]
    leaf_key: Option<PathBuf>,
    /// A neighbour to call where multicast does not reach; may be given again
    #[arg(long, value_name = "ADDRESS")]
    connect: Vec<SocketAddr>,
    /// Stop the modules with the daemon
    #[arg(long)]
    stop_modules: bool,
    /// Record what happens to every actor in this directory, for a replay
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// More words in the log: -v decisions, -vv messages
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// The form of the log, which goes to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl UpArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.log_to_stderr();
        let options = UpOptions {
            stop_modules: self.stop_modules,
            record: self.record.clone(),
            settings: self.settings()?,
        };
        up(options).map_err(|error| Failure::Failed(format!("{error:#}")))
    }

    /// The settings file, and above it what the command line says.
    fn settings(self) -> Result<Settings, Failure> {
        let folder = self.state.clone().unwrap_or_else(default_folder);
        let mut settings = match &self.settings {
            Some(path) => {
                read(path)?.ok_or_else(|| Failure::Usage(format!("there is no {}", path.display())))?
            }
            None => read(&folder.join("wayside.toml"))?.unwrap_or_default(),
        };
        settings.state = self.state.or(settings.state);
        settings.name = self.name.or(settings.name);
        settings.cloud = self.join.or(settings.cloud);
        settings.labels.extend(self.labels);
        let told = self.fleet.map(Pinned::Fleet).or(self.operator.map(Pinned::Operator));
        settings.fleet = told.or(settings.fleet);
        settings.join_token = self.join_token.or(settings.join_token);
        if settings.is_torn() {
            return Err(Failure::Usage(
                "the join token is of another fleet than --fleet or --operator names: leave one of them out"
                    .into(),
            ));
        }
        settings.mqtt_port = self.mqtt_port.map_or(settings.mqtt_port, Into::into);
        settings.mqtt_loopback |= self.mqtt_loopback;
        settings.mesh.connect.extend(self.connect);
        if !self.leaf_listen.is_empty() {
            settings.leaves.listen = self.leaf_listen;
        }
        if self.leaf_certificate.is_some() {
            settings.leaves.certificate = self.leaf_certificate;
            settings.leaves.key = self.leaf_key;
        }
        Ok(settings)
    }

    fn log_to_stderr(&self) {
        let level = match self.verbose {
            0 => "info,zenoh=warn",
            1 => {
                "info,zenoh=warn,wayside_runtime=debug,wayside_host=debug,wayside_mesh=debug,wayside_cloud_bridge=debug"
            }
            2.. => {
                "info,wayside_runtime=trace,wayside_host=trace,wayside_mesh=trace,wayside_cloud_bridge=trace"
            }
        };
        let filter = EnvFilter::try_from_env("WAYSIDE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<Settings>, Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(failed)?.len(),
    };
    if size > SETTINGS_BYTES as u64 {
        let path = path.display();
        return Err(Failure::Usage(format!(
            "{path} has {size} bytes, more than the limit of {SETTINGS_BYTES}"
        )));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Settings::parse(&path.display().to_string(), &text).map(Some).map_err(Failure::File)
}

fn device_name(text: &str) -> Result<String, String> {
    if is_device_name(text) { Ok(text.to_owned()) } else { Err(format!("write {DEVICE_NAME_RULE}")) }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() { Err("the name is missing".into()) } else { Ok((name.into(), value.into())) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        up: UpArgs,
    }

    #[test]
    fn what_is_given_stands_above_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("wayside.toml"),
            "name = \"jfk\"\nmqtt_port = 2883\nlabels = { plant = \"p7\" }\n",
        )
        .unwrap();
        let state = folder.path().to_str().unwrap();
        let arguments =
            ["up", "--state", state, "--name", "ewr", "--label", "line=3", "--leaf-listen", "[::1]:1884"];
        let settings = Only::parse_from(arguments).up.settings().unwrap();
        assert!(!settings.leaves.listen[0].has_tls);
        assert!(
            Only::try_parse_from(["up", "--leaf-key", "a.key"]).is_err(),
            "a key without its certificate"
        );
        assert_eq!((settings.name.as_deref(), settings.mqtt_port), (Some("ewr"), 2883));
        assert_eq!(settings.labels.len(), 2);
        assert_eq!(settings.state.as_deref(), Some(folder.path()));
    }

    #[test]
    fn a_wrong_file_is_shown_and_a_missing_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_str().unwrap();
        let missing = Only::parse_from(["up", "--state", state, "--settings", "/nowhere/x.toml"]).up;
        assert!(matches!(missing.settings(), Err(Failure::Usage(text)) if text.contains("/nowhere/x.toml")));
        fs::write(folder.path().join("wayside.toml"), "nmae = \"x\"").unwrap();
        let wrong = Only::parse_from(["up", "--state", state]).up;
        assert!(matches!(wrong.settings(), Err(Failure::File(_))));
    }
}
