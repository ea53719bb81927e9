//! `wayside call`: a method of a module, or one of a device's own.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use wayside_actors::device::calls::{MAX_BODY_BYTES, MAX_DEADLINE_MS, Why, is_method};
use wayside_config::{identity::DeviceId, units};

use super::{
    failure::Failure,
    output,
    place::{Place, PlaceArgs},
    relay::Relayed,
    site::unexpected,
};
use crate::control::{Answer, Ask, Called};

/// Of a call whose operator says nothing of it.
const DEADLINE: Duration = Duration::from_secs(10);

/// For the way to the device and back, besides the deadline.
const WAY: Duration = Duration::from_secs(5);

/// Call a method of a module, or one of a device's own
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside call ewr/weather/sensor calibrate '{\"celsius\": 21.5}'   a method of a module
  wayside call ewr/sensor measure --deadline 30s                    the module alone, where that is clear
  wayside call ewr ping                                             the device itself
  wayside call ewr restart '{\"module\": \"weather/sensor\"}'       until the module runs again
  wayside call ewr logs '{\"module\": \"sensor\", \"tail\": 20}'
  wayside call ewr diagnostics --cloud http://127.0.0.1:8480

A call is answered now or not at all: it does not wait for a module or a device that is away. It is signed with the
operator's key, through a cloud too. What a module may answer to is in docs/workload.md.")]
pub(super) struct CallArgs {
    /// A device, or a device and one of its modules; DEVICE/WORKLOAD/MODULE where the module alone is not clear
    #[arg(value_name = "DEVICE[/MODULE]")]
    target: String,
    /// The method: 1 to 64 of A-Z a-z 0-9 - _ .
    method: String,
    /// What is said with it, as JSON
    #[arg(value_name = "JSON", default_value = "{}")]
    body: String,
    /// How long an answer may take, at most 60s [default: 10s; for a device's `restart`, which stops a module first, 60s]
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Print JSON, of a failure too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl CallArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (device, module) = self.target()?;
        let deadline = self.deadline()?;
        let ask = |to| Ask::Call {
            to,
            module: module.map(ToOwned::to_owned),
            method: self.method.clone(),
            body: self.body.clone(),
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(MAX_DEADLINE_MS),
        };
        let answer = match self.place.find()? {
            Place::Cloud(cloud) => {
                let relayed = Relayed::find(&cloud, &self.place.key, device)?;
                relayed.ask(&ask(relayed.meant.clone()), deadline + WAY)?
            }
            Place::Site(mut site) => {
                let found = site.find(device)?.device;
                let meant = device.parse::<DeviceId>().is_err().then(|| device.to_owned());
                site.ask_within(found, &ask(meant), deadline + WAY)?
            }
        };
        let Answer::Called { outcome } = answer else { return Err(unexpected()) };
        self.show(outcome)
    }

    fn show(&self, outcome: Called) -> Result<(), Failure> {
        match outcome {
            Called::Json(value) if self.json => output::json(&value),
            Called::Json(value) => output::text(&pretty(&value)),
            Called::Text(text) | Called::Base64(text) if self.json => output::json(&text),
            Called::Text(text) | Called::Base64(text) => output::text(&text),
            Called::Failed { why, reason } => {
                if self.json {
                    output::json(&json!({ "why": why, "reason": reason }))?;
                }
                let text = match why {
                    Why::Refused => format!("{} refused: {reason}", self.target),
                    Why::Absent
                    | Why::NotConnected
                    | Why::NoMethod
                    | Why::Ended
                    | Why::Deadline
                    | Why::Busy
                    | Why::TooLarge
                    | Why::Malformed => reason,
                };
                Err(Failure::Failed(text))
            }
        }
    }

    fn target(&self) -> Result<(&str, Option<&str>), Failure> {
        let (device, module) = match self.target.split_once('/') {
            Some((device, module)) => (device, Some(module)),
            None => (self.target.as_str(), None),
        };
        if device.is_empty() || module.is_some_and(str::is_empty) {
            let text = format!("`{}` is neither DEVICE nor DEVICE/MODULE, such as ewr/sensor", self.target);
            return Err(Failure::Usage(text));
        }
        if !is_method(&self.method) {
            return Err(Failure::Usage(format!("`{}` is no name of a method", self.method)));
        }
        if self.body.len() > MAX_BODY_BYTES {
            return Err(Failure::Usage(format!("what is said has more than {MAX_BODY_BYTES} bytes")));
        }
        if let Err(error) = serde_json::from_str::<Value>(&self.body) {
            return Err(Failure::Usage(format!("`{}` is not JSON: {error}", self.body)));
        }
        Ok((device, module))
    }

    fn deadline(&self) -> Result<Duration, Failure> {
        let Some(deadline) = &self.deadline else {
            // A module has 10 s to stop where its file says nothing, and then starts.
            let is_restart = self.method == "restart" && !self.target.contains('/');
            return Ok(if is_restart { Duration::from_millis(MAX_DEADLINE_MS) } else { DEADLINE });
        };
        match units::duration_ms(deadline) {
            Some(ms @ 1..=MAX_DEADLINE_MS) => Ok(Duration::from_millis(ms)),
            Some(_) | None => Err(Failure::Usage(format!(
                "`{deadline}` is no deadline: write one such as 500ms or 10s, at most 60s"
            ))),
        }
    }
}

/// JSON for people: over several lines where it has structure.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CallArgs,
    }

    fn args(words: &[&str]) -> CallArgs {
        Line::parse_from([&["call"], words].concat()).args
    }

    #[test]
    fn what_cannot_be_called_is_refused_before_anybody_is_asked() {
        assert_eq!(args(&["ewr", "ping"]).target().unwrap(), ("ewr", None));
        assert_eq!(args(&["ewr/w/m", "x"]).target().unwrap(), ("ewr", Some("w/m")));
        for words in [["/m", "x", "{}"], ["ewr/", "x", "{}"], ["ewr", "a/b", "{}"], ["ewr", "x", "{"]] {
            assert!(matches!(args(&words).target(), Err(Failure::Usage(_))), "{words:?}");
        }
        let parsed = |words: &[&str]| args(words).deadline().unwrap().as_secs();
        assert_eq!((parsed(&["ewr", "ping"]), parsed(&["ewr", "restart"])), (10, 60));
        assert_eq!(
            (parsed(&["ewr/w/m", "restart"]), parsed(&["ewr", "restart", "--deadline", "5s"])),
            (10, 5)
        );
        for (deadline, expected) in
            [("500ms", Some(500)), ("60s", Some(60_000)), ("61s", None), ("0s", None), ("5", None)]
        {
            let parsed = args(&["ewr", "x", "--deadline", deadline]).deadline().ok();
            assert_eq!(parsed, expected.map(Duration::from_millis), "{deadline}");
        }
    }
}
