//! `wayside messages`: what modules publish, as it arrives.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
};

use clap::Args;

use super::{
    cloud::Cloud,
    failure::Failure,
    output::{self, time_of_day},
    place::{Place, PlaceArgs},
    visible::one_line,
};
use crate::control::MessageLine;

/// The most messages that `-n` shows.
const MAX_NEWEST: usize = 100_000;

/// Show messages: those that reach a cloud, or those that modules on this machine publish
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside messages                                           what modules on this machine publish, until Ctrl-C
  wayside messages --cloud http://127.0.0.1:8480             what reaches the cloud, until Ctrl-C
  wayside messages -n 10 --cloud http://127.0.0.1:8480       the 10 newest that the cloud holds
  wayside messages --route weather/alarms --json | jq .payload")]
pub(super) struct MessagesArgs {
    /// Only those of this route, WORKLOAD/ROUTE
    #[arg(long)]
    route: Option<String>,
    /// Only those of this device, by name or key
    #[arg(long)]
    device: Option<String>,
    /// Show this many and end: the newest that a cloud holds, or the next on this machine
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<usize>,
    /// With -n, go on with messages as they come
    #[arg(short, long)]
    follow: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl MessagesArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self.place.find()? {
            Place::Cloud(cloud) => self.of_cloud(&cloud),
            Place::Site(site) => {
                let mut left = self.count.filter(|_| !self.follow).unwrap_or(usize::MAX);
                site.messages(|message| {
                    if self.is_wanted(&message) {
                        self.print(&message).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
                        left = left.saturating_sub(1);
                    }
                    if left == 0 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
                })
            }
        }
    }

    fn of_cloud(&self, cloud: &Cloud) -> Result<(), Failure> {
        let mut after = None;
        if let Some(count) = self.count {
            let newest = self.newest(cloud, count.min(MAX_NEWEST))?;
            for message in &newest.messages {
                self.print(message)?;
            }
            if !self.follow {
                return Ok(());
            }
            after = Some(newest.upto.to_string());
        }
        let mut query = self.filter();
        query.push(("follow", "true"));
        query.extend(after.as_deref().map(|after| ("after", after)));
        for line in BufReader::new(cloud.follow("messages", &query)?).lines() {
            let line = line.map_err(|error| {
                Failure::Unreachable(format!(
                    "the cloud ended the stream: {error}; start it again, then this command"
                ))
            })?;
            self.print(&parse(&line)?)?;
        }
        Err(Failure::Unreachable("the cloud ended the stream: start it again, then this command".into()))
    }

    /// Looks back over ever more of the log until there are enough, or until its beginning.
    fn newest(&self, cloud: &Cloud, count: usize) -> Result<Newest, Failure> {
        let last = last_id(cloud)?;
        let mut window = u64::try_from(count).unwrap_or(u64::MAX);
        loop {
            let newest = self.after(cloud, last.saturating_sub(window), count)?;
            if newest.messages.len() >= count || window >= last {
                return Ok(newest);
            }
            window = window.saturating_mul(8);
        }
    }

    /// The newest `count` of all messages after `after`.
    fn after(&self, cloud: &Cloud, mut after: u64, count: usize) -> Result<Newest, Failure> {
        let mut messages = VecDeque::new();
        loop {
            let from = after.to_string();
            let mut query = self.filter();
            query.extend([("after", from.as_str()), ("limit", "10000")]);
            let text = cloud.get_text("messages", &query)?;
            if text.is_empty() {
                return Ok(Newest { messages, upto: after });
            }
            for line in text.lines() {
                let message = parse(line)?;
                after = message.id.unwrap_or(after);
                messages.push_back(message);
                if messages.len() > count {
                    messages.pop_front();
                }
            }
        }
    }

    fn filter(&self) -> Vec<(&str, &str)> {
        let route = self.route.as_deref().map(|route| ("route", route));
        route.into_iter().chain(self.device.as_deref().map(|device| ("device", device))).collect()
    }

    fn is_wanted(&self, message: &MessageLine) -> bool {
        let is_device =
            |wanted: &String| *wanted == message.device_name || *wanted == message.device.to_string();
        self.route.as_ref().is_none_or(|route| *route == message.route)
            && self.device.as_ref().is_none_or(is_device)
    }

    fn print(&self, message: &MessageLine) -> Result<(), Failure> {
        if self.json { output::json(message) } else { output::text(&line(message)) }
    }
}

/// The newest messages, and the number up to which they were looked for.
struct Newest {
    messages: VecDeque<MessageLine>,
    upto: u64,
}

/// The number of the newest message: the cloud counts all it ever stored, from 1.
fn last_id(cloud: &Cloud) -> Result<u64, Failure> {
    #[derive(serde::Deserialize)]
    struct Count {
        stored: u64,
    }
    let counts: Vec<Count> = cloud.get("counts", &[])?;
    Ok(counts.iter().map(|count| count.stored).sum())
}

fn parse(line: &str) -> Result<MessageLine, Failure> {
    serde_json::from_str(line).map_err(|error| {
        Failure::Failed(format!(
            "a message is not understood: {error}; use a `wayside` of the cloud's version"
        ))
    })
}

fn line(message: &MessageLine) -> String {
    let payload =
        message.payload.clone().or_else(|| Some(format!("base64:{}", message.payload_base64.as_ref()?)));
    let (from, payload) = (&message.device_name, payload.unwrap_or_default());
    let line = format!("{from}/{}/{}  {payload}", message.source, message.topic);
    format!("{}  {}", time_of_day(message.accepted_ms), one_line(&line))
}

#[cfg(test)]
mod tests {
    use wayside_config::identity::DeviceId;

    use super::*;

    #[test]
    fn a_message_stays_on_its_line() {
        let message = MessageLine {
            id: None,
            device: DeviceId::from_bytes([1; 32]),
            device_name: "ewr".into(),
            route: "w/r".into(),
            source: "sensor".into(),
            topic: "a\u{9b}b".into(),
            seq: 1,
            accepted_ms: 0,
            stored_ms: None,
            properties: [].into(),
            payload: Some("1\n\u{1b}[2J2".into()),
            payload_base64: None,
        };
        assert_eq!(line(&message), "00:00:00.000  ewr/sensor/a\\u{9b}b  1\\n\\u{1b}[2J2");
    }
}
