//! What the weather example must have sent, beside what the cloud stored.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{build::Binaries, cloud::Stored, command::run};

/// The devices of the example: each is named after its station.
pub const DEVICES: [&str; 3] = ["ewr", "jfk", "lga"];

/// Payloads by device and route, in order. Computed from the file alone.
#[derive(Clone, Debug)]
pub struct Expected {
    payloads: BTreeMap<(String, Route), Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Route {
    Observations,
    Alarms,
}

/// What arrived, compared by content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Rows that the sensors had to send.
    pub sent: u64,
    /// Different rows that the cloud stored.
    pub delivered: u64,
    /// Rows that it did not store.
    pub lost: u64,
    /// Rows stored once more than once, each time counted.
    pub duplicates: u64,
    /// Rows stored after a later one of the same station.
    pub misordered: u64,
    /// Alarms stored.
    pub alarms: u64,
    /// Alarms stored that the file does not give, or more than once.
    pub alarms_wrong: u64,
    /// Alarms of the file that are not stored.
    pub alarms_missing: u64,
    /// Messages that are neither.
    pub foreign: u64,
}

impl Expected {
    /// What the first `limit` rows of each station give.
    ///
    /// # Errors
    /// When the example's program fails.
    pub fn compute(binaries: &Binaries, limit: Option<usize>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            station: String,
            route: Route,
            payload: String,
        }
        let mut offline = Command::new(binaries.path("weather-offline"));
        offline.args(limit.map(|limit| limit.to_string()));
        let mut payloads: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for line in run(&mut offline)?.lines() {
            let line: Line = serde_json::from_str(line).context("weather-offline")?;
            payloads.entry((line.station.to_lowercase(), line.route)).or_default().push(line.payload);
        }
        Ok(Self { payloads })
    }

    /// How many rows and alarms there are in all.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let of = |wanted| {
            let lists = self.payloads.iter().filter(|((_, route), _)| *route == wanted);
            lists.map(|(_, list)| list.len() as u64).sum()
        };
        (of(Route::Observations), of(Route::Alarms))
    }

    /// How many rows one device sends.
    #[must_use]
    pub fn rows(&self, device: &str) -> u64 {
        let key = (device.to_owned(), Route::Observations);
        self.payloads.get(&key).map_or(0, |rows| rows.len() as u64)
    }

    /// Compares with what is stored, in the order of storing. By device.
    #[must_use]
    pub fn compare(&self, stored: &[Stored]) -> BTreeMap<String, Tally> {
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        let mut arrived: BTreeMap<(String, Route), Vec<&str>> = BTreeMap::new();
        for message in stored {
            match route(&message.route) {
                Some(route) => {
                    let key = (message.device_name.clone(), route);
                    arrived.entry(key).or_default().push(&message.payload);
                }
                None => tallies.entry(message.device_name.clone()).or_default().foreign += 1,
            }
        }
        let nothing = Vec::new();
        for (key, expected) in &self.payloads {
            let arrived = arrived.remove(key).unwrap_or_default();
            let seen = follow(expected, &arrived);
            let tally = tallies.entry(key.0.clone()).or_default();
            match key.1 {
                Route::Observations => {
                    tally.sent += expected.len() as u64;
                    tally.delivered += seen.different;
                    tally.duplicates += seen.again;
                    tally.misordered += seen.late;
                    tally.foreign += seen.unknown;
                    tally.lost += expected.len() as u64 - seen.different;
                }
                Route::Alarms => {
                    tally.alarms += seen.different;
                    tally.alarms_wrong += seen.again + seen.unknown;
                    tally.alarms_missing += expected.len() as u64 - seen.different;
                }
            }
        }
        for ((device, _), list) in arrived {
            tallies.entry(device).or_default().foreign += follow(&nothing, &list).unknown;
        }
        tallies
    }
}

impl Tally {
    /// All devices together.
    #[must_use]
    pub fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for one in tallies {
            sum.sent += one.sent;
            sum.delivered += one.delivered;
            sum.lost += one.lost;
            sum.duplicates += one.duplicates;
            sum.misordered += one.misordered;
            sum.alarms += one.alarms;
            sum.alarms_wrong += one.alarms_wrong;
            sum.alarms_missing += one.alarms_missing;
            sum.foreign += one.foreign;
        }
        sum
    }

    /// Whether everything arrived once, in order, and the alarms are those of the file.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost + self.duplicates + self.misordered + self.foreign == 0
            && self.alarms_wrong + self.alarms_missing == 0
            && self.sent > 0
    }
}

#[derive(Default)]
struct Seen {
    different: u64,
    again: u64,
    late: u64,
    unknown: u64,
}

/// Follows `arrived` along `expected`, both in order.
fn follow(expected: &[String], arrived: &[&str]) -> Seen {
    let place: BTreeMap<&str, usize> =
        expected.iter().enumerate().map(|(place, payload)| (payload.as_str(), place)).collect();
    let mut found = vec![false; expected.len()];
    let mut seen = Seen::default();
    let mut furthest = None;
    for payload in arrived {
        match place.get(payload) {
            None => seen.unknown += 1,
            Some(&place) if found[place] => seen.again += 1,
            Some(&place) => {
                found[place] = true;
                seen.different += 1;
                if Some(place) < furthest {
                    seen.late += 1;
                }
                furthest = furthest.max(Some(place));
            }
        }
    }
    seen
}

/// The route by its name, with or without the workload's before it.
fn route(name: &str) -> Option<Route> {
    match name.rsplit('/').next() {
        Some("observations") => Some(Route::Observations),
        Some("alarms") => Some(Route::Alarms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let rows = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut payloads = BTreeMap::new();
        payloads.insert(("ewr".to_owned(), Route::Observations), rows(&["a", "b", "c", "d"]));
        payloads.insert(("ewr".to_owned(), Route::Alarms), rows(&["!"]));
        Expected { payloads }
    }

    fn stored(list: &[(&str, &str)]) -> Vec<Stored> {
        let message = |(id, (route, payload)): (usize, &(&str, &str))| Stored {
            id: id as u64,
            device_name: "ewr".into(),
            route: (*route).into(),
            seq: 0,
            payload: (*payload).into(),
        };
        list.iter().enumerate().map(message).collect()
    }

    #[test]
    fn whole_is_whole() {
        let (o, a) = ("weather/observations", "weather/alarms");
        let tallies = expected().compare(&stored(&[(o, "a"), (o, "b"), (a, "!"), (o, "c"), (o, "d")]));
        let tally = Tally::sum(tallies.values());
        assert!(tally.is_whole(), "{tally:?}");
        assert_eq!((tally.sent, tally.delivered, tally.alarms), (4, 4, 1));
    }

    #[test]
    fn every_fault_is_counted() {
        let (o, a) = ("observations", "alarms");
        let list = [(o, "a"), (o, "c"), (o, "b"), (o, "a"), (a, "?"), ("x", ""), (o, "z")];
        let tallies = expected().compare(&stored(&list));
        let tally = Tally::sum(tallies.values());
        let expected = Tally {
            sent: 4,
            delivered: 3,
            lost: 1,
            duplicates: 1,
            misordered: 1,
            alarms: 0,
            alarms_wrong: 1,
            alarms_missing: 1,
            foreign: 2,
        };
        assert_eq!(tally, expected);
        assert!(!tally.is_whole());
    }
}
