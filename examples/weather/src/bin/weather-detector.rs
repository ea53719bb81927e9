//! Hears the rows of all stations of the site and publishes what is odd at this one.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result};
use wayside_example_weather::{
    detector::{Alarm, Detector, own_station},
    session::{self, Access, Module},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let station = own_station();
    let detector = Detector::new(&station).with_context(|| {
        format!("no station `{station}`: name the device ewr, jfk or lga, or set STATION")
    })?;
    session::run(&Access::from_environment()?, &mut Scoring { detector, alarms: VecDeque::new() }).await;
    Ok(())
}

struct Scoring {
    detector: Detector,
    /// Not yet handed to the session: at most one an hour that the detector remembers.
    alarms: VecDeque<Alarm>,
}

impl Module for Scoring {
    fn filters(&self) -> Vec<String> {
        vec!["+/sensor/observations".into()]
    }

    fn pace(&self) -> Option<Duration> {
        None
    }

    fn next(&mut self) -> Option<(&'static str, String)> {
        let alarm = self.alarms.pop_front()?;
        Some(("alarms", serde_json::to_string(&alarm).ok()?))
    }

    fn hear(&mut self, topic: &str, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(row) => self.alarms.extend(self.detector.hear(&row)),
            Err(error) => eprintln!("not an observation on {topic}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayside_example_weather::observation::{Observation, WEATHER_CSV};

    #[test]
    fn alarms_come_out_as_they_are_heard() {
        let mut scoring = Scoring { detector: Detector::new("JFK").unwrap(), alarms: VecDeque::new() };
        for row in Observation::read(WEATHER_CSV).unwrap() {
            scoring.hear("x/sensor/observations", row.payload().unwrap().as_bytes());
        }
        scoring.hear("x/sensor/observations", b"{");
        assert_eq!(std::iter::from_fn(|| scoring.next()).count(), 151);
    }
}
