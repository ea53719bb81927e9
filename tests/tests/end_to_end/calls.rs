//! Operators call modules and devices, over the LAN and through the cloud, and always get a word on it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rumqttc::{Client, Connection, Event, Packet, QoS};
use serde_json::{Value, json};
use wayside_tests::{
    build::WEATHER_IMAGE, cloud::Cloud, device::Device, lab::Lab, operator::Operator, wait::until,
};

use crate::mqtt::{options, variable};

/// `probe/source`, whose own program ends at once, so that the test can speak with its credentials; and
/// `probe/idle`, which stays up.
pub(crate) fn probe() -> String {
    format!(
        "name: probe\n\
         services:\n\
         \x20 source:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-sensor]\n\
         \x20   environment: {{SENSOR_RATE: x}}\n\
         \x20   restart: \"no\"\n\
         \x20 idle:\n\
         \x20   image: {WEATHER_IMAGE}\n\
         \x20   command: [/weather-detector]\n\
         \x20   environment: {{STATION: EWR}}\n\
         x-wayside:\n\
         \x20 target: all\n"
    )
}

/// A cloud and a device that runs the probe.
pub(crate) fn running(lab: &Lab) -> Result<(Cloud, Device)> {
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("probe", &probe())?])?;
    until("the device to say that it runs both", Duration::from_secs(60), || {
        let modules = device.status()?["modules"].clone();
        Ok((modules["probe/idle"]["state"] == "running" && modules["probe/source"].is_object()).then_some(()))
    })?;
    until("the module's credentials", Duration::from_secs(30), || {
        Ok(variable(&device.module("probe/source")?, "WAYSIDE_MQTT_PASSWORD").map(drop))
    })?;
    Ok((cloud, device))
}

/// The module `probe/source`: answers `echo` with what was said and refuses `no`; whatever else is asked, it is slow.
fn module(device: &Device) -> Result<Client> {
    let (client, connection) = Client::new(options(device, &device.module("probe/source")?)?, 10);
    client.subscribe("$wayside/call/+/+", QoS::AtLeastOnce)?;
    let (answers, (told, subscribed)) = (client.clone(), std::sync::mpsc::channel());
    thread::spawn(move || {
        // It ends when the client is dropped or disconnects.
        let _ = answer(connection, &answers, &told);
    });
    subscribed.recv_timeout(Duration::from_secs(30)).context("no subscription")?;
    Ok(client)
}

