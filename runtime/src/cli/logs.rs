//! `wayside logs`: what a module wrote.

use std::{thread, time::Duration};

use clap::Args;
use serde_json::json;
use wayside_config::identity::DeviceId;

use super::{
    cloud::encode,
    failure::Failure,
    output,
    place::{Place, PlaceArgs},
    relay::Relayed,
    site::unexpected,
};
use crate::{
    control::{Answer, Ask},
    engine::timestamp::parse_ms,
};

/// Between two looks with `--follow`.
const POLL: Duration = Duration::from_secs(1);
/// How long a device may take to answer by way of a cloud.
const RELAYED: Duration = Duration::from_secs(10);
/// Lines between two looks that are shown; more are left out.
const FOLLOW_LINES: u32 = 10_000;

/// Show what a module wrote
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside logs ewr/sensor                  the last 100 lines of sensor on the device ewr
  wayside logs ewr/weather/sensor -f       name the workload where several have a sensor; follow
  wayside logs ewr/sensor --previous       what the container before this one wrote last
  wayside logs ewr/sensor --tail 5 --cloud http://127.0.0.1:8480")]
pub(super) struct LogsArgs {
    /// A device and one of its modules; DEVICE/WORKLOAD/MODULE where the module alone is not clear
    #[arg(value_name = "DEVICE/MODULE")]
    module: String,
    /// Show at most this many lines
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    tail: u32,
    /// Go on with lines as they come
    #[arg(short, long)]
    follow: bool,
    /// What the container before the present one wrote last, such as that of a version that was taken back
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl LogsArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Some((device, module)) =
            self.module.split_once('/').filter(|(d, m)| !d.is_empty() && !m.is_empty())
        else {
            return Err(Failure::Usage(format!(
                "`{}` is not DEVICE/MODULE, such as ewr/sensor",
                self.module
            )));
        };
        if self.previous {
            let text = self.previous(device, module)?;
            return self.print(&text.lines().collect::<Vec<_>>());
        }
        let mut ask: Box<dyn FnMut(u32, u64) -> Result<String, Failure>> = match self.place.find()? {
            Place::Cloud(cloud) => {
                let path = format!("devices/{}/logs", encode(device));
                Box::new(move |tail, since_ms| {
                    let (tail, since_ms) = (tail.to_string(), since_ms.to_string());
                    cloud.get_text(&path, &[("module", module), ("tail", &tail), ("since_ms", &since_ms)])
                })
            }
            Place::Site(mut site) => {
                let device = site.find(device)?.device;
                Box::new(move |tail, since_ms| {
                    site.logs(device, &Ask::Logs { module: module.to_owned(), tail, since_ms })
                })
            }
        };
        let mut shown = Shown::default();
        self.print(&shown.new_lines(&ask(self.tail, 0)?))?;
        if !self.follow {
            return Ok(());
        }
        loop {
            thread::sleep(POLL);
            let text = ask(FOLLOW_LINES, shown.since_ms)?;
            self.print(&shown.new_lines(&text))?;
        }
    }

    fn previous(&self, device: &str, module: &str) -> Result<String, Failure> {
        let ask = |to| Ask::PreviousLogs { to, module: module.to_owned(), tail: self.tail };
        match self.place.find()? {
            Place::Cloud(cloud) => {
                let relayed = Relayed::find(&cloud, &self.place.key, device)?;
                let Answer::Logs { text } = relayed.ask(&ask(relayed.meant.clone()), RELAYED)? else {
                    return Err(unexpected());
                };
                Ok(text)
            }
            Place::Site(mut site) => {
                let meant = device.parse::<DeviceId>().is_err().then(|| device.to_owned());
                let device = site.find(device)?.device;
                site.logs(device, &ask(meant))
            }
        }
    }

    fn print(&self, lines: &[&str]) -> Result<(), Failure> {
        for line in lines {
            let (time, text) = split(line);
            if self.json {
                output::json(&json!({ "time": time, "line": text }))?;
            } else if self.timestamps {
                output::text(line)?;
            } else {
                output::text(text)?;
            }
        }
        Ok(())
    }
}

/// What was shown already. Lines are asked for from a millisecond on, which may hold several.
#[derive(Default)]
struct Shown {
    since_ms: u64,
    at_that_time: Vec<String>,
}

impl Shown {
    fn new_lines<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let mut old = std::mem::take(&mut self.at_that_time);
        let before_ms = self.since_ms;
        let mut new = Vec::new();
        for line in text.lines() {
            let time_ms = split(line).0.and_then(parse_ms).unwrap_or(before_ms);
            if time_ms > self.since_ms {
                self.since_ms = time_ms;
                self.at_that_time.clear();
            }
            if time_ms == self.since_ms {
                self.at_that_time.push(line.to_owned());
            }
            match old.iter().position(|shown| time_ms == before_ms && shown == line) {
                Some(at) => drop(old.swap_remove(at)),
                None => new.push(line),
            }
        }
        if self.since_ms == before_ms {
            self.at_that_time.extend(old);
        }
        new
    }
}

/// A line's time and its text.
fn split(line: &str) -> (Option<&str>, &str) {
    match line.split_once(' ') {
        Some((time, text)) if parse_ms(time).is_some() => (Some(time), text),
        Some(_) => (None, line),
        None if parse_ms(line).is_some() => (Some(line), ""),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn following_shows_each_line_once() {
        let (a, b) = ("2026-01-01T00:00:00.001000001Z one", "2026-01-01T00:00:00.001000002Z two");
        let c = "2026-01-01T00:00:00.002Z three";
        let mut shown = Shown::default();
        assert_eq!(shown.new_lines(a), [a]);
        assert_eq!(shown.new_lines(&[a, b].join("\n")), [b]);
        assert_eq!(shown.new_lines(&[a, b].join("\n")), Vec::<&str>::new());
        assert_eq!(shown.new_lines(&[a, b, c].join("\n")), [c]);
        assert_eq!(shown.new_lines(c), Vec::<&str>::new());
        assert_eq!(shown.new_lines(""), Vec::<&str>::new());
        assert_eq!(shown.new_lines(c), Vec::<&str>::new());
    }

    #[test]
    fn a_line_without_a_time_is_shown_whole() {
        assert_eq!(split("2026-01-01T00:00:00Z a b"), (Some("2026-01-01T00:00:00Z"), "a b"));
        assert_eq!(split("plain text"), (None, "plain text"));
    }
}
