//! The same listener with a client that others wrote.

use std::{
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use rumqttc::{MqttOptions, QoS, v5};
use wayside_actors::device::{calls, io::Mqtt};
use wayside_mesh::mqtt::MqttEvent;

use super::device::{Device, Disk, PASSWORD, until};

/// What a client heard, by kind and text.
type Heard = std::sync::Arc<Mutex<Vec<String>>>;

fn options(device: &Device) -> MqttOptions {
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", device.address.port());
    options.set_credentials("plant/detector", PASSWORD).set_keep_alive(Duration::from_secs(5));
    options
}

fn options_v5(device: &Device) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new("rumqttc", "127.0.0.1", device.address.port());
    options.set_credentials("plant/detector", PASSWORD).set_keep_alive(Duration::from_secs(5));
    options
}

/// Connects and goes on reconnecting for as long as the process lives.
fn client(options: MqttOptions) -> (rumqttc::Client, Heard) {
    let (client, mut connection) = rumqttc::Client::new(options, 1000);
    let heard = Heard::default();
    let told = heard.clone();
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(rumqttc::Event::Incoming(packet)) => {
                    told.lock().unwrap().push(if let rumqttc::Packet::Publish(publish) = packet {
                        format!("{} {}", publish.topic, String::from_utf8_lossy(&publish.payload))
                    } else {
                        format!("{packet:?}")
                    });
                }
                Ok(rumqttc::Event::Outgoing(_)) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    (client, heard)
}

fn client_v5(options: v5::MqttOptions) -> (v5::Client, Heard) {
    let (client, mut connection) = v5::Client::new(options, 1000);
    let heard = Heard::default();
    let told = heard.clone();
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(v5::Event::Incoming(packet)) => {
                    told.lock().unwrap().push(if let v5::mqttbytes::v5::Packet::Publish(publish) = packet {
                        let topic = String::from_utf8_lossy(&publish.topic);
                        format!("{topic} {}", String::from_utf8_lossy(&publish.payload))
                    } else {
                        format!("{packet:?}")
                    });
                }
                Ok(v5::Event::Outgoing(_)) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    (client, heard)
}

fn count(heard: &Heard, beginning: &str) -> usize {
    heard.lock().unwrap().iter().filter(|text| text.starts_with(beginning)).count()
}

#[test]
fn mqtt_3_1_1_publishes_and_subscribes() {
    let device = Device::start();
    let (client, heard) = client(options(&device));
    client.subscribe("dev/sensor/#", QoS::ExactlyOnce).unwrap();
    for (n, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
        client.publish("t", qos, false, n.to_string()).unwrap();
    }
    until("both answers", || count(&heard, "PubAck") + count(&heard, "PubComp") == 2);
    assert_eq!(device.desk.disk.lock().unwrap().stored, ["0", "1", "2"]);
    device.deliver(1, &["a", "b"]);
    device.deliver(3, &["c"]);
    until("the acknowledgements", || device.desk.acked.load(Ordering::Relaxed) == 3);
    assert_eq!(count(&heard, "dev/sensor/t "), 3);
}

#[test]
fn mqtt_5_publishes_and_subscribes() {
    let device = Device::start();
    let (client, heard) = client_v5(options_v5(&device));
    client.subscribe("dev/+/t", v5::mqttbytes::QoS::AtLeastOnce).unwrap();
    use v5::mqttbytes::QoS as QoS5;
    for (n, qos) in [QoS5::AtMostOnce, QoS5::AtLeastOnce, QoS5::ExactlyOnce].into_iter().enumerate() {
        client.publish("t", qos, false, n.to_string()).unwrap();
    }
    until("both answers", || count(&heard, "PubAck") + count(&heard, "PubComp") == 2);
    assert_eq!(device.desk.disk.lock().unwrap().stored, ["0", "1", "2"]);
    device.deliver(1, &["a", "b", "c"]);
    until("the acknowledgements", || device.desk.acked.load(Ordering::Relaxed) == 3);
    assert_eq!(count(&heard, "dev/sensor/t "), 3);
}

