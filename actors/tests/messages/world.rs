//! Two devices, a cloud, and a network that loses, repeats and reorders.

use std::collections::BTreeMap;

use wayside_actors::{
    device::{
        delivery,
        io::{self, Io},
        router::{self, RouteTable, WorkloadRoutes},
        wiring::Event,
    },
    frame::ToCloud,
    message::{Batch, Message},
    queue::{Endpoint, Queue},
    time::Time,
};
use wayside_config::{
    document::Member,
    identity::DeviceId,
    workload::{Destination, ModuleId, Route, WhenFull},
};

use crate::{client::Client, node::Node};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Weather {
    Publish(usize),
    Step(usize),
    Arrives(usize),
    Lost(usize),
    Repeated(usize),
    Consumes(usize),
    Crash(usize),
    DeliveryFails(usize, usize),
    Flap(usize),
    Pass(u64),
}

/// What is on its way between devices.
#[derive(Clone, Debug)]
enum Letter {
    Batch { to: usize, from: DeviceId, batch: Batch },
    Acked { to: usize, queue: Queue, event: delivery::Event },
    ToCloud { from: usize, batch: Batch },
}

pub struct World {
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    letters: Vec<Letter>,
    /// What modules `detector` got: by device and queue, the last number, and whether that is acknowledged.
    sessions: BTreeMap<(usize, Queue), (u64, bool)>,
    /// What modules `detector` got: by device and origin, numbers in order.
    pub read: BTreeMap<(usize, DeviceId), Vec<u64>>,
    /// What the cloud stored, by origin, and how far each (origin, route) is stored.
    pub cloud: BTreeMap<DeviceId, Vec<u64>>,
    cloud_windows: BTreeMap<(DeviceId, String), (u64, u64)>,
    now: u64,
}

impl World {
    pub fn new(buffer_bytes: u64, when_full: WhenFull) -> Self {
        let routes = routes(buffer_bytes, when_full);
        Self {
            nodes: [0, 1].map(|at| Node::new(device(at), routes.clone())).into(),
            clients: vec![Client::default(), Client::default()],
            letters: Vec::new(),
            sessions: BTreeMap::new(),
            read: BTreeMap::new(),
            cloud: BTreeMap::new(),
            cloud_windows: BTreeMap::new(),
            now: 0,
        }
    }

    pub fn meet(&mut self, weather: Weather) {
        match weather {
            Weather::Publish(at) => {
                if let Some(event) = self.clients[at].publish() {
                    self.nodes[at].tell(event);
                }
            }
            Weather::Step(at) => {
                self.nodes[at].step();
                self.carry(at);
            }
            Weather::Arrives(which) => {
                if let Some(letter) = self.pick(which) {
                    self.arrive(letter);
                }
            }
            Weather::Lost(which) => {
                self.pick(which);
            }
            Weather::Repeated(which) => {
                if let Some(letter) = self.pick(which) {
                    self.letters.push(letter.clone());
                    self.letters.push(letter);
                }
            }
            Weather::Consumes(at) => self.consume(at),
            Weather::Crash(at) => {
                self.nodes[at].crash();
                self.sessions.retain(|(node, _), _| *node != at);
                for event in self.clients[at].reconnect() {
                    self.nodes[at].tell(event);
                }
            }
            Weather::DeliveryFails(at, which) => self.nodes[at].fail_delivery(which),
            Weather::Flap(at) => {
                for endpoint in [Endpoint::Cloud, Endpoint::Device(device(1 - at))] {
                    self.nodes[at].tell(Event::Deliveries(endpoint.clone(), delivery::Event::Down));
                    self.nodes[at].tell(Event::Deliveries(endpoint, delivery::Event::Up));
                }
            }
            Weather::Pass(ms) => {
                self.now += ms;
                for node in &mut self.nodes {
                    node.pass(Time::from_millis(self.now));
                }
            }
        }
    }

    /// Fair weather until nothing is left to do; gives whether that was so within a day.
    pub fn settle(&mut self) -> bool {
        for _ in 0..86_400 {
            loop {
                let stepped = [0, 1].map(|at| {
                    let stepped = self.nodes[at].step();
                    self.carry(at);
                    self.consume(at);
                    stepped
                });
                if !self.letters.is_empty() {
                    self.meet(Weather::Arrives(0));
                } else if stepped == [false, false] {
                    break;
                }
            }
            let drained = self.nodes.iter().all(|node| node.store.is_drained());
            if drained && self.clients.iter().all(Client::is_idle) {
                return true;
            }
            self.meet(Weather::Pass(1000));
        }
        false
    }

    fn pick(&mut self, which: usize) -> Option<Letter> {
        (!self.letters.is_empty()).then(|| self.letters.remove(which % self.letters.len()))
    }

