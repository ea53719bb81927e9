//! What is desired of a module reaches it without a restart, and both sides of its twin outlive the daemon.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rumqttc::{Client, Event, Packet, QoS};
use serde_json::{Value, json};
use wayside_tests::{build::WEATHER_IMAGE, device::Device, lab::Lab, wait::until};

use crate::{
    calls::running,
    mqtt::{options, variable},
};

const TARGET: &str = "a/probe/source";
const DESIRED: &str = "$wayside/twin/desired";
const REPORTED: &str = "$wayside/twin/reported";

/// A module, `probe/NAME`: the JSON that it is told where it subscribes.
fn module(device: &Device, name: &str, filter: &str) -> Result<(Client, Receiver<Value>)> {
    let (client, mut connection) =
        Client::new(options(device, &device.module(&format!("probe/{name}"))?)?, 10);
    client.subscribe(filter, QoS::AtLeastOnce)?;
    let (told, heard) = channel();
    thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let Ok(value) = serde_json::from_slice(&publish.payload) else { return };
                    if told.send(value).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    });
    Ok((client, heard))
}

/// The next word that has this version.
fn wait(heard: &Receiver<Value>, version: u64) -> Result<Value> {
    loop {
        let told = heard.recv_timeout(Duration::from_secs(60)).context("nothing is told")?;
        if told["version"] == version {
            return Ok(told);
        }
    }
}

fn wait_desired(desired: &Receiver<Value>, version: u64) -> Result<Value> {
    Ok(wait(desired, version)?["desired"].clone())
}

fn twin(device: &Device) -> Result<Value> {
    let text = device.wayside(&["twin", TARGET, "--json"])?;
    serde_json::from_str(&text).context(text)
}

#[test]
fn a_twin_outlives_the_daemon_and_a_device_that_was_away_takes_its_changes() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let operator = lab.operator();
    let (client, desired) = module(&device, "source", DESIRED)?;
    assert_eq!(wait_desired(&desired, 0)?, json!({}));

    let set = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"interval_ms": 500, "depth": 1}"#])?;
    assert_eq!(set["desired_version"], 1, "{set}");
    assert_eq!(wait_desired(&desired, 1)?, json!({ "interval_ms": 500, "depth": 1 }));
    client.publish(REPORTED, QoS::AtLeastOnce, false, r#"{"interval_ms": 500}"#)?;
    until("what the module reports", Duration::from_secs(30), || {
        Ok((twin(&device)?["reported"] == json!({ "interval_ms": 500 })).then_some(()))
    })?;
    until("the cloud to be told", Duration::from_secs(30), || {
        let known = cloud.get("/api/v1/devices/a/twins/probe/source")?;
        Ok((known["reported"] == json!({ "interval_ms": 500 })).then_some(()))
    })?;
    let before = twin(&device)?;
    let container = device.module("probe/idle")?["Id"].clone();

    device.signal("KILL")?;
    until("the cloud to notice", Duration::from_secs(60), || {
        Ok((cloud.get("/api/v1/devices/a")?["presence"] != "online").then_some(()))
    })?;
    let away = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"depth": 7}"#])?;
    assert_eq!((&away["desired_version"], &away["pending"]), (&json!(1), &json!([2])), "{away}");
    let again = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"depth": 8}"#])?;
    assert_eq!(again["pending"], json!([2, 3]), "{again}");
    assert_eq!(again["reported"], before["reported"], "the cloud knows what was reported");

    device.start_again()?;
    device.wait_up()?;
    assert_eq!(wait_desired(&desired, 3)?, json!({ "interval_ms": 500, "depth": 8 }));
    // It answers before it has looked at what runs.
    let after = until("the module to be known again", Duration::from_secs(30), || Ok(twin(&device).ok()))?;
    assert_eq!((&after["life"], &after["reported"]), (&before["life"], &before["reported"]));
    assert_eq!(device.module("probe/idle")?["Id"], container, "nothing was restarted for it");
    // What the device cannot take is said, and stands in nobody's way.
    let large = format!("{{\"large\": \"{}\"}}", "x".repeat(65_500));
    let refused = operator.try_at(&cloud, &["twin", "set", TARGET, &large])?;
    assert!(refused.code == 1 && refused.stderr.contains("65536"), "{refused}");
    let set = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"depth": 9}"#])?;
    assert_eq!(set["desired_version"], 4, "{set}");
    // From the device's own neighbourhood, by another host of the LAN; soon after its start a device opens its mesh again,
    // without the addresses that are its modules'.
    let compose = lab.compose("probe", "name: probe")?;
    until("the device on the LAN", Duration::from_secs(60), || {
        Ok(lab.on_lan(operator, &compose, &["twin", TARGET, "--lan"]).ok())
    })?;
    lab.on_lan(operator, &compose, &["twin", "set", TARGET, r#"{"depth": null}"#, "--lan"])?;
    assert_eq!(wait_desired(&desired, 5)?, json!({ "interval_ms": 500 }));
    until("the cloud to know", Duration::from_secs(30), || {
        let known = cloud.get("/api/v1/devices/a/twins/probe/source")?;
        ensure!(known["problem"] == "", "{known}");
        Ok((known["desired_version"] == 5 && known["pending"] == json!([])).then_some(()))
    })
}

#[test]
fn a_neighbour_hears_what_a_module_reports_and_a_workload_says_how_twins_begin() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a", "b"])?;
    let still = format!(
        "{{ image: {WEATHER_IMAGE}, command: [/weather-sensor], environment: {{ SENSOR_RATE: x }}, restart: \"no\" }}"
    );
    let text = format!(
        "name: probe\n\
         services:\n\
         \x20 source: {still}\n\
         \x20 reader: {still}\n\
         x-wayside:\n\
         \x20 target: all\n\
         \x20 twins: {{ source: {{ interval_ms: 500 }} }}\n\
         \x20 routes:\n\
         \x20   how: {{ from: source/${REPORTED}, to: site/reader }}\n"
    );
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("probe", &text)?])?;
    for device in &devices {
        for name in ["probe/source", "probe/reader"] {
            until("the module's credentials", Duration::from_secs(60), || {
                let container = device.module(name).ok();
                Ok(container.and_then(|container| variable(&container, "WAYSIDE_MQTT_PASSWORD")).map(drop))
            })?;
        }
    }
    let (source, desired) = module(&devices[0], "source", DESIRED)?;
    assert_eq!(wait_desired(&desired, 0)?, json!({ "interval_ms": 500 }));
    source.publish(REPORTED, QoS::AtLeastOnce, false, r#"{"celsius": 20, "ready": true}"#)?;

    let filter = format!("+/source/{REPORTED}");
    let (_reader, heard) = module(&devices[1], "reader", &filter)?;
    assert_eq!(wait(&heard, 1)?["reported"], json!({ "celsius": 20, "ready": true }));
    source.publish(REPORTED, QoS::AtLeastOnce, false, r#"{"celsius": 21}"#)?;
    assert_eq!(wait(&heard, 2)?["reported"], json!({ "celsius": 21, "ready": true }));
    // What a neighbour said stays to be read when it is gone.
    devices[0].signal("KILL")?;
    let (_again, heard) = module(&devices[1], "reader", &filter)?;
    assert_eq!(wait(&heard, 2)?["reported"]["celsius"], 21);
    Ok(())
}