fn answer(mut connection: Connection, client: &Client, told: &std::sync::mpsc::Sender<()>) -> Result<()> {
    for event in connection.iter() {
        match event? {
            Event::Incoming(Packet::SubAck(_)) => told.send(())?,
            Event::Incoming(Packet::Publish(call)) => {
                let mut levels = call.topic.split('/').skip(2);
                let (method, id) = (levels.next().context("a method")?, levels.next().context("an id")?);
                match method {
                    "echo" => client.publish(
                        format!("$wayside/answer/{id}"),
                        QoS::AtLeastOnce,
                        false,
                        call.payload,
                    )?,
                    "no" => client.publish(
                        format!("$wayside/answer/{id}/error"),
                        QoS::AtMostOnce,
                        false,
                        "not today",
                    )?,
                    _ => {}
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
    Ok(())
}

/// Why a call through the cloud has no good answer.
fn why(operator: &Operator, cloud: &Cloud, words: &[&str]) -> Result<String> {
    let ended = operator.try_at(cloud, &[&["call"], words, &["--json"]].concat())?;
    ensure!(ended.code == 1, "{ended}");
    let failure: Value = serde_json::from_str(&ended.stdout).with_context(|| ended.to_string())?;
    Ok(failure["why"].as_str().with_context(|| ended.to_string())?.to_owned())
}

#[test]
fn modules_answer_or_it_is_said_why_not() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let operator = lab.operator();
    let why = |words: &[&str]| why(operator, &cloud, words);
    assert_eq!(why(&["a/probe/source", "echo"])?, "not-connected");
    assert_eq!(why(&["a/probe/nobody", "echo"])?, "absent");

    let client = module(&device)?;
    let said = json!({ "n": [1, "zwei"] });
    let echoed = operator.json_at(&cloud, &["call", "a/probe/source", "echo", &said.to_string()])?;
    assert_eq!(echoed, said);
    let local = device.wayside(&["call", "a/source", "echo", "7", "--json"])?;
    assert_eq!(local.trim(), "7");
    let compose = lab.compose("probe", &probe())?;
    let remote = lab.on_lan(operator, &compose, &["call", "a/source", "echo", "\"x\"", "--json", "--lan"])?;
    assert_eq!(remote.trim(), "\"x\"");

    assert_eq!(why(&["a/source", "no"])?, "refused");
    let began = Instant::now();
    assert_eq!(why(&["a/source", "slow", "--deadline", "700ms"])?, "deadline");
    ensure!(began.elapsed() < Duration::from_secs(5), "the deadline took {:?}", began.elapsed());
    // A module that is killed in the middle: its connection ends, and the operator hears of it at once.
    thread::scope(|scope| {
        let slow = scope.spawn(|| why(&["a/source", "slow", "--deadline", "60s"]));
        thread::sleep(Duration::from_secs(2));
        client.disconnect()?;
        let why = slow.join().expect("the call's thread");
        assert_eq!(why?, "ended");
        anyhow::Ok(())
    })?;
    assert_eq!(why(&["a/source", "echo"])?, "not-connected");
    Ok(())
}

#[test]
fn a_device_answers_for_itself() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let operator = lab.operator();
    let call = |words: &[&str]| operator.json_at(&cloud, &[&["call", "a"], words].concat());
    assert_eq!(call(&["ping"])?["name"], "a");

    let before = device.module("probe/idle")?;
    let restarted = call(&["restart", r#"{"module": "probe/idle"}"#, "--deadline", "60s"])?;
    assert_eq!(restarted, json!({ "module": "probe/idle", "restarts": 1 }));
    let after = device.module("probe/idle")?;
    assert_eq!(before["Id"], after["Id"]);
    assert_ne!(before["State"]["StartedAt"], after["State"]["StartedAt"]);
    until("the device to count the restart", Duration::from_secs(10), || {
        Ok((device.status()?["modules"]["probe/idle"]["restarts"] == 1).then_some(()))
    })?;
    assert_eq!(why(operator, &cloud, &["a", "restart", r#"{"module": "nobody"}"#])?, "absent");
    assert_eq!(why(operator, &cloud, &["a", "restart", r#"{"modul": "idle"}"#])?, "malformed");
    assert_eq!(why(operator, &cloud, &["a", "dance"])?, "no-method");

    call(&["logs", r#"{"module": "idle", "tail": 1}"#])?;
    let told = call(&["diagnostics"])?;
    assert!(told["memory"]["daemon_bytes"].is_u64() && told["disk"]["free_bytes"].is_u64(), "{told}");
    let password =
        variable(&device.module("probe/source")?, "WAYSIDE_MQTT_PASSWORD").context("a password")?;
    let token = cloud.join_link().rsplit_once("token=").context("a token")?.1;
    assert!(!told.to_string().contains(&password) && !told.to_string().contains(token), "{told}");

    device.signal("KILL")?;
    until("the cloud to notice", Duration::from_secs(60), || {
        let away = operator.try_at(&cloud, &["call", "a", "ping"])?;
        Ok((away.code == 1 && away.stderr.contains("not connected")).then_some(()))
    })
}

/// Whoever has the cloud, or its token, has no operator's key.
#[test]
fn a_cloud_cannot_call() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let thief = Operator::new(lab.binaries().path("wayside"))?;
    for words in [&["call", "a", "ping"][..], &["call", "a", "restart", r#"{"module": "idle"}"#]] {
        let refused = thief.try_at(&cloud, words)?;
        assert!(refused.code == 1 && refused.stderr.contains("does not trust"), "{refused}");
    }
    assert_eq!(device.status()?["modules"]["probe/idle"]["restarts"], 0);
    Ok(())
}
