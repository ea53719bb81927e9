//! Compose files that several tests use.

use wayside_tests::build::WEATHER_IMAGE;

/// One module, `NAME/idle`, that stays up and sends nothing.
pub(crate) fn idle(name: &str) -> String {
    idle_with(name, "")
}

/// The same, with more lines of its service.
pub(crate) fn idle_with(name: &str, lines: &str) -> String {
    format!(
        "name: {name}\n\
         services:\n\
         \x20 idle:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-detector]\n\
         \x20   environment: {{STATION: EWR}}\n\
         {lines}\
         x-wayside:\n\
         \x20 target: all\n"
    )
}

/// The example, with the first `rows` rows of each station.
pub(crate) fn weather(rows: usize) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(wayside_tests::build::example("weather").join("compose.yaml"))?;
    let rate = "SENSOR_RATE: \"200\"";
    anyhow::ensure!(text.contains(rate), "the example has another rate");
    Ok(text.replace(rate, &format!("SENSOR_RATE: \"100\"\n      SENSOR_LIMIT: \"{rows}\"")))
}
