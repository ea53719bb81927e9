//! What a device and the cloud tell of modules: what they use, and what is not as it should be.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use wayside_tests::{build::WEATHER_IMAGE, lab::Lab, wait::until};

/// The daemons of these tests are containers and ask the engine, at the second round of ten seconds for a share of the CPU.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn device_and_cloud_say_what_a_module_uses_and_name_what_does_not_run() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = &devices[0];
    let text = format!(
        "name: health
services:
  fine: {{ image: {WEATHER_IMAGE}, command: [/weather-detector], mem_limit: 64m, environment: {{ STATION: EWR }} }}
  broken: {{ image: {WEATHER_IMAGE}, command: [/weather-detector], restart: always }}
"
    );
    let file = lab.compose("health", &text)?;
    lab.operator().at(&cloud, &["apply", "--no-wait", &file])?;
    device.wait_running("health/fine")?;

    let is_known = |status: &Value| {
        let module = &status["modules"]["health/fine"];
        module["cpu_millis"].is_u64()
            && module["memory_bytes"].as_u64().is_some_and(|used| used > 0 && used < 64 << 20)
            && module["memory_limit_bytes"] == 64 << 20
            && module["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:"))
            && status["clock"]["ahead_ms"].as_i64().is_some_and(|ahead_ms| ahead_ms.abs() < 5_000)
    };
    let status = until("what the module uses", PATIENCE, || Ok(Some(device.status()?).filter(is_known)))?;
    let system = &status["system"];
    let of = |name: &str| system[name].as_u64().unwrap_or_default();
    ensure!(
        of("disk_bytes") > of("disk_free_bytes") && of("memory_bytes") > of("memory_free_bytes"),
        "{system}"
    );
    ensure!(of("cores") > 0 && of("booted_ms") > 0, "{system}");
    ensure!(
        ["engine", "kernel"].iter().all(|name| system[*name].as_str().is_some_and(|text| !text.is_empty())),
        "{system}"
    );
    until("the cloud to know it", PATIENCE, || {
        Ok(Some(cloud.get("/api/v1/devices/a")?)
            .filter(|device| is_known(device) && device["system"].is_object()))
    })?;

    let is_named = |drift: &Value| drift["what"] == "health/broken" && drift["desired"] == "running";
    let drift = until("the device to name what fails", PATIENCE, || {
        Ok(device.status()?["drift"]
            .as_array()
            .and_then(|list| list.iter().find(|drift| is_named(drift)))
            .cloned())
    })?;
    ensure!(drift["since_ms"].as_u64().is_some_and(|since_ms| since_ms >= of("booted_ms")), "{drift}");
    let list = until("the cloud to name it over the fleet", PATIENCE, || {
        let list = cloud.get("/api/v1/drift?workload=health")?;
        let list = list.as_array().cloned().unwrap_or_default();
        let is_there = list.iter().any(|drift| is_named(drift) && drift["device_name"] == "a");
        Ok(is_there.then_some(list))
    })?;
    let fails = |drift: &Value| drift["what"] == "health/fine" && drift["reported"] == "back-off";
    ensure!(!list.iter().any(fails), "{list:?}");
    let other = cloud.get("/api/v1/drift?workload=other")?;
    ensure!(other.as_array().is_some_and(Vec::is_empty), "{other}");

    let mended = text.replace(", restart: always", ", environment: { STATION: JFK }");
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("health", &mended)?])?;
    until("nothing to be named", PATIENCE, || {
        Ok(cloud.get("/api/v1/drift?device=a")?.as_array().is_some_and(Vec::is_empty).then_some(()))
    })
}
