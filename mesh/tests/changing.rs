//! Exactly once and in order, over the product's own routers and deliveries and real sessions, while the devices change
//! how they take part: as peers, then some of them route, then the others are clients, and back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test takes what it waits for, or panics"
)]

// The model's device, with a store in memory: there its network is made up, here it is real.
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the model crashes it; here it lives")]
#[path = "../../actors/tests/messages/node.rs"]
mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use node::Node;
use tokio::sync::mpsc;
use wayside_actors::{
    device::{
        delivery,
        io::{self, Io},
        membership::Role,
        router::{self, RouteTable, WorkloadRoutes},
        wiring::Event,
    },
    queue::{Endpoint, Queue},
    time::Time,
};
use wayside_config::{
    document::Member,
    identity::DeviceId,
    signer::Signer,
    workload::{Destination, ModuleId, Route, WhenFull},
};
use wayside_mesh::{
    circle::{Circle, circle_of},
    event::MeshEvent,
    pair::OwnKey,
    session::{Mesh, MeshSettings, SCOUTING},
};

const PORT: u16 = 17473;
const LIMIT: Duration = Duration::from_secs(60);

/// The key of a device of a test.
fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(number: u8) -> DeviceId {
    secret(number).key()
}

/// Of all devices of a test.
fn circle(number: u8) -> Circle {
    let circle = circle_of(Arc::new(secret(number))).unwrap();
    circle.admit((0..=100).map(|number| *id(number).as_bytes()).collect());
    circle
}

/// From `sensor` of each to `detector` of all.
fn routes() -> RouteTable {
    let (buffer_bytes, when_full) = (1 << 30, WhenFull::PushBack);
    let to = Destination::Site("detector".into());
    let route = Route { buffer_bytes, when_full, ..Route::new("site", "sensor", "data", to) };
    let member = |number| Member { device: id(number), name: format!("d{number}"), labels: BTreeMap::new() };
    let members = vec![member(1), member(2)];
    let workload = WorkloadRoutes { routes: vec![route], members, ..WorkloadRoutes::default() };
    RouteTable { workloads: BTreeMap::from([("plant".into(), workload)]) }
}

struct Device {
    mesh: Mesh,
    node: Node,
    events: mpsc::Receiver<MeshEvent>,
    there: BTreeSet<DeviceId>,
    published: u64,
}

