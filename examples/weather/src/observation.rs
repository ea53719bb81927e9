//! One row of the file as a message: the same bytes whoever makes it.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The year's rows of all three stations, in order of time per station.
pub const WEATHER_CSV: &str = include_str!("../weather.csv");

/// What one station saw in one hour. `None` where the file says `NA`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// `EWR`, `JFK` or `LGA`.
    pub station: String,
    /// The hour in UTC, as RFC 3339; sorts as text.
    pub time_hour: String,
    /// Temperature, degrees Fahrenheit.
    pub temp: Option<f64>,
    /// Dew point, degrees Fahrenheit.
    pub dewp: Option<f64>,
    /// Relative humidity, percent.
    pub humid: Option<f64>,
    /// Where the wind comes from, degrees.
    pub wind_dir: Option<f64>,
    /// Miles per hour.
    pub wind_speed: Option<f64>,
    /// Miles per hour.
    pub wind_gust: Option<f64>,
    /// Inches.
    pub precip: Option<f64>,
    /// At sea level, millibars.
    pub pressure: Option<f64>,
    /// Miles.
    pub visib: Option<f64>,
}

impl Observation {
    /// The rows of `csv` in the order of the file.
    ///
    /// # Errors
    /// When a line has not the 15 columns of the file or a value is neither a number nor `NA`.
    pub fn read(csv: &str) -> Result<Vec<Self>> {
        csv.lines()
            .enumerate()
            .skip(1)
            .map(|(index, line)| Self::parse(line).with_context(|| format!("weather.csv line {}", index + 1)))
            .collect()
    }

    /// What the sensor publishes.
    ///
    /// # Errors
    /// Never for an observation read from the file.
    pub fn payload(&self) -> Result<String> {
        serde_json::to_string(self).context("an observation as JSON")
    }

    fn parse(line: &str) -> Result<Self> {
        let columns: Vec<&str> = line.split(',').collect();
        let &[station, _, _, _, _, temp, dewp, humid, dir, speed, gust, precip, pressure, visib, hour] =
            columns.as_slice()
        else {
            bail!("{} columns instead of 15", columns.len());
        };
        Ok(Self {
            station: station.into(),
            time_hour: hour.into(),
            temp: number(temp)?,
            dewp: number(dewp)?,
            humid: number(humid)?,
            wind_dir: number(dir)?,
            wind_speed: number(speed)?,
            wind_gust: number(gust)?,
            precip: number(precip)?,
            pressure: number(pressure)?,
            visib: number(visib)?,
        })
    }
}

fn number(text: &str) -> Result<Option<f64>> {
    if text == "NA" {
        return Ok(None);
    }
    let value: f64 = text.parse().with_context(|| format!("`{text}` is neither a number nor NA"))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_in_order() {
        let rows = Observation::read(WEATHER_CSV).unwrap();
        assert_eq!(rows.len(), 26_115);
        for pair in rows.windows(2) {
            let same = pair[0].station == pair[1].station;
            assert!(!same || pair[0].time_hour < pair[1].time_hour, "{pair:?}");
        }
    }

    #[test]
    fn a_payload_comes_back_as_it_was() {
        for row in Observation::read(WEATHER_CSV).unwrap().iter().step_by(97) {
            let back: Observation = serde_json::from_str(&row.payload().unwrap()).unwrap();
            let what = |row: &Observation| (row.station.clone(), row.time_hour.clone(), row.temp);
            assert_eq!(what(&back), what(row));
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = Observation::read("head\nEWR,2013,1\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
