//! What is desired of a module reaches it without a restart, and both sides of its twin outlive the daemon.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rumqttc::{Client, Event, Packet, QoS};
use serde_json::{Value, json};
use wayside_tests::{device::Device, lab::Lab, wait::until};

use crate::{calls::running, mqtt::options};

const TARGET: &str = "a/probe/source";

/// The module `probe/source`: what it is told to be desired of it.
fn module(device: &Device) -> Result<(Client, Receiver<Value>)> {
    let (client, mut connection) = Client::new(options(device, &device.module("probe/source")?)?, 10);
    client.subscribe("$wayside/twin/desired", QoS::AtLeastOnce)?;
    let (told, desired) = channel();
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
    Ok((client, desired))
}

/// The next word that has this version.
fn wait_desired(desired: &Receiver<Value>, version: u64) -> Result<Value> {
    loop {
        let told = desired.recv_timeout(Duration::from_secs(60)).context("nothing is desired")?;
        if told["version"] == version {
            return Ok(told["desired"].clone());
        }
    }
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
    let (client, desired) = module(&device)?;
    assert_eq!(wait_desired(&desired, 0)?, json!({}));

    let set = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"interval_ms": 500, "depth": 1}"#])?;
    assert_eq!(set["desired_version"], 1, "{set}");
    assert_eq!(wait_desired(&desired, 1)?, json!({ "interval_ms": 500, "depth": 1 }));
    // From the device's own neighbourhood, by another host of the LAN.
    let compose = lab.compose("probe", "name: probe")?;
    lab.on_lan(operator, &compose, &["twin", "set", TARGET, r#"{"depth": null}"#, "--lan"])?;
    assert_eq!(wait_desired(&desired, 2)?, json!({ "interval_ms": 500 }));

    client.publish("$wayside/twin/reported", QoS::AtLeastOnce, false, r#"{"interval_ms": 500}"#)?;
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
    assert_eq!((&away["desired_version"], &away["pending"]), (&json!(2), &json!([3])), "{away}");
    let again = operator.json_at(&cloud, &["twin", "set", TARGET, r#"{"depth": 8}"#])?;
    assert_eq!(again["pending"], json!([3, 4]), "{again}");
    assert_eq!(again["reported"], before["reported"], "the cloud knows what was reported");

    device.start_again()?;
    device.wait_up()?;
    assert_eq!(wait_desired(&desired, 4)?, json!({ "interval_ms": 500, "depth": 8 }));
    let after = twin(&device)?;
    assert_eq!((&after["life"], &after["reported"]), (&before["life"], &before["reported"]));
    assert_eq!(device.module("probe/idle")?["Id"], container, "nothing was restarted for it");
    until("the cloud to know", Duration::from_secs(30), || {
        let known = cloud.get("/api/v1/devices/a/twins/probe/source")?;
        ensure!(known["problem"] == "", "{known}");
        Ok((known["desired_version"] == 4 && known["pending"] == json!([])).then_some(()))
    })
}