#[test]
fn what_is_retained_comes_with_a_later_subscription() {
    let device = Device::start();
    let (client, heard) = client(options(&device));
    client.publish("t", QoS::AtLeastOnce, true, "kept").unwrap();
    until("the answer", || count(&heard, "PubAck") == 1);
    client.subscribe("+/sensor/#", QoS::ExactlyOnce).unwrap();
    until("what is retained", || count(&heard, "dev/sensor/t kept") == 1);
    client.unsubscribe("+/sensor/#").unwrap();
    until("the end of it", || count(&heard, "UnsubAck") == 1);

    let (client, heard) = client_v5(options_v5(&device));
    client.subscribe("+/sensor/t", v5::mqttbytes::QoS::AtMostOnce).unwrap();
    until("what is retained", || count(&heard, "dev/sensor/t kept") == 1);
}

#[test]
fn what_waits_is_delivered_after_a_restart_without_subscribing_again() {
    let device = Device::start();
    let (client, heard) = client(options(&device).set_clean_session(false).clone());
    client.subscribe("dev/#", QoS::AtLeastOnce).unwrap();
    until("the subscription", || count(&heard, "SubAck") == 1);
    let (address, desk) = device.kill();
    let device = Device::start_at(address, desk, wayside_mesh::mqtt::Settings::default());
    until("the session", || count(&heard, "ConnAck(ConnAck { session_present: true") == 1);
    device.deliver(1, &["after"]);
    until("the message", || count(&heard, "dev/sensor/t after") == 1);
}

