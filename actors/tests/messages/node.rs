//! One device of the model: its router and deliveries on a store that survives crashes.

use std::collections::{BTreeMap, VecDeque};

use wayside_actors::{
    device::{
        delivery::{self, Delivery},
        io::{self, Io},
        router::{self, RouteTable, Router},
        wiring::{self, Actor, Event, Out, Outs},
    },
    machine::{Effects, Machine, Step},
    message::Message,
    queue::{Queue, QueueState, StoreOp},
    time::Time,
};
use wayside_config::identity::DeviceId;

/// What survives a crash.
#[derive(Debug, Default)]
pub struct Store {
    pub epoch: u64,
    queues: BTreeMap<Queue, Stored>,
    marks: BTreeMap<String, Vec<u8>>,
    /// Everything that was ever appended, in order.
    pub appended: Vec<(Queue, Message)>,
}

#[derive(Debug, Default)]
struct Stored {
    acked: u64,
    last: u64,
    messages: BTreeMap<u64, Message>,
}

impl Store {
    fn commit(&mut self, op: StoreOp) {
        match op {
            StoreOp::Append { queue, seq, message } => {
                self.appended.push((queue.clone(), message.clone()));
                let is_new = !self.queues.contains_key(&queue);
                let stored = self.queues.entry(queue).or_default();
                if is_new {
                    (stored.acked, stored.last) = (seq - 1, seq - 1);
                }
                assert_eq!(seq, stored.last + 1, "a gap in a queue");
                stored.last = seq;
                stored.messages.insert(seq, message);
            }
            StoreOp::Trim { queue, upto } => {
                if let Some(stored) = self.queues.get_mut(&queue) {
                    stored.acked = stored.acked.max(upto.min(stored.last));
                    stored.messages.retain(|seq, _| *seq > upto);
                }
            }
            StoreOp::Drop { queue } => {
                self.queues.remove(&queue);
            }
            StoreOp::Mark { key, value } => {
                assert!(key.len() <= 512 && value.len() <= 4096);
                self.marks.insert(key, value);
            }
            StoreOp::Unmark { key } => {
                self.marks.remove(&key);
            }
        }
    }

    fn load(&self, queue: &Queue, from: u64, max_messages: usize, max_bytes: usize) -> delivery::Event {
        let mut bytes = 0;
        let stored = self.queues.get(queue).into_iter().flat_map(|stored| stored.messages.range(from..));
        let taken: Vec<_> = stored
            .take(max_messages)
            .take_while(|(_, message)| {
                let fits = bytes == 0 || bytes + message.cost_bytes() <= max_bytes;
                bytes += message.cost_bytes();
                fits
            })
            .collect();
        let first_seq = taken.first().map_or(from, |(seq, _)| **seq);
        let messages = taken.into_iter().map(|(_, message)| message.clone()).collect();
        delivery::Event::Loaded { from, first_seq, messages, wall_ms: 0 }
    }

    fn states(&self) -> BTreeMap<Queue, QueueState> {
        let state = |stored: &Stored| QueueState {
            acked: stored.acked,
            last: stored.last,
            bytes: stored.messages.values().map(|message| message.cost_bytes() as u64).sum(),
        };
        self.queues.iter().map(|(queue, stored)| (queue.clone(), state(stored))).collect()
    }

    /// Bytes in the queue that holds most.
    pub fn most_bytes(&self) -> u64 {
        self.states().values().map(|state| state.bytes).max().unwrap_or_default()
    }

    pub fn is_drained(&self) -> bool {
        self.queues.values().all(|stored| stored.messages.is_empty())
    }
}

/// A device that runs.
pub struct Node {
    pub device: DeviceId,
    pub store: Store,
    routes: RouteTable,
    router: Router,
    deliveries: BTreeMap<Queue, Delivery>,
    /// Handled events whose steps are not done yet: lost in a crash.
    pipeline: VecDeque<(Actor, Vec<Step<Outs>>)>,
    alarms: BTreeMap<Actor, Time>,
    pub now: Time,
    /// What was done outside and is for the world to carry on.
    pub outside: Vec<Io>,
    /// Questions of deliveries whether their endpoint is up.
    pub asked: Vec<Queue>,
}

impl Node {
    pub fn new(device: DeviceId, routes: RouteTable) -> Self {
        let store = Store { epoch: u64::from(device.as_bytes()[0]), ..Store::default() };
        let router = Router::new(device, BTreeMap::new(), &BTreeMap::new());
        let mut node = Self {
            device,
            store,
            routes,
            router,
            deliveries: BTreeMap::new(),
            pipeline: VecDeque::new(),
            alarms: BTreeMap::new(),
            now: Time::default(),
            outside: Vec::new(),
            asked: Vec::new(),
        };
        node.crash();
        node
    }

    /// Loses all but the store and starts again.
    pub fn crash(&mut self) {
        self.router = Router::new(self.device, self.store.states(), &self.store.marks);
        self.deliveries.clear();
        self.pipeline.clear();
        self.alarms.clear();
        self.asked.clear();
        self.outside.clear();
        self.tell(Event::Router(router::Event::Routes(Box::new(self.routes.clone()))));
    }

