//! The router's decisions.

mod choice;
mod inbound;
mod rerouting;
mod retaining;
mod status;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use wayside_config::{
    identity::DeviceId,
    text::Text,
    topic::TWIN_REPORTED,
    workload::{ModuleId, WhenFull},
};

use self::{choice::Samples, status::Changed};
use super::{
    Effect, Event,
    book::Book,
    compiled::{Compiled, Target},
    flights_mark,
    marks::{self, Marks},
};
use crate::{
    machine::{Effects, Machine},
    message::{Message, Properties},
    queue::{Queue, QueueState, StoreOp},
    time::Time,
};

/// How long changes of queues are gathered before their status is told, in milliseconds.
pub const STATUS_MS: u64 = 500;
/// The most publishes of one module that wait for room; more are refused.
pub const WAITING_PUBLISHES: usize = 4096;
/// The most bytes of one module's publishes that wait for room; more are refused.
pub const WAITING_BYTES: usize = 8 << 20;

/// The machine that numbers and stores what modules publish and what neighbours send.
#[derive(Clone, Debug)]
pub struct Router {
    device: DeviceId,
    /// `None` until the reconciler has spoken: then nothing can be said to have no route.
    routes: Option<Arc<Compiled>>,
    books: BTreeMap<Queue, Book>,
    marks: Marks,
    /// Publishes that found a queue full, oldest first.
    waiting: BTreeMap<ModuleId, VecDeque<Publish>>,
    samples: Samples,
    changed: Changed,
}

#[derive(Clone, Debug)]
struct Publish {
    ticket: u64,
    module: ModuleId,
    topic: Text,
    properties: Properties,
    payload: Bytes,
    wall_ms: u64,
    packet_id: Option<u16>,
}

impl Router {
    /// A router over what the store holds: its queues and its marks.
    #[must_use]
    pub fn new(
        device: DeviceId,
        queues: BTreeMap<Queue, QueueState>,
        marks: &BTreeMap<String, Vec<u8>>,
    ) -> Self {
        Self {
            device,
            routes: None,
            books: queues.into_iter().map(|(queue, state)| (queue, Book::restored(state))).collect(),
            marks: Marks::restored(marks),
            waiting: BTreeMap::new(),
            samples: Samples::default(),
            changed: Changed::default(),
        }
    }
}

