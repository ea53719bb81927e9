//! Scores a station's temperature against the two others of the same hour, whatever order the rows arrive in.

use std::{collections::BTreeMap, env};

use serde::{Deserialize, Serialize};

use crate::observation::Observation;

/// The stations that are compared.
pub const STATIONS: [&str; 3] = ["EWR", "JFK", "LGA"];

/// The station at this device: `STATION`, else the device's name; on a laptop without either, EWR.
#[must_use]
pub fn own_station() -> String {
    let station = env::var("STATION").or_else(|_| env::var("WAYSIDE_DEVICE"));
    station.map_or_else(|_| STATIONS[0].to_owned(), |name| name.to_uppercase())
}

/// A deviation from this on is an alarm, in hundredths of a degree Fahrenheit.
const ALARM_CENTI: i64 = 1000;

/// The most hours remembered: three years. Beyond it the oldest is forgotten.
const MAX_HOURS: usize = 3 * 366 * 24;

/// One station stands out from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Whose temperature deviates.
    pub station: String,
    /// The hour in UTC, as RFC 3339.
    pub time_hour: String,
    /// Above (positive) or below the mean of the two others, degrees Fahrenheit.
    pub deviation: f64,
}

/// What one detector knows: the temperatures of each hour, until all three are there and after.
#[derive(Debug)]
pub struct Detector {
    station: usize,
    hours: BTreeMap<String, [Heard; 3]>,
}

/// What is known of one station in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heard {
    #[default]
    Nothing,
    /// The row is there, without a temperature.
    NoValue,
    Centi(i64),
}

impl Detector {
    /// A detector for the station at this device; `None` when there is no such station.
    #[must_use]
    pub fn new(station: &str) -> Option<Self> {
        let station = STATIONS.iter().position(|known| *known == station)?;
        Some(Self { station, hours: BTreeMap::new() })
    }

    /// Takes a row of any station. The row that completes an hour yields the alarm, if there is one;
    /// a row heard before yields nothing.
    pub fn hear(&mut self, row: &Observation) -> Option<Alarm> {
        let station = STATIONS.iter().position(|known| *known == row.station)?;
        let hour = self.hours.entry(row.time_hour.clone()).or_default();
        if hour[station] != Heard::Nothing {
            return None;
        }
        hour[station] = row.temp.map_or(Heard::NoValue, |temp| Heard::Centi(centi(temp)));
        let score = score(*hour, self.station);
        if self.hours.len() > MAX_HOURS {
            self.hours.pop_first();
        }
        score.map(|deviation| Alarm {
            station: STATIONS[self.station].into(),
            time_hour: row.time_hour.clone(),
            deviation,
        })
    }
}

/// All alarms of one station over all rows: what a detector there must have said at the end.
#[must_use]
pub fn offline(rows: &[Observation], station: &str) -> Vec<Alarm> {
    let Some(mut detector) = Detector::new(station) else { return Vec::new() };
    rows.iter().filter_map(|row| detector.hear(row)).collect()
}

/// The deviation of `own` in an hour that is complete, when it is an alarm. In whole hundredths until
/// the last step, so that it is the same on every machine.
fn score(hour: [Heard; 3], own: usize) -> Option<f64> {
    let mut twice_deviation = 0;
    for (station, heard) in hour.into_iter().enumerate() {
        let Heard::Centi(temp) = heard else { return None };
        twice_deviation += if station == own { 2 * temp } else { -temp };
    }
    #[expect(clippy::cast_precision_loss, reason = "hundredths of a temperature are far below 2^52")]
    let deviation = twice_deviation as f64 / 200.0;
    (twice_deviation.abs() >= 2 * ALARM_CENTI).then_some(deviation)
}

fn centi(temp: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates")]
    let centi = (temp * 100.0).round() as i64;
    centi.clamp(-1_000_000, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::WEATHER_CSV;

    fn rows() -> Vec<Observation> {
        Observation::read(WEATHER_CSV).unwrap()
    }

    #[test]
    fn the_year_has_a_sensible_number_of_alarms() {
        let rows = rows();
        let count: usize = STATIONS.iter().map(|station| offline(&rows, station).len()).sum();
        assert_eq!(count, 209);
    }

    #[test]
    fn order_and_repetition_change_nothing() {
        let rows = rows();
        let mut interleaved: Vec<&Observation> = rows.iter().chain(rows.iter().step_by(7)).collect();
        interleaved.sort_by_key(|row| (row.time_hour.bytes().map(u64::from).sum::<u64>() % 11, &row.station));
        for station in STATIONS {
            let mut detector = Detector::new(station).unwrap();
            let mut heard: Vec<Alarm> = interleaved.iter().filter_map(|row| detector.hear(row)).collect();
            heard.sort_by(|a, b| a.time_hour.cmp(&b.time_hour));
            assert_eq!(heard, {
                let mut expected = offline(&rows, station);
                expected.sort_by(|a, b| a.time_hour.cmp(&b.time_hour));
                expected
            });
        }
    }

    #[test]
    fn an_hour_without_a_value_is_no_alarm() {
        let mut detector = Detector::new("EWR").unwrap();
        let mut row = rows().swap_remove(0);
        row.temp = Some(120.0);
        assert_eq!(detector.hear(&row), None);
        for (station, temp) in [("JFK", None), ("LGA", Some(10.0)), ("JFK", Some(10.0))] {
            row.station = station.into();
            row.temp = temp;
            assert_eq!(detector.hear(&row), None);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut detector = Detector::new("EWR").unwrap();
        let mut row = rows().swap_remove(0);
        for hour in 0..MAX_HOURS + 10 {
            row.time_hour = format!("{hour:08}");
            detector.hear(&row);
        }
        assert_eq!(detector.hours.len(), MAX_HOURS);
    }
}