    pub fn reroute(&mut self, routes: RouteTable) {
        self.routes = routes.clone();
        self.tell(Event::Router(router::Event::Routes(Box::new(routes))));
    }

    /// A delivery fails and is rebuilt.
    pub fn fail_delivery(&mut self, which: usize) {
        if let Some(queue) = self.deliveries.keys().nth(which).cloned() {
            self.deliveries.insert(queue.clone(), self.new_delivery(&queue));
            for out in wiring::after_restart(&Actor::Delivery(queue)) {
                self.carry_out(out);
            }
        }
    }

    fn new_delivery(&self, queue: &Queue) -> Delivery {
        Delivery::new(queue.clone(), self.store.epoch, 7)
    }

    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Router(event) => {
                let steps = handle(&mut self.router, self.now, event, wiring::router);
                self.queue_up(Actor::Router, steps);
            }
            Event::Delivery(queue, event) => {
                let starts = Event::Delivery(queue.clone(), event.clone()).starts();
                if starts && !self.deliveries.contains_key(&queue) {
                    self.deliveries.insert(queue.clone(), self.new_delivery(&queue));
                }
                if let Some(delivery) = self.deliveries.get_mut(&queue) {
                    let wire = |effect| {
                        if effect == delivery::Effect::AskUp {
                            return Outs::new();
                        }
                        wiring::delivery(&queue, effect)
                    };
                    let asks = matches!(event, delivery::Event::Appended { .. });
                    let steps = handle(delivery, self.now, event, wire);
                    self.queue_up(Actor::Delivery(queue.clone()), steps);
                    if asks {
                        self.asked.push(queue);
                    }
                }
            }
            Event::Deliveries(endpoint, event) => {
                let queues: Vec<_> = self.deliveries.keys().filter(|q| q.to == endpoint).cloned().collect();
                for queue in queues {
                    self.tell(Event::Delivery(queue, event.clone()));
                }
            }
            Event::Health(_)
            | Event::Reconciler(_)
            | Event::Module(..)
            | Event::Membership(_)
            | Event::Uplink(_)
            | Event::Calls(_)
            | Event::Twins(_) => {}
        }
    }

    fn queue_up(&mut self, actor: Actor, steps: Vec<Step<Outs>>) {
        for step in &steps {
            if let Step::WakeAt(at) = step {
                self.alarms.insert(actor.clone(), *at);
            }
        }
        self.pipeline.push_back((actor, steps));
    }

    /// Does what the oldest handled event led to: first commits it as a whole.
    pub fn step(&mut self) -> bool {
        let Some((_, steps)) = self.pipeline.pop_front() else { return false };
        let mut rest = Vec::new();
        for step in steps {
            match step {
                Step::Persist(outs) => {
                    for out in outs {
                        let Out::Io(Io::Store(io::Store::Commit(op))) = out else {
                            panic!("not a commit: {out:?}")
                        };
                        self.store.commit(op);
                    }
                }
                Step::Do(outs) => rest.extend(outs),
                Step::WakeAt(_) => {}
            }
        }
        rest.into_iter().for_each(|out| self.carry_out(out));
        true
    }

    fn carry_out(&mut self, out: Out) {
        match out {
            Out::Tell(event) => self.tell(event),
            Out::End(Actor::Delivery(queue)) => {
                self.alarms.remove(&Actor::Delivery(queue.clone()));
                self.deliveries.remove(&queue);
            }
            Out::End(actor) => panic!("ends {actor:?}"),
            Out::Io(Io::Store(io::Store::Load { queue, from, max_messages, max_bytes })) => {
                let loaded = self.store.load(&queue, from, max_messages, max_bytes);
                self.tell(Event::Delivery(queue, loaded));
            }
            Out::Io(io) => self.outside.push(io),
        }
    }

    /// Rings the alarms that are due.
    pub fn pass(&mut self, until: Time) {
        self.now = until;
        let due: Vec<_> =
            self.alarms.iter().filter(|(_, at)| **at <= until).map(|(actor, _)| actor.clone()).collect();
        for actor in due {
            self.alarms.remove(&actor);
            match actor {
                Actor::Router => self.tell(Event::Router(Router::woken())),
                Actor::Delivery(queue) => self.tell(Event::Delivery(queue, Delivery::woken())),
                Actor::Reconciler
                | Actor::Module(_)
                | Actor::Membership
                | Actor::Uplink
                | Actor::Health
                | Actor::Calls
                | Actor::Twins => {}
            }
        }
    }
}

fn handle<M: Machine>(
    machine: &mut M,
    now: Time,
    event: M::Event,
    wire: impl Fn(M::Effect) -> Outs,
) -> Vec<Step<Outs>> {
    let mut out = Effects::new();
    machine.handle(now, event, &mut out);
    let wired = out.take().into_iter().map(|step| match step {
        Step::Persist(effect) => Step::Persist(wire(effect)),
        Step::Do(effect) => Step::Do(wire(effect)),
        Step::WakeAt(at) => Step::WakeAt(at),
    });
    wired.collect()
}
