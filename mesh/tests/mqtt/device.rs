//! A device of a few lines: what its listener asks to be kept survives, everything else dies with it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use wayside_actors::{
    device::{
        access::Client,
        io::Mqtt,
        router::{flights_mark, session_mark},
    },
    message::{Message, property},
    queue::{Endpoint, Queue},
};
use wayside_config::{identity::DeviceId, workload::ModuleId};
use wayside_mesh::mqtt::{Authenticator, Counts, Listener, MqttEvent, Settings};

pub const PASSWORD: &str = "secret";

/// What is on the disk.
#[derive(Default)]
pub struct Disk {
    pub marks: BTreeMap<String, Vec<u8>>,
    /// Payloads of accepted publishes, in order.
    pub stored: Vec<String>,
    /// The last publish of each topic that is to be retained, as if the sensor had made it.
    pub retained: BTreeMap<String, Message>,
    /// Patches of reported properties that were accepted, in order.
    pub reported: Vec<String>,
    /// What a client that asks is told to be desired of it.
    pub desired: String,
}

/// What the device saw and what it is to do.
#[derive(Default)]
pub struct Desk {
    pub disk: Mutex<Disk>,
    pub events: Mutex<Vec<MqttEvent>>,
    /// Store publishes and answer nothing.
    pub is_silent: AtomicBool,
    /// The highest number that was acknowledged.
    pub acked: AtomicU64,
}

/// A running listener.
pub struct Device {
    pub listener: Option<Arc<Listener>>,
    pub address: SocketAddr,
    pub desk: Arc<Desk>,
    pub counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

struct Passwords;

impl Authenticator for Passwords {
    fn passwords(&self, module: &ModuleId) -> Vec<Vec<u8>> {
        let all = ["an older one", PASSWORD].map(|password| password.as_bytes().to_vec());
        if module.workload == "plant" { all.into() } else { Vec::new() }
    }
}

impl Device {
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), Arc::default(), Settings::default())
    }

    pub fn start_at(address: SocketAddr, desk: Arc<Desk>, settings: Settings) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let marks = desk.disk.lock().unwrap().marks.clone();
        let bind = || {
            let marks = marks.clone();
            Listener::bind(&[address], settings.clone(), Arc::new(Passwords), marks, runtime.handle()).ok()
        };
        let mut bound = None;
        // A listener that was killed may need a moment to let go of the port.
        until("the port", || {
            bound = bind();
            bound.is_some()
        });
        let (listener, events) = bound.unwrap();
        let address = listener.addresses()[0];
        listener.perform(Mqtt::Clients(vec![client()]));
        let origin = DeviceId::from_bytes([7; 32]);
        listener.perform(Mqtt::Names(BTreeMap::from([(origin, "dev".to_owned())])));
        let (listener, counts) = (Arc::new(listener), settings.counts);
        runtime.spawn(route(listener.clone(), events, desk.clone()));
        Self { listener: Some(listener), address, desk, counts, runtime: Some(runtime) }
    }

    /// As `kill -9` does.
    pub fn kill(mut self) -> (SocketAddr, Arc<Desk>) {
        self.listener = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        (self.address, self.desk.clone())
    }

    pub fn perform(&self, command: Mqtt) {
        self.listener.as_ref().unwrap().perform(command);
    }

    pub fn deliver(&self, first_seq: u64, payloads: &[&str]) {
        let message = |payload: &&str| Message {
            origin: DeviceId::from_bytes([7; 32]),
            source: "sensor".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: payload.as_bytes().to_vec().into(),
            accepted_ms: 0,
        };
        let messages = payloads.iter().map(message).collect();
        self.perform(Mqtt::Deliver { queue: queue(), first_seq, messages });
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.listener = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The module that may connect. Whatever is delivered may reach it.
pub fn client() -> Client {
    Client { id: module(), leaf: None, topics: vec!["+/sensor/#".to_owned()] }
}

pub fn module() -> ModuleId {
    "plant/detector".parse().unwrap()
}

pub fn queue() -> Queue {
    Queue::new("plant/data", Endpoint::Module(module()))
}

/// Waits for something that will come.
pub fn until(what: &str, mut is_there: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < limit, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn route(listener: Arc<Listener>, mut events: mpsc::Receiver<MqttEvent>, desk: Arc<Desk>) {
    while let Some(event) = events.recv().await {
        desk.events.lock().unwrap().push(event.clone());
        if let MqttEvent::TwinWanted { module } = &event {
            let body = desk.disk.lock().unwrap().desired.clone().into();
            listener.perform(Mqtt::Desired { module: module.clone(), body });
        }
        if let MqttEvent::Subscribed { module } = &event {
            let messages = desk.disk.lock().unwrap().retained.values().cloned().collect();
            listener.perform(Mqtt::Retained { module: module.clone(), messages });
        }
        let ticket = keep(&mut desk.disk.lock().unwrap(), event, &desk.acked);
        if let Some(ticket) = ticket.filter(|_| !desk.is_silent.load(Ordering::Relaxed)) {
            listener.perform(Mqtt::Accept { tickets: vec![ticket] });
        }
    }
}

/// What the router does, with a list for a store.
fn keep(disk: &mut Disk, event: MqttEvent, acked: &AtomicU64) -> Option<u64> {
    let packet = |module: &ModuleId, id: u16| format!("qos2/{module}/{id}");
    match event {
        MqttEvent::Published { ticket, module, topic, properties, payload, packet_id, .. } => {
            if properties.contains_key(property::RETAIN) {
                let message = Message {
                    origin: DeviceId::from_bytes([7; 32]),
                    source: "sensor".into(),
                    topic: topic.clone(),
                    properties,
                    payload: payload.clone(),
                    accepted_ms: 0,
                };
                disk.retained.insert(topic.to_string(), message);
            }
            let mark = packet_id.map(|id| packet(&module, id));
            if !mark.as_ref().is_some_and(|mark| disk.marks.contains_key(mark)) {
                disk.stored.push(String::from_utf8_lossy(&payload).into_owned());
            }
            mark.map(|mark| disk.marks.insert(mark, Vec::new()));
            Some(ticket)
        }
        MqttEvent::Released { ticket, module, packet_id } => {
            disk.marks.remove(&packet(&module, packet_id));
            Some(ticket)
        }
        MqttEvent::SessionCleared { module } => {
            let prefix = format!("qos2/{module}/");
            disk.marks.retain(|mark, _| !mark.starts_with(&prefix));
            disk.marks.remove(&flights_mark(&module));
            None
        }
        MqttEvent::Flights { ticket, module, kept } => {
            disk.marks.insert(flights_mark(&module), kept);
            Some(ticket)
        }
        MqttEvent::Session { ticket, module, kept } => {
            match kept {
                Some(value) => disk.marks.insert(session_mark(&module), value),
                None => disk.marks.remove(&session_mark(&module)),
            };
            Some(ticket)
        }
        MqttEvent::Acked { upto, .. } => {
            acked.store(upto, Ordering::Relaxed);
            None
        }
        MqttEvent::Reported { ticket, patch, .. } => {
            disk.reported.push(String::from_utf8_lossy(&patch).into_owned());
            Some(ticket)
        }
        MqttEvent::Lock { ticket, .. } => Some(ticket),
        MqttEvent::Subscribed { .. }
        | MqttEvent::Disconnected { .. }
        | MqttEvent::Online { .. }
        | MqttEvent::Offline { .. }
        | MqttEvent::Answered { .. }
        | MqttEvent::TwinWanted { .. }
        | MqttEvent::Undelivered { .. } => None,
    }
}
