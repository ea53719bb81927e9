//! `wayside audit`: what a device did by right, verified entry by entry.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use humantime::format_rfc3339_seconds;
use serde::Serialize;
use wayside_config::{
    audit::{self, AuditError, Entry, Head},
    hash::{from_hex, hex},
    identity::DeviceId,
};

use super::{
    cloud::Cloud,
    failure::Failure,
    operator::KeyFile,
    output,
    place::{Place, PlaceArgs},
    relay::Relayed,
    site::{Site, unexpected},
};
use crate::control::{Answer, Ask};

/// For one part of the log.
const PATIENCE: Duration = Duration::from_secs(15);

/// Show what was done on a device by right, and verify it
///
/// Every entry is signed by the device and names the one before: what is changed, left out or put in is found. Who owns the
/// device's key can write another log from the beginning. So keep the head that this command prints, and give it with
/// --after the next time: the log has to go on from there.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside audit                                   of the device on this machine
  wayside audit jfk --out jfk.audit               fetch the log of jfk, verify and keep it
  wayside audit jfk --after 57:9f86d081...        what came after what you saw before
  wayside audit --check jfk.audit --of KEY        verify a log that was kept, without a device

The exit code is 1 when the log does not prove what it says.")]
pub(super) struct AuditArgs {
    /// A device's name or key [default: the one on this machine]
    #[arg(conflicts_with = "check")]
    device: Option<String>,
    /// Go on after this head, as printed the last time
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_head)]
    after: Option<Head>,
    /// Keep the log, as the device signed it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Verify a log that was kept
    #[arg(long, value_name = "FILE", requires = "of")]
    check: Option<PathBuf>,
    /// The device's key, for --check
    #[arg(long, value_name = "KEY", requires = "check")]
    of: Option<DeviceId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// The end of the year 9999, behind which times have no such form.
const LAST_MS: u64 = 253_402_300_799_999;

/// A log, and what it proves.
#[derive(Serialize)]
struct Shown {
    device: DeviceId,
    head: Head,
    entries: Vec<Entry>,
}

impl AuditArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (device, log) = match (&self.check, self.of) {
            (Some(path), Some(device)) => {
                let log = fs::read(path)
                    .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))?;
                (device, log)
            }
            _ => self.fetch()?,
        };
        if let Some(path) = &self.out {
            fs::write(path, &log)
                .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
        }
        let (entries, head) = verify(device, &log, self.after)?;
        if self.json {
            return output::json(&Shown { device, head, entries });
        }
        let mut text: Vec<String> = entries.iter().map(line).collect();
        text.push(match entries.first() {
            Some(first) => format!(
                "verified: entries {} to {} of {}; head {}",
                first.seq,
                head.seq,
                device.short(),
                head_text(head)
            ),
            None => format!("nothing new on {}; head {}", device.short(), head_text(head)),
        });
        output::text(&text.join("\n"))
    }

    /// The log from the head that was given on, and whose it is.
    fn fetch(&self) -> Result<(DeviceId, Vec<u8>), Failure> {
        let mut reached = self.reach()?;
        let mut from = self.after.map_or(1, |head| head.seq.max(1));
        let mut all = Vec::new();
        loop {
            let Answer::Audit { head, log } = reached.ask(&Ask::Audit { from })? else {
                return Err(unexpected());
            };
            let count = audit::split(&log.0).map_while(Result::ok).count() as u64;
            if count == 0 {
                break;
            }
            // Older ones may have gone: then it begins later than was asked for.
            let first = first_of(reached.device(), &log.0)?;
            if first < from || (!all.is_empty() && first != from) {
                return Err(Failure::Failed(format!(
                    "the log of {} does not prove what it says: entry {from} was asked for, and {first} came",
                    reached.device().short()
                )));
            }
            all.extend(log.0);
            from = first.saturating_add(count);
            if from > head.seq {
                break;
            }
        }
        Ok((reached.device(), all))
    }

    fn reach(&self) -> Result<Reached<'_>, Failure> {
        Ok(match (self.place.find()?, &self.device) {
            (Place::Cloud(cloud), Some(name)) => {
                let device = Relayed::find(&cloud, &self.place.key, name)?.device;
                Reached::Cloud { cloud, key: &self.place.key, device }
            }
            (Place::Cloud(_), None) => return Err(Failure::Usage("which device? Name it".into())),
            (Place::Site(site), name) => {
                let device = match (name, site.own()) {
                    (Some(name), _) => site.find(name)?.device,
                    (None, Some(own)) => own.device,
                    (None, None) => return Err(Failure::Usage("which device? Name it".into())),
                };
                Reached::Site { site, device }
            }
        })
    }
}

/// The way to a device.
enum Reached<'a> {
    Site { site: Box<Site>, device: DeviceId },
    Cloud { cloud: Cloud, key: &'a KeyFile, device: DeviceId },
}

impl Reached<'_> {
    const fn device(&self) -> DeviceId {
        match self {
            Self::Site { device, .. } | Self::Cloud { device, .. } => *device,
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        match self {
            Self::Site { site, device } => site.ask(*device, ask),
            Self::Cloud { cloud, key, device } => {
                Relayed::find(cloud, key, &device.to_string())?.ask(ask, PATIENCE)
            }
        }
    }
}