impl Device {
    fn start(number: u8) -> Self {
        let settings = MeshSettings {
            listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
            scouting: Some(SocketAddrV4::new(*SCOUTING.ip(), PORT)),
            ..MeshSettings::new(circle(number), OwnKey::new(secret(number)), format!("d{number}"))
        };
        let (mesh, mut of_mesh) = Mesh::open(settings).unwrap();
        let (told, events) = mpsc::channel(1024);
        tokio::spawn(async move {
            while let Some(event) = of_mesh.recv().await {
                if told.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { mesh, node: Node::new(id(number), routes()), events, there: BTreeSet::new(), published: 0 }
    }

    fn publish(&mut self) {
        self.published += 1;
        self.node.tell(Event::Router(router::Event::Published {
            ticket: self.published,
            module: "plant/sensor".parse().unwrap(),
            topic: "data".into(),
            properties: Default::default(),
            payload: self.published.to_be_bytes().to_vec().into(),
            wall_ms: 0,
            packet_id: None,
        }));
    }

    /// Takes what came, and does what follows.
    fn turn(&mut self, now: Time) {
        self.node.pass(now);
        while let Ok(event) = self.events.try_recv() {
            let up = |device, event| Event::Deliveries(Endpoint::Device(device), event);
            self.node.tell(match event {
                MeshEvent::Seen { device, .. } => {
                    self.there.insert(device);
                    up(device, delivery::Event::Up)
                }
                MeshEvent::Gone { device } => {
                    self.there.remove(&device);
                    up(device, delivery::Event::Down)
                }
                MeshEvent::Batch { from, batch } => Event::Router(router::Event::Arrived { from, batch }),
                MeshEvent::Confirm { from, confirm } => {
                    let queue = Queue::new(confirm.route, Endpoint::Device(from));
                    let acked = delivery::Event::Acked { epoch: Some(confirm.epoch), upto: confirm.upto };
                    Event::Delivery(queue, acked)
                }
                _ => continue,
            });
        }
        while self.node.step() {}
        for queue in std::mem::take(&mut self.node.asked) {
            let is_up = match &queue.to {
                Endpoint::Device(device) => self.there.contains(device),
                Endpoint::Module(_) | Endpoint::Cloud => false,
            };
            let event = if is_up { delivery::Event::Up } else { delivery::Event::Down };
            self.node.tell(Event::Delivery(queue, event));
        }
        while self.node.step() {}
        for io in std::mem::take(&mut self.node.outside) {
            match io {
                // What finds no room is sent again.
                Io::Mesh(io::Mesh::Send { to, batch }) => drop(self.mesh.send(to, batch)),
                Io::Mesh(io::Mesh::Confirm { to, confirm }) => drop(self.mesh.confirm(to, confirm)),
                _ => {}
            }
        }
    }

    /// What `detector` of this device is to get from `from`, in order.
    fn got(&self, from: DeviceId) -> Vec<u64> {
        let detector = ModuleId::new("plant", "detector");
        let queue = Queue::new("plant/site", Endpoint::Module(detector));
        let appended = self.node.store.appended.iter();
        let messages = appended.filter(|(to, message)| *to == queue && message.origin == from);
        messages.map(|(_, message)| u64::from_be_bytes(message.payload[..].try_into().unwrap())).collect()
    }
}

struct Site {
    devices: Vec<Device>,
    begun: Instant,
}

impl Site {
    async fn turn(&mut self) {
        let now = Time::from_millis(self.begun.elapsed().as_millis() as u64);
        self.devices.iter_mut().for_each(|device| device.turn(now));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    /// Both publish until so many more have come to either from the other, or the time is up.
    async fn more(&mut self, count: usize, what: &str) {
        let begun = Instant::now();
        let got = |site: &Self| [site.devices[0].got(id(2)).len(), site.devices[1].got(id(1)).len()];
        let before = got(self);
        while got(self).iter().zip(before).any(|(now, before)| *now < before + count) {
            assert!(begun.elapsed() < LIMIT, "{what}: {before:?}, then {:?}", got(self));
            self.devices[..2].iter_mut().for_each(Device::publish);
            self.turn().await;
        }
        println!("{what}: {count} more each way after {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_once_and_in_order_while_roles_change() {
    let mut site = Site { devices: (1..=3).map(Device::start).collect(), begun: Instant::now() };
    site.more(200, "as peers").await;
    // As a site does that grows: first some route, then the others are their clients. And back.
    for (device, role) in [
        (2, Role::Router),
        (0, Role::Router),
        (1, Role::Client),
        (0, Role::Client),
        (1, Role::Router),
        (0, Role::Peer),
        (1, Role::Peer),
        (2, Role::Peer),
    ] {
        site.devices[device].mesh.take_role(role);
        // Messages are on their way while the session is opened anew.
        site.more(200, &format!("device {} as {role:?}", device + 1)).await;
        // Clients listen nowhere: by now it has taken the role.
        let begun = Instant::now();
        while site.devices[device].mesh.addresses().is_empty() != (role == Role::Client) {
            assert!(begun.elapsed() < LIMIT, "device {} is not yet {role:?}", device + 1);
            site.turn().await;
        }
    }
    let begun = Instant::now();
    while site.devices[..2].iter().any(|device| {
        let other = if device.node.device == id(1) { id(2) } else { id(1) };
        let published = site.devices.iter().find(|device| device.node.device == other).unwrap().published;
        (device.got(other).len() as u64) < published
    }) {
        assert!(begun.elapsed() < LIMIT, "not all that was published came");
        site.turn().await;
    }
    for (at, from) in [(0, 1), (1, 0)] {
        let (device, from) = (&site.devices[at], &site.devices[from]);
        let got = device.got(from.node.device);
        assert!(got.iter().copied().eq(1..=from.published), "lost, doubled or out of order: {got:?}");
        println!("{} messages, once and in order", got.len());
    }
}
