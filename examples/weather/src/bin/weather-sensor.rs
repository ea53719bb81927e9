//! Replays the rows of this device's station.
//!
//! `STATION` (else the device's name), `SENSOR_RATE` rows a second (200),
//! `SENSOR_LIMIT` rows at most (all). After the last row it stays, so that nothing starts it again.

use std::{env, str::FromStr, time::Duration, vec};

use anyhow::{Context, Result, ensure};
use wayside_example_weather::{
    detector::own_station,
    observation::{Observation, WEATHER_CSV},
    session::{self, Access, Module},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let station = own_station();
    let rate: u32 = setting("SENSOR_RATE", 200)?;
    ensure!((1..=1000).contains(&rate), "SENSOR_RATE is rows a second, 1 to 1000");
    let limit: usize = setting("SENSOR_LIMIT", usize::MAX)?;

    let mut rows = Observation::read(WEATHER_CSV)?;
    rows.retain(|row| row.station == station);
    rows.truncate(limit);
    if rows.is_empty() {
        eprintln!("no rows for station `{station}`: name the device ewr, jfk or lga, or set STATION");
    }
    println!("{} rows of {station}, {rate} a second", rows.len());
    let pace = Duration::from_secs(1) / rate;
    session::run(&Access::from_environment()?, &mut Sensor { rows: rows.into_iter(), pace }).await;
    Ok(())
}

struct Sensor {
    rows: vec::IntoIter<Observation>,
    pace: Duration,
}

impl Module for Sensor {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn pace(&self) -> Option<Duration> {
        Some(self.pace)
    }

    fn next(&mut self) -> Option<(&'static str, String)> {
        let payload = self.rows.next()?.payload().ok()?;
        Some(("observations", payload))
    }

    fn hear(&mut self, _topic: &str, _payload: &[u8]) {}
}

fn setting<T: FromStr>(name: &str, default: T) -> Result<T> {
    match env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name}={text} is not a number in range")),
        Err(_) => Ok(default),
    }
}
