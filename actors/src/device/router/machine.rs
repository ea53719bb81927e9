//! The router's decisions.

mod inbound;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wayside_config::{
    identity::DeviceId,
    workload::{ModuleId, WhenFull},
};

use super::{
    Effect, Event, RouteTable,
    book::Book,
    compiled::{Compiled, Target},
    marks::{self, Marks},
};
use crate::{
    machine::{Effects, Machine},
    message::Message,
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
    routes: Option<Compiled>,
    books: BTreeMap<Queue, Book>,
    marks: Marks,
    /// Publishes that found a queue full, oldest first.
    waiting: BTreeMap<ModuleId, VecDeque<Publish>>,
    unrouted: Counter,
    refused: Counter,
    /// Queues whose status is to be told.
    changed: BTreeSet<Queue>,
    /// When that is.
    status_at: Option<Time>,
}

/// How often something happened, and whether that was told.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    count: u64,
    told: u64,
}

impl Counter {
    const fn is_news(self) -> bool {
        self.count != self.told
    }
}

#[derive(Clone, Debug)]
struct Publish {
    ticket: u64,
    module: ModuleId,
    topic: String,
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
            unrouted: Counter::default(),
            refused: Counter::default(),
            changed: BTreeSet::new(),
            status_at: None,
        }
    }
}

impl Machine for Router {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Routes(table) => self.reroute(&table, out),
            Event::Published { ticket, module, topic, payload, wall_ms, packet_id } => {
                self.publish(Publish { ticket, module, topic, payload, wall_ms, packet_id }, out);
            }
            Event::Released { ticket, module, packet_id } => self.release(ticket, module, packet_id, out),
            Event::SessionCleared { module } => self.forget_packets(&module, out),
            Event::Session { ticket, module, kept } => self.keep_session(ticket, module, kept, out),
            Event::Disconnected { module } => {
                self.waiting.remove(&module);
            }
            Event::Arrived { from, batch } => self.arrive(from, batch, out),
            Event::Trimmed { queue, upto } => self.trimmed(queue, upto, out),
            Event::DeliveryRestarted(queue) => self.tell_depth(&queue, out),
            Event::HealthRestarted => {
                self.unrouted.told = 0;
                self.refused.told = 0;
                self.changed.extend(self.books.keys().cloned());
            }
            Event::Woken => {
                if self.status_at.is_some_and(|at| at <= now) {
                    self.status_at = None;
                    self.tell_status(out);
                }
            }
        }
        let to_tell = !self.changed.is_empty() || self.unrouted.is_news() || self.refused.is_news();
        if to_tell && self.status_at.is_none() {
            let at = now.plus_millis(STATUS_MS);
            self.status_at = Some(at);
            out.wake_at(at);
        }
    }

    fn woken() -> Event {
        Event::Woken
    }
}

/// Routes.
impl Router {
    fn reroute(&mut self, table: &RouteTable, out: &mut Effects<Effect>) {
        let routes = Compiled::new(self.device, table);
        let is_first = self.routes.is_none();
        let led_to = routes.queues();
        let unled: Vec<_> = self.books.keys().filter(|queue| !led_to.contains(queue)).cloned().collect();
        let floor = unled.iter().map(|queue| self.books[queue].last()).max().unwrap_or_default();
        if floor > self.marks.floor {
            // A later queue of the same name must not use a number again: receivers remember them.
            self.marks.floor = floor;
            out.persist(Effect::Store(marks::keep_floor(floor)));
        }
        for queue in &unled {
            out.persist(Effect::Store(StoreOp::Drop { queue: queue.clone() }));
        }
        self.forget_unrouted(&routes, out);
        for queue in unled {
            self.books.remove(&queue);
            self.changed.remove(&queue);
            out.push(Effect::Closed(queue.clone()));
            out.push(Effect::StatusGone(queue));
        }
        let sources: Vec<_> = routes
            .inbounds()
            .filter_map(|(route, inbound)| self.marks.sent_by(route, &inbound.source))
            .collect();
        self.routes = Some(routes);
        if is_first {
            let queues: Vec<_> = self.books.keys().cloned().collect();
            for queue in &queues {
                self.tell_depth(queue, out);
            }
            self.changed.extend(queues);
        }
        self.publish_waiting(out);
        sources.into_iter().for_each(|mark| out.persist(Effect::Store(mark)));
    }