impl Machine for Router {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Routes(table) => self.reroute(&table, now, out),
            Event::Published { ticket, module, topic, properties, payload, wall_ms, packet_id } => {
                let publish = Publish { ticket, module, topic, properties, payload, wall_ms, packet_id };
                self.publish(publish, now, out);
            }
            Event::Released { ticket, module, packet_id } => self.release(ticket, module, packet_id, out),
            Event::SessionCleared { module } => self.forget_packets(&module, out),
            Event::Session { ticket, module, kept } => self.keep_session(ticket, module, kept, out),
            Event::Flights { ticket, module, kept } => self.keep_flights(ticket, module, kept, out),
            Event::Subscribed { module, wall_ms } => self.tell_retained(module, wall_ms, out),
            Event::Disconnected { module } => {
                self.waiting.remove(&module);
            }
            Event::Arrived { from, batch } => self.arrive(from, batch, out),
            Event::Forwarded { from, route, message } => self.pass_on(from, &route, message, out),
            Event::Lost { route, messages } => {
                // A neighbour may name any route.
                if self.routes.as_ref().is_some_and(|routes| routes.has_route(&route)) {
                    self.changed.lose(route, messages);
                }
            }
            Event::Trimmed { queue, upto, expired } => self.trimmed(queue, upto, expired, now, out),
            Event::DeliveryRestarted(queue) => self.tell_depth(&queue, out),
            Event::HealthRestarted => self.changed.everything(self.books.keys()),
            Event::Woken => self.tell_status(now, out),
        }
        self.changed.wake(now, out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

/// What modules publish.
impl Router {
    fn publish(&mut self, publish: Publish, now: Time, out: &mut Effects<Effect>) {
        let Some(waiting) = self.waiting.get(&publish.module) else {
            if let Some(publish) = self.try_publish(publish, now, out) {
                self.waiting.entry(publish.module.clone()).or_default().push_back(publish);
            }
            return;
        };
        // Behind those that came before it, for order holds.
        let bytes: usize = waiting.iter().map(|publish| publish.payload.len()).sum();
        if waiting.len() >= WAITING_PUBLISHES || bytes + publish.payload.len() > WAITING_BYTES {
            let reason =
                "the queues of this topic's routes are full, and so is the room to wait: publish later";
            return out.push(Effect::Refuse { ticket: publish.ticket, reason: reason.into() });
        }
        self.waiting.entry(publish.module.clone()).or_default().push_back(publish);
    }

    /// Tries what waits again: there may be room now.
    fn publish_waiting(&mut self, now: Time, out: &mut Effects<Effect>) {
        for (module, mut publishes) in std::mem::take(&mut self.waiting) {
            while let Some(publish) = publishes.pop_front() {
                if let Some(publish) = self.try_publish(publish, now, out) {
                    publishes.push_front(publish);
                    break;
                }
            }
            if !publishes.is_empty() {
                self.waiting.insert(module, publishes);
            }
        }
    }

    /// Stores the message in all queues that its routes lead to, or in none and gives it back to wait.
    fn try_publish(&mut self, publish: Publish, now: Time, out: &mut Effects<Effect>) -> Option<Publish> {
        let Some(routes) = self.routes.clone() else { return Some(publish) };
        let mark = publish.packet_id.map(|id| (publish.module.clone(), id));
        if mark.as_ref().is_some_and(|mark| self.marks.packet_ids.contains(mark)) {
            out.push(Effect::Accept { ticket: publish.ticket });
            return None;
        }
        let Publish { ticket, module, topic, properties, payload, wall_ms, packet_id } = publish;
        let (origin, source) = (self.device, module.module.clone());
        let message = Message { origin, source, topic, properties, payload, accepted_ms: wall_ms };
        let choice = self.samples.choose(&routes, &module, &message, now);
        // What a module reports is in its twin, wherever else it goes.
        let is_kept = message.topic == TWIN_REPORTED;
        if choice.verdicts.is_empty() && !is_kept && !routes.is_granted(&module, &message.topic) {
            out.push(Effect::Deny { ticket });
            return None;
        }
        if choice.stored.iter().any(|target| self.pushes_back(target, &message)) {
            let Message { topic, properties, payload, .. } = message;
            return Some(Publish { ticket, module, topic, properties, payload, wall_ms, packet_id });
        }
        self.samples.count(&choice, now);
        if is_kept && choice.verdicts.is_empty() {
            // What was retained when a route took it is old now.
            self.retain(&module, &Message { payload: Bytes::new(), ..message.clone() }, out);
        } else if message.is_to_be_retained() {
            self.retain(&module, &message, out);
        }
        // A report is where it belongs without a route.
        if !is_kept || !choice.verdicts.is_empty() {
            self.changed.count(&choice);
        }
        let mut told = Vec::new();
        for queue in choice.forwarded {
            out.push(Effect::Forward { queue: queue.clone(), message: message.clone() });
        }
        if let Some((last, others)) = choice.stored.split_last() {
            for target in others {
                self.append(target, message.clone(), out, &mut told);
            }
            self.append(last, message, out, &mut told);
        }
        if let Some((module, id)) = mark {
            let key = marks::packet_mark(&module, id);
            self.marks.packet_ids.insert((module, id));
            out.persist(Effect::Store(StoreOp::Mark { key, value: Vec::new() }));
        }
        out.push(Effect::Accept { ticket });
        told.into_iter().for_each(|effect| out.push(effect));
        None
    }

    fn release(&mut self, ticket: u64, module: ModuleId, id: u16, out: &mut Effects<Effect>) {
        let key = marks::packet_mark(&module, id);
        if self.marks.packet_ids.remove(&(module, id)) {
            out.persist(Effect::Store(StoreOp::Unmark { key }));
        }
        out.push(Effect::Accept { ticket });
    }

    fn forget_packets(&mut self, module: &ModuleId, out: &mut Effects<Effect>) {
        let of_module = (module.clone(), 0)..=(module.clone(), u16::MAX);
        let ids: Vec<_> = self.marks.packet_ids.range(of_module).cloned().collect();
        for mark in ids {
            out.persist(Effect::Store(StoreOp::Unmark { key: marks::packet_mark(&mark.0, mark.1) }));
            self.marks.packet_ids.remove(&mark);
        }
        self.forget_flights(module, out);
    }

    fn forget_flights(&mut self, module: &ModuleId, out: &mut Effects<Effect>) {
        if self.marks.flights.remove(module) {
            out.persist(Effect::Store(StoreOp::Unmark { key: flights_mark(module) }));
        }
    }

    fn keep_flights(&mut self, ticket: u64, module: ModuleId, kept: Vec<u8>, out: &mut Effects<Effect>) {
        out.persist(Effect::Store(StoreOp::Mark { key: flights_mark(&module), value: kept }));
        self.marks.flights.insert(module);
        out.push(Effect::Accept { ticket });
    }

    fn keep_session(
        &mut self,
        ticket: u64,
        module: ModuleId,
        kept: Option<Vec<u8>>,
        out: &mut Effects<Effect>,
    ) {
        out.persist(Effect::Store(marks::keep_session(&module, kept.clone())));
        match kept {
            Some(_) => {
                self.marks.sessions.insert(module);
            }
            None => {
                self.marks.sessions.remove(&module);
                self.forget_flights(&module, out);
            }
        }
        out.push(Effect::Accept { ticket });
    }
}

/// Queues.
impl Router {
    fn pushes_back(&self, target: &Target, message: &Message) -> bool {
        target.when_full == WhenFull::PushBack
            && self
                .books
                .get(&target.queue)
                .is_some_and(|book| !book.has_room(message.cost_bytes() as u64, target.buffer_bytes))
    }

    /// Stores one message in one queue, or drops by the queue's policy. `told` takes what others
    /// hear of it once that is on the disk.
    fn append(
        &mut self,
        target: &Target,
        message: Message,
        out: &mut Effects<Effect>,
        told: &mut Vec<Effect>,
    ) {
        let Target { queue, buffer_bytes, when_full, terms } = target;
        let cost = message.cost_bytes() as u64;
        let floor = self.marks.floor;
        let book = self.books.entry(queue.clone()).or_insert_with(|| Book::new(floor));
        self.changed.queue(queue);
        if !book.has_room(cost, *buffer_bytes) {
            match when_full {
                WhenFull::DropNewest => return book.drop_newest(),
                WhenFull::DropOldest => {
                    let upto = book.drop_oldest(cost, *buffer_bytes);
                    out.persist(Effect::Store(StoreOp::Trim { queue: queue.clone(), upto }));
                    told.push(Effect::Skipped { queue: queue.clone(), upto });
                }
                // Whoever calls has asked whether there is room.
                WhenFull::PushBack => {}
            }
        }
        let seq = book.append(cost);
        let acked = book.acked();
        if self.is_to_be_drained(queue) && self.marks.drains.insert(queue.clone()) {
            out.persist(Effect::Store(marks::keep_drain(queue)));
        }
        out.persist(Effect::Store(StoreOp::Append { queue: queue.clone(), seq, message }));
        told.push(Effect::Appended { queue: queue.clone(), acked, last: seq, terms: *terms });
    }

    fn trimmed(&mut self, queue: Queue, upto: u64, expired: u64, now: Time, out: &mut Effects<Effect>) {
        let Some(book) = self.books.get_mut(&queue) else { return };
        book.trim(upto);
        book.expire(expired);
        self.changed.queue(&queue);
        if book.is_empty() && self.is_unled(&queue) {
            self.close(&queue, out);
        }
        self.publish_waiting(now, out);
    }

    fn tell_depth(&self, queue: &Queue, out: &mut Effects<Effect>) {
        if let Some(book) = self.books.get(queue).filter(|book| !book.is_empty()) {
            let terms = self.terms(queue);
            out.push(Effect::Appended {
                queue: queue.clone(),
                acked: book.acked(),
                last: book.last(),
                terms,
            });
        }
    }
}
