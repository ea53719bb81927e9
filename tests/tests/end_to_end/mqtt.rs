//! What a module publishes with QoS 2 reaches the cloud exactly once, by a client that we did not write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS, RecvTimeoutError};
use serde_json::Value;
use wayside_tests::{
    build::WEATHER_IMAGE, device::Device, engine, evidence::last_words, lab::Lab, wait::until,
};

const MESSAGES: usize = 500;
const PUBLISH_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn qos_2_arrives_once_and_in_order() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    // Its own program ends at once; the test speaks with its credentials.
    let text = format!(
        "name: probe\n\
         services:\n\
         \x20 source:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-sensor]\n\
         \x20   environment: {{SENSOR_RATE: x}}\n\
         \x20   restart: \"no\"\n\
         x-wayside:\n\
         \x20 target: all\n\
         \x20 routes:\n\
         \x20   numbers: {{from: source/numbers, to: cloud}}\n"
    );
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("probe", &text)?])?;
    let module = until("the module's credentials", Duration::from_secs(30), || {
        let container = devices[0].module("probe/source")?;
        Ok(variable(&container, "WAYSIDE_MQTT_PASSWORD").map(|_| container))
    })?;
    let options = options(&devices[0], &module)?;
    publish(options)?;

    let stored = until("all messages at the cloud", Duration::from_secs(30), || {
        let stored = cloud.messages(0)?;
        Ok((stored.len() >= MESSAGES).then_some(stored))
    })?;
    let payloads: Vec<&str> = stored.iter().map(|message| message.payload.as_str()).collect();
    let expected: Vec<String> = (0..MESSAGES).map(|n| n.to_string()).collect();
    assert_eq!(payloads, expected);
    let numbers: Vec<u64> = stored.iter().map(|message| message.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    Ok(())
}

#[test]
fn a_wrong_password_is_refused() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("one", &crate::workloads::idle("one"))?])?;
    let module = devices[0].wait_running("one/idle")?;
    let mut options = options(&devices[0], &module)?;
    options.set_credentials("one/idle", "guess");
    let (_client, mut connection) = Client::new(options, 10);
    let first = connection.recv_timeout(Duration::from_secs(10));
    assert!(matches!(first, Ok(Err(rumqttc::ConnectionError::ConnectionRefused(_)))), "{first:?}");
    Ok(())
}

fn publish(options: MqttOptions) -> Result<()> {
    let (client, mut connection) = Client::new(options, MESSAGES + 1);
    for n in 0..MESSAGES {
        client.publish("numbers", QoS::ExactlyOnce, false, n.to_string())?;
    }
    let (mut completed, started) = (0, Instant::now());
    while completed < MESSAGES {
        ensure!(
            started.elapsed() < PUBLISH_LIMIT,
            "only {completed} of {MESSAGES} messages were taken: {}",
            last_words()
        );
        match connection.recv_timeout(Duration::from_secs(5)) {
            Ok(event) => completed += usize::from(matches!(event?, Event::Incoming(Packet::PubComp(_)))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the connection ended after {completed} messages"),
        }
    }
    Ok(())
}

/// Speaks as the module, from this machine, to the broker on the module network.
pub(crate) fn options(device: &Device, module: &Value) -> Result<MqttOptions> {
    let host = engine::inspect(device.container())?;
    let networks = host["NetworkSettings"]["Networks"].as_object().context("no networks")?;
    let inner =
        networks.iter().find(|(name, _)| name.starts_with("wayside-")).context("no module network")?;
    let address = inner.1["IPAddress"].as_str().context("no address")?;
    let user = variable(module, "WAYSIDE_MQTT_USERNAME").context("no user name")?;
    let mut options = MqttOptions::new("probe", address, 1883);
    options.set_credentials(user, variable(module, "WAYSIDE_MQTT_PASSWORD").context("no password")?);
    options.set_clean_session(false);
    options.set_inflight(50);
    Ok(options)
}

pub(crate) fn variable(container: &Value, name: &str) -> Option<String> {
    let list = container["Config"]["Env"].as_array()?;
    let find = |entry: &Value| Some(entry.as_str()?.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    list.iter().find_map(find)
}
