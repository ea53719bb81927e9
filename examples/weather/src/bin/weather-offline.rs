//! Prints what the whole example must have sent at the end, computed from the file alone: one JSON object
//! a line with `station`, `route` and `payload`, in order per station and route. Its argument is the most
//! rows a station sends.

use std::env;

use anyhow::{Context, Result};
use serde_json::json;
use wayside_example_weather::{
    detector::{self, STATIONS},
    observation::{Observation, WEATHER_CSV},
};

fn main() -> Result<()> {
    let limit = match env::args().nth(1) {
        Some(text) => text.parse().with_context(|| format!("`{text}` is not a number of rows"))?,
        None => usize::MAX,
    };
    let all = Observation::read(WEATHER_CSV)?;
    let rows: Vec<Observation> = STATIONS
        .iter()
        .flat_map(|station| all.iter().filter(|row| row.station == *station).take(limit))
        .cloned()
        .collect();
    for row in &rows {
        println!("{}", json!({"station": row.station, "route": "observations", "payload": row.payload()?}));
    }
    for station in STATIONS {
        for alarm in detector::offline(&rows, station) {
            let payload = serde_json::to_string(&alarm)?;
            println!("{}", json!({"station": station, "route": "alarms", "payload": payload}));
        }
    }
    Ok(())
}