    /// Forgets what is remembered for routes and modules that are no more.
    fn forget_unrouted(&mut self, routes: &Compiled, out: &mut Effects<Effect>) {
        let mut gone = Vec::new();
        self.marks.windows.retain(|(origin, route), _| {
            let keep = routes.inbound(route).is_some();
            if !keep {
                gone.push(marks::window_mark(*origin, route));
            }
            keep
        });
        self.marks.sources.retain(|route, _| {
            let keep = routes.inbound(route).is_some();
            if !keep {
                gone.push(marks::source_mark(route));
            }
            keep
        });
        self.marks.packet_ids.retain(|(module, id)| {
            let keep = routes.has_workload(&module.workload);
            if !keep {
                gone.push(marks::packet_mark(module, *id));
            }
            keep
        });
        self.marks.sessions.retain(|module| {
            let keep = routes.has_workload(&module.workload);
            if !keep {
                gone.push(super::session_mark(module));
            }
            keep
        });
        for key in gone {
            out.persist(Effect::Store(StoreOp::Unmark { key }));
        }
    }
}

/// What modules publish.
impl Router {
    fn publish(&mut self, publish: Publish, out: &mut Effects<Effect>) {
        let Some(waiting) = self.waiting.get(&publish.module) else {
            if let Some(publish) = self.try_publish(publish, out) {
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
    fn publish_waiting(&mut self, out: &mut Effects<Effect>) {
        for (module, mut publishes) in std::mem::take(&mut self.waiting) {
            while let Some(publish) = publishes.pop_front() {
                if let Some(publish) = self.try_publish(publish, out) {
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
    fn try_publish(&mut self, publish: Publish, out: &mut Effects<Effect>) -> Option<Publish> {
        let Some(routes) = &self.routes else { return Some(publish) };
        let mark = publish.packet_id.map(|id| (publish.module.clone(), id));
        if mark.as_ref().is_some_and(|mark| self.marks.packet_ids.contains(mark)) {
            out.push(Effect::Accept { ticket: publish.ticket });
            return None;
        }
        let message = Message {
            origin: self.device,
            source: publish.module.module.clone(),
            topic: publish.topic.clone(),
            payload: publish.payload.clone(),
            accepted_ms: publish.wall_ms,
        };
        let targets: Vec<Target> = routes.targets(&publish.module, &publish.topic).cloned().collect();
        if targets.iter().any(|target| self.pushes_back(target, &message)) {
            return Some(publish);
        }
        if targets.is_empty() {
            self.unrouted.count += 1;
        }
        let mut told = Vec::new();
        for target in &targets {
            self.append(target, message.clone(), out, &mut told);
        }
        if let Some((module, id)) = mark {
            let key = marks::packet_mark(&module, id);
            self.marks.packet_ids.insert((module, id));
            out.persist(Effect::Store(StoreOp::Mark { key, value: Vec::new() }));
        }
        out.push(Effect::Accept { ticket: publish.ticket });
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
            Some(_) => self.marks.sessions.insert(module),
            None => self.marks.sessions.remove(&module),
        };
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
        let Target { queue, buffer_bytes, when_full } = target;
        let cost = message.cost_bytes() as u64;
        let floor = self.marks.floor;
        let book = self.books.entry(queue.clone()).or_insert_with(|| Book::new(floor));
        self.changed.insert(queue.clone());
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
        out.persist(Effect::Store(StoreOp::Append { queue: queue.clone(), seq, message }));
        told.push(Effect::Appended { queue: queue.clone(), acked, last: seq });
    }

    fn trimmed(&mut self, queue: Queue, upto: u64, out: &mut Effects<Effect>) {
        if let Some(book) = self.books.get_mut(&queue) {
            book.trim(upto);
            self.changed.insert(queue);
            self.publish_waiting(out);
        }
    }

    fn tell_depth(&self, queue: &Queue, out: &mut Effects<Effect>) {
        if let Some(book) = self.books.get(queue).filter(|book| !book.is_empty()) {
            out.push(Effect::Appended { queue: queue.clone(), acked: book.acked(), last: book.last() });
        }
    }

    fn tell_status(&mut self, out: &mut Effects<Effect>) {
        for queue in std::mem::take(&mut self.changed) {
            if let Some(book) = self.books.get(&queue) {
                out.push(Effect::Status(queue, book.status()));
            }
        }
        if self.unrouted.is_news() {
            self.unrouted.told = self.unrouted.count;
            out.push(Effect::Unrouted(self.unrouted.count));
        }
        if self.refused.is_news() {
            self.refused.told = self.refused.count;
            out.push(Effect::Refused(self.refused.count));
        }
    }
}
