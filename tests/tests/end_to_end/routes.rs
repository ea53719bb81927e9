//! What routes say of their messages holds for real modules: conditions, samples, one device by name, best effort.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rumqttc::{Client, Event, Packet, QoS};
use wayside_tests::{
    build::WEATHER_IMAGE,
    device::Device,
    evidence::last_words,
    lab::Lab,
    wait::{until, until_true},
};

use crate::mqtt::{options, variable};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn messages_go_where_their_routes_say() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a", "b"])?;
    // Their own programs end at once; the test speaks with their credentials.
    let service = format!(
        "{{image: {WEATHER_IMAGE}, command: [/weather-sensor], environment: {{SENSOR_RATE: x}}, restart: \"no\"}}"
    );
    let text = format!(
        "name: probe\n\
         services:\n\
         \x20 source: {service}\n\
         \x20 sink: {service}\n\
         x-wayside:\n\
         \x20 target: all\n\
         \x20 routes:\n\
         \x20   hot: {{from: source/readings, to: cloud, where: body.celsius >= 90}}\n\
         \x20   tenth: {{from: source/readings, to: sink, sample: {{every: 10}}}}\n\
         \x20   live: {{from: source/live, to: device/b/sink, delivery: best-effort}}\n"
    );
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("probe", &text)?])?;
    let source = connect(&devices[0], "probe/source", false)?;
    let near = connect(&devices[0], "probe/sink", true)?;
    let far = connect(&devices[1], "probe/sink", true)?;

    for celsius in 0..100 {
        source.client.publish("readings", QoS::AtLeastOnce, false, format!(r#"{{"celsius": {celsius}}}"#))?;
    }
    source.client.publish("readings", QoS::AtLeastOnce, false, "neither JSON nor CBOR")?;

    let hot = until("the hot readings at the cloud", LIMIT, || {
        let stored = cloud.messages(0)?;
        Ok((stored.len() >= 10).then_some(stored))
    })?;
    let payloads: Vec<&str> = hot.iter().map(|message| message.payload.as_str()).collect();
    let expected: Vec<String> = (90..100).map(|celsius| format!(r#"{{"celsius": {celsius}}}"#)).collect();
    assert_eq!(payloads, expected);

    let tenth: Vec<String> = (0..11).map(|_| near.next()).collect::<Result<_>>()?;
    let mut expected: Vec<String> =
        (0..100).step_by(10).map(|celsius| format!(r#"{{"celsius": {celsius}}}"#)).collect();
    expected.push("neither JSON nor CBOR".into());
    assert_eq!(tenth, expected);

    until_true("what the routes left out in the status", LIMIT, || {
        let routes = &devices[0].status()?["routes"];
        let counts = |route: &str| {
            ["refused", "failed", "left_out"].map(|count| routes[route][count].as_u64().unwrap_or_default())
        };
        Ok(counts("probe/hot") == [90, 1, 0] && counts("probe/tenth") == [0, 0, 90])
    })?;

    // Nobody stores these: they are sent until one gets through.
    let deadline = Instant::now() + LIMIT;
    while far.received.try_recv().is_err() {
        ensure!(Instant::now() < deadline, "no live message reached the other device");
        source.client.publish("live", QoS::AtMostOnce, false, "now")?;
        thread::sleep(Duration::from_millis(100));
    }
    let queues = devices[0].status()?["queues"].clone();
    let stored = queues.as_object().is_some_and(|queues| queues.keys().any(|queue| queue.contains("live")));
    ensure!(!stored, "a best-effort route has a queue: {queues}");
    Ok(())
}

/// A client that connects again as those of modules do, and what reaches it.
struct Connected {
    client: Client,
    received: Receiver<String>,
    /// Why its connection ended last.
    trouble: Arc<Mutex<String>>,
}

impl Connected {
    fn next(&self) -> Result<String> {
        self.received.recv_timeout(LIMIT).with_context(|| {
            let trouble = self.trouble.lock().map(|trouble| trouble.clone()).unwrap_or_default();
            format!("nothing more arrives; the connection ended last with: {trouble:?}{}", last_words())
        })
    }
}

/// Speaks as the module; subscribes to all that reaches it.
fn connect(device: &Device, module: &str, subscribes: bool) -> Result<Connected> {
    let container = until("the module's credentials", LIMIT, || {
        let container = device.module(module)?;
        Ok(variable(&container, "WAYSIDE_MQTT_PASSWORD").map(|_| container))
    })?;
    let (client, mut connection) = Client::new(options(device, &container)?, 200);
    if subscribes {
        client.subscribe("#", QoS::AtLeastOnce)?;
    }
    let trouble = Arc::new(Mutex::new(String::new()));
    let (sender, received) = channel();
    let ended = Arc::downgrade(&trouble);
    thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let text = String::from_utf8_lossy(&publish.payload).into_owned();
                    if sender.send(text).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    // Ends with the test.
                    let Some(trouble) = ended.upgrade() else { return };
                    if let Ok(mut trouble) = trouble.lock() {
                        *trouble = error.to_string();
                    }
                    thread::sleep(Duration::from_millis(200));
                }
            }
        }
    });
    Ok(Connected { client, received, trouble })
}