    /// Carries on what a device did outside.
    fn carry(&mut self, at: usize) {
        let from = self.nodes[at].device;
        for queue in std::mem::take(&mut self.nodes[at].asked) {
            self.nodes[at].tell(Event::Delivery(queue, delivery::Event::Up));
        }
        for io in std::mem::take(&mut self.nodes[at].outside) {
            match io {
                Io::Mesh(io::Mesh::Send { to, batch }) => {
                    self.letters.push(Letter::Batch { to: index(to), from, batch });
                }
                Io::Mesh(io::Mesh::Confirm { to, confirm }) => {
                    let queue = Queue::new(confirm.route, Endpoint::Device(from));
                    let event = delivery::Event::Acked { epoch: Some(confirm.epoch), upto: confirm.upto };
                    self.letters.push(Letter::Acked { to: index(to), queue, event });
                }
                Io::Uplink(io::Uplink::Send(ToCloud::Batch(batch))) => {
                    self.letters.push(Letter::ToCloud { from: at, batch });
                }
                Io::Mqtt(io::Mqtt::Deliver { queue, first_seq, messages }) => {
                    self.read_messages(at, queue, first_seq, messages);
                }
                Io::Mqtt(io::Mqtt::Accept { tickets }) => {
                    for ticket in tickets {
                        if let Some(event) = self.clients[at].accepted(ticket) {
                            self.nodes[at].tell(event);
                        }
                    }
                }
                Io::Mqtt(io::Mqtt::Forget(queue)) => {
                    self.sessions.remove(&(at, queue));
                }
                Io::Mqtt(
                    io::Mqtt::Deny { .. }
                    | io::Mqtt::Refuse { .. }
                    | io::Mqtt::Forward { .. }
                    | io::Mqtt::Retained { .. }
                    | io::Mqtt::AskUp { .. }
                    | io::Mqtt::Call { .. }
                    | io::Mqtt::Withdraw { .. }
                    | io::Mqtt::Desired { .. }
                    | io::Mqtt::Names(_)
                    | io::Mqtt::Clients(_)
                    | io::Mqtt::Pause,
                )
                | Io::Mesh(io::Mesh::Tokens | io::Mesh::Role(_) | io::Mesh::Forward { .. })
                | Io::Uplink(_)
                | Io::Engine(_)
                | Io::Store(_)
                | Io::SaveFloors(_)
                | Io::SaveDesired(_)
                | Io::SaveLife(..)
                | Io::DropLife(_)
                | Io::SaveLocks(_)
                | Io::SavePulled(_)
                | Io::AskTime
                | Io::TakenBack { .. }
                | Io::NotTaken { .. }
                | Io::LoadDesired
                | Io::Verify(_)
                | Io::Answer(_)
                | Io::Called { .. }
                | Io::Clock { .. }
                | Io::SaveTwin(..)
                | Io::DropTwin(_)
                | Io::VerifyTwin(_)
                | Io::TwinShown { .. }
                | Io::Publish(_) => panic!("not expected of a router or a delivery"),
            }
        }
    }

    fn arrive(&mut self, letter: Letter) {
        match letter {
            Letter::Batch { to, from, batch } => {
                self.nodes[to].tell(Event::Router(router::Event::Arrived { from, batch }));
            }
            Letter::Acked { to, queue, event } => self.nodes[to].tell(Event::Delivery(queue, event)),
            Letter::ToCloud { from, batch } => self.store_in_cloud(from, batch),
        }
    }

    fn store_in_cloud(&mut self, from: usize, batch: Batch) {
        let origin = device(from);
        let (epoch, upto) =
            self.cloud_windows.entry((origin, batch.route.clone())).or_insert((batch.epoch, 0));
        if batch.after <= *upto {
            for (seq, message) in (batch.first_seq..).zip(&batch.messages) {
                if seq > *upto {
                    *upto = seq;
                    self.cloud.entry(origin).or_default().push(number(message));
                }
            }
        }
        let queue = Queue::new(batch.route, Endpoint::Cloud);
        let event = delivery::Event::Acked { epoch: Some(*epoch), upto: *upto };
        self.letters.push(Letter::Acked { to: from, queue, event });
    }

    fn read_messages(&mut self, at: usize, queue: Queue, first_seq: u64, messages: Vec<Message>) {
        let (last, acked) = self.sessions.entry((at, queue)).or_default();
        for (seq, message) in (first_seq..).zip(messages) {
            (*last, *acked) = (seq, false);
            self.read.entry((at, message.origin)).or_default().push(number(&message));
        }
    }

    fn consume(&mut self, at: usize) {
        let sessions = self.sessions.iter_mut().filter(|((node, _), (_, acked))| *node == at && !acked);
        for ((_, queue), (last, acked)) in sessions {
            *acked = true;
            let event = delivery::Event::Acked { epoch: None, upto: *last };
            self.nodes[at].tell(Event::Delivery(queue.clone(), event));
        }
    }
}

/// The device of this index.
pub fn device(at: usize) -> DeviceId {
    DeviceId::from_bytes([u8::try_from(at).unwrap() + 1; 32])
}

fn index(device: DeviceId) -> usize {
    usize::from(device.as_bytes()[0]) - 1
}

/// The number that a message carries.
pub fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload[..].try_into().unwrap())
}

/// `sensor` to every `detector`, and to the cloud.
pub fn routes(buffer_bytes: u64, when_full: WhenFull) -> RouteTable {
    let route = |name: &str, to| Route { buffer_bytes, when_full, ..Route::new(name, "sensor", "data", to) };
    let member = |at| Member { device: device(at), name: format!("device{at}"), labels: BTreeMap::new() };
    let workload = WorkloadRoutes {
        routes: vec![route("site", Destination::Site("detector".into())), route("up", Destination::Cloud)],
        members: vec![member(0), member(1)],
        clients: ["sensor", "detector"].map(Into::into).into(),
        granted: BTreeMap::new(),
    };
    RouteTable { workloads: BTreeMap::from([("plant".into(), workload)]) }
}

/// The queue of `detector` on each device.
pub fn to_detector() -> Queue {
    let module = ModuleId::new("plant", "detector");
    Queue::new("plant/site", Endpoint::Module(module))
}