/// The device stores what comes and dies before it answers; then it comes back.
fn survives_a_kill(device: Device, publish: impl Fn(usize)) {
    let silence = |desk: &super::device::Desk, is_silent| desk.is_silent.store(is_silent, Ordering::Relaxed);
    let stored = |disk: &Disk| disk.stored.len();
    publish(0);
    until("the first message", || {
        let disk = device.desk.disk.lock().unwrap();
        stored(&disk) == 1 && !disk.marks.keys().any(|mark| mark.starts_with("qos2/"))
    });
    silence(&device.desk, true);
    (1..=20).for_each(&publish);
    until("twenty messages", || stored(&device.desk.disk.lock().unwrap()) == 21);
    let (address, desk) = device.kill();
    (21..=30).for_each(&publish);
    silence(&desk, false);
    let device = Device::start_at(address, desk, wayside_mesh::mqtt::Settings::default());
    until("all messages, released", || {
        let disk = device.desk.disk.lock().unwrap();
        stored(&disk) >= 31 && !disk.marks.keys().any(|mark| mark.starts_with("qos2/"))
    });
    let mut numbers = device.desk.disk.lock().unwrap().stored.clone();
    numbers.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(numbers, (0..=30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn qos_2_is_exactly_once_over_a_kill_with_3_1_1() {
    let device = Device::start();
    let (client, _heard) = client(options(&device).set_clean_session(false).clone());
    survives_a_kill(device, |n| client.publish("t", QoS::ExactlyOnce, false, n.to_string()).unwrap());
}

#[test]
fn qos_2_is_exactly_once_over_a_kill_with_5() {
    let device = Device::start();
    let mut options = options_v5(&device);
    options.set_clean_start(false).set_session_expiry_interval(Some(3600));
    let (client, _heard) = client_v5(options);
    let qos = v5::mqttbytes::QoS::ExactlyOnce;
    survives_a_kill(device, |n| client.publish("t", qos, false, n.to_string()).unwrap());
}

/// What came of calls, as the device hears it.
fn outcomes(device: &Device) -> Vec<(u64, Result<bytes::Bytes, calls::Undelivered>)> {
    let of = |event: &MqttEvent| match event {
        MqttEvent::Answered { call, answer: Ok(body), .. } => Some((*call, Ok(body.clone()))),
        MqttEvent::Undelivered { call, why } => Some((*call, Err(*why))),
        MqttEvent::Answered { .. }
        | MqttEvent::TwinWanted { .. }
        | MqttEvent::Reported { .. }
        | MqttEvent::Lock { .. }
        | MqttEvent::Published { .. }
        | MqttEvent::Released { .. }
        | MqttEvent::SessionCleared { .. }
        | MqttEvent::Session { .. }
        | MqttEvent::Subscribed { .. }
        | MqttEvent::Flights { .. }
        | MqttEvent::Disconnected { .. }
        | MqttEvent::Online { .. }
        | MqttEvent::Offline { .. }
        | MqttEvent::Acked { .. } => None,
    };
    device.desk.events.lock().unwrap().iter().filter_map(of).collect()
}

fn call(device: &Device, call: u64) {
    let (method, body) = ("measure".to_owned(), bytes::Bytes::from_static(b"now"));
    device.perform(Mqtt::Call { call, module: super::device::module(), method, body });
}

#[test]
fn mqtt_3_1_1_takes_a_call_by_its_topic_and_answers() {
    let device = Device::start();
    call(&device, 1);
    until("the word that nobody is there", || {
        outcomes(&device) == [(1, Err(calls::Undelivered::NotConnected))]
    });
    let (client, heard) = client(options(&device));
    client.subscribe("$wayside/call/+/+", QoS::AtLeastOnce).unwrap();
    until("the subscription", || count(&heard, "SubAck") == 1);
    call(&device, 0x2a);
    until("the call", || count(&heard, "$wayside/call/measure/2a now") == 1);
    client.publish("$wayside/answer/2a", QoS::ExactlyOnce, false, "21.5").unwrap();
    until("the answer", || outcomes(&device).contains(&(0x2a, Ok("21.5".into()))));
    until("its acknowledgement", || count(&heard, "PubComp") == 1);
    call(&device, 0x2b);
    until("the second call", || count(&heard, "$wayside/call/measure/2b now") == 1);
    client.disconnect().unwrap();
    until("the end", || outcomes(&device).contains(&(0x2b, Err(calls::Undelivered::Ended))));
    assert!(device.desk.disk.lock().unwrap().stored.is_empty(), "calls are no messages of routes");
}

/// Answers as a client of MQTT 5 answers any request: to the topic and with the data that came with it.
#[test]
fn mqtt_5_takes_a_call_as_a_request_and_answers_as_to_any() {
    let device = Device::start();
    let (client, mut connection) = v5::Client::new(options_v5(&device), 10);
    client.subscribe("$wayside/call/+", v5::mqttbytes::QoS::AtLeastOnce).unwrap();
    let (told, subscribed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::SubAck(_))) => told.send(()).unwrap(),
                Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(publish))) => {
                    let asked = publish.properties.unwrap();
                    let properties = v5::mqttbytes::v5::PublishProperties {
                        correlation_data: asked.correlation_data,
                        ..Default::default()
                    };
                    let (topic, qos) = (asked.response_topic.unwrap(), v5::mqttbytes::QoS::AtLeastOnce);
                    client.publish_with_properties(topic, qos, false, publish.topic, properties).unwrap();
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    subscribed.recv_timeout(Duration::from_secs(30)).unwrap();
    call(&device, 0x2a);
    let answer = bytes::Bytes::from_static(b"$wayside/call/measure");
    until("the answer", || outcomes(&device) == [(0x2a, Ok(answer.clone()))]);
}

#[test]
fn a_module_hears_what_is_desired_whenever_it_appears_and_reports_when_it_is_stored() {
    let device = Device::start();
    let desire = |text: &str| text.clone_into(&mut device.desk.disk.lock().unwrap().desired);
    desire("{\"version\":1}");
    let (client, heard) = client(options(&device).set_clean_session(false).clone());
    client.subscribe("$wayside/twin/desired", QoS::AtLeastOnce).unwrap();
    until("what is desired", || count(&heard, "$wayside/twin/desired {\"version\":1}") == 1);
    let body = bytes::Bytes::from_static(b"{\"version\":2}");
    device.perform(Mqtt::Desired { module: super::device::module(), body });
    until("the change", || count(&heard, "$wayside/twin/desired {\"version\":2}") == 1);
    client.publish("$wayside/twin/reported", QoS::AtLeastOnce, false, "{\"ready\":true}").unwrap();
    until("the acknowledgement", || count(&heard, "PubAck") == 1);
    assert_eq!(device.desk.disk.lock().unwrap().reported, ["{\"ready\":true}"]);
    // Back after a restart, with its session: it is told without asking.
    desire("{\"version\":3}");
    let (address, desk) = device.kill();
    let _device = Device::start_at(address, desk, wayside_mesh::mqtt::Settings::default());
    until("what is desired now", || count(&heard, "$wayside/twin/desired {\"version\":3}") == 1);
}