/// Verifies a log, and that it goes on from what was seen `before`.
fn verify(device: DeviceId, log: &[u8], before: Option<Head>) -> Result<(Vec<Entry>, Head), Failure> {
    let proven = |error: AuditError| {
        Failure::Failed(format!("the log of {} does not prove what it says: {error}", device.short()))
    };
    let Some(before) = before.filter(|head| head.seq > 0) else {
        return audit::verify(device, log).map_err(proven);
    };
    // It begins with the entry that was the last one then.
    let mut entries = Vec::new();
    let mut head = None;
    for sealed in audit::split(log) {
        let after = head.map_or(before.seq, |head: Head| head.seq);
        let sealed = sealed.map_err(|_| proven(AuditError::Truncated(after)))?;
        head = Some(match head {
            None => {
                let (_, head) = Head::begin(device, sealed).map_err(proven)?;
                if head != before {
                    return Err(Failure::Failed(format!(
                        "the log of {} does not go on from {}: it was shortened or written anew, or what followed has been dropped since, for a log is bounded",
                        device.short(),
                        head_text(before)
                    )));
                }
                head
            }
            Some(head) => {
                let (entry, next) = head.open(device, sealed).map_err(proven)?;
                entries.push(entry);
                next
            }
        });
    }
    let head = head.ok_or_else(|| {
        Failure::Failed(format!(
            "the log of {} ends before {}: it was shortened or written anew",
            device.short(),
            head_text(before)
        ))
    })?;
    Ok((entries, head))
}

/// The number of the first entry.
fn first_of(device: DeviceId, log: &[u8]) -> Result<u64, Failure> {
    let first = audit::split(log).find_map(Result::ok).ok_or_else(unexpected)?;
    let (entry, _) = Head::begin(device, first)
        .map_err(|error| Failure::Failed(format!("the log of {}: {error}", device.short())))?;
    Ok(entry.seq)
}

fn line(entry: &Entry) -> String {
    let time = match entry.time_ms {
        ms @ 0..=LAST_MS => format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string(),
        beyond => format!("{beyond} ms"),
    };
    let by: Vec<_> = entry.by.iter().map(|key| key.short()).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
    format!("{:>5}  {time}  {:<8} {}{by}: {}", entry.seq, name(&entry.act), name(&entry.way), entry.text)
}

/// As JSON has it.
fn name<T: Serialize>(of: &T) -> String {
    serde_json::to_value(of).ok().and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn head_text(head: Head) -> String {
    format!("{}:{}", head.seq, hex(&head.hash))
}

fn parse_head(text: &str) -> Result<Head, String> {
    let head = text
        .split_once(':')
        .and_then(|(seq, hash)| Some(Head { seq: seq.parse().ok()?, hash: from_hex(hash)? }));
    head.ok_or_else(|| "a head is NUMBER:HASH, as this command prints it".to_owned())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::audit::{Act, Way, framed};

    use super::*;

    fn chain(texts: &[&str]) -> (DeviceId, Vec<Vec<u8>>, Vec<Head>) {
        let key = SigningKey::from_bytes(&[1; 32]);
        let (mut head, mut sealed, mut heads) = (Head::default(), Vec::new(), vec![Head::default()]);
        for text in texts {
            let (act, way) = (Act::Call, Way::Lan);
            let by = vec![DeviceId::from_bytes([7; 32])];
            let entry = Entry { seq: 0, previous: [0; 32], time_ms: 0, act, way, by, text: (*text).into() };
            let (bytes, next) = head.seal(&key, entry).unwrap();
            sealed.push(framed(&bytes));
            heads.push(next);
            head = next;
        }
        (DeviceId::from_bytes(key.verifying_key().to_bytes()), sealed, heads)
    }

    #[test]
    fn a_log_has_to_go_on_from_the_head_that_was_kept() {
        let (device, sealed, heads) = chain(&["a", "b", "c"]);
        let (_, anew, _) = chain(&["a", "x", "c"]);
        let (entries, head) = verify(device, &sealed[1..].concat(), Some(heads[2])).unwrap();
        assert_eq!((entries.len(), head), (1, heads[3]));
        assert_eq!(verify(device, &sealed[2..].concat(), Some(heads[3])).unwrap().0, []);
        for (log, says) in [
            (anew[1..].concat(), "does not go on from"),
            (Vec::new(), "ends before"),
            (sealed[2..].concat(), "does not go on from"),
        ] {
            let Err(Failure::Failed(text)) = verify(device, &log, Some(heads[2])) else { panic!() };
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(verify(device, &sealed.concat(), None).unwrap().0.len(), 3);
        assert_eq!(parse_head(&head_text(heads[2])), Ok(heads[2]));
        assert!(parse_head("3").is_err() && parse_head("3:xyz").is_err());
    }

    #[test]
    fn a_line_says_when_what_how_and_who() {
        let (device, sealed, _) = chain(&["reset of weather/sensor, with 2 bytes"]);
        let (entries, _) = verify(device, &sealed.concat(), None).unwrap();
        let by = DeviceId::from_bytes([7; 32]).short();
        assert!(line(&Entry { time_ms: u64::MAX, ..entries[0].clone() }).contains("18446744073709551615 ms"));
        assert_eq!(
            line(&entries[0]),
            format!(
                "    1  1970-01-01T00:00:00Z  call     lan by {by}: reset of weather/sensor, with 2 bytes"
            )
        );
    }
}
