//! What an operator asks: logs, messages, devices, status, each for people and as JSON.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use wayside_tests::{lab::Lab, wait::until};

use crate::workloads::weather;

#[test]
fn logs_and_messages_and_tables() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["ewr"])?;
    let operator = lab.operator();
    operator.at(&cloud, &["apply", &lab.compose("weather", &weather(50)?)?])?;
    devices[0].wait_running("weather/sensor")?;

    until("the sensor's log", Duration::from_secs(30), || {
        let log = operator.at(&cloud, &["logs", "ewr/sensor", "--tail", "5"])?;
        Ok(log.contains("50 rows of EWR").then_some(()))
    })?;
    let local = devices[0].wayside(&["logs", "ewr/sensor", "--tail", "5"])?;
    assert!(local.contains("50 rows of EWR"), "{local}");

    until("ten messages", Duration::from_secs(30), || Ok((cloud.messages(0)?.len() >= 10).then_some(())))?;
    let lines = operator.at(&cloud, &["messages", "-n", "3", "--json"])?;
    let messages = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    assert_eq!(messages.len(), 3, "{lines}");
    assert!(messages.iter().all(|message| message["device_name"] == "ewr"), "{lines}");

    for arguments in [["devices"].as_slice(), &["status", "ewr"], &["status"]] {
        let text = operator.at(&cloud, arguments)?;
        assert!(text.contains("ewr"), "{arguments:?}: {text}");
        operator.json_at(&cloud, arguments)?;
    }
    let unknown = operator.try_at(&cloud, &["status", "nowhere"])?;
    assert_eq!(unknown.code, 1, "{unknown}");
    assert!(unknown.stderr.contains("nowhere"), "{unknown}");
    Ok(())
}

#[test]
fn the_api_wants_its_token() -> Result<()> {
    let lab = Lab::open()?;
    let cloud = lab.cloud()?;
    for token in [None, Some("guess")] {
        for path in ["/api/v1/devices", "/api/v1/messages", "/api/v1/events"] {
            assert_eq!(cloud.get_with(path, token)?.status, 401, "{path}");
        }
    }
    assert_eq!(cloud.get_with("/healthz", None)?.status, 200);
    Ok(())
}
