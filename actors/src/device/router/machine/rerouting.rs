//! What changes when routes do: queues that stay lose and reorder nothing, the others are emptied or dropped.

use std::{collections::BTreeSet, sync::Arc};

use wayside_config::workload::ModuleId;

use super::Router;
use crate::{
    device::{
        delivery::Terms,
        router::{Effect, RouteTable, compiled::Compiled, flights_mark, marks, session_mark},
    },
    machine::Effects,
    message::Message,
    queue::{Endpoint, Queue, StoreOp},
    time::Time,
};

impl Router {
    pub(super) fn reroute(&mut self, table: &RouteTable, now: Time, out: &mut Effects<Effect>) {
        let before = self.routes.replace(Arc::new(Compiled::new(self.device, table)));
        let unled: BTreeSet<Queue> =
            self.books.keys().filter(|queue| self.is_unled(queue) && !self.drains(queue)).cloned().collect();
        let floor = unled.iter().map(|queue| self.books[queue].last()).max().unwrap_or_default();
        self.raise_floor(floor, out);
        for queue in &unled {
            out.persist(Effect::Store(StoreOp::Drop { queue: queue.clone() }));
        }
        self.forget_unrouted(out);
        for queue in &unled {
            self.forget_queue(queue, out);
        }
        let to_tell: Vec<Queue> = self
            .books
            .keys()
            .filter(|queue| {
                before.as_ref().is_none_or(|before| before.terms(queue) != Some(self.terms(queue)))
            })
            .cloned()
            .collect();
        to_tell.iter().for_each(|queue| self.tell_depth(queue, out));
        to_tell.iter().for_each(|queue| self.changed.queue(queue));
        if let Some(before) = before {
            self.bring_retained(&before, now, out);
        }
        self.publish_waiting(now, out);
        self.remember_sources(out);
        self.remember_drains(out);
    }

    /// Keeps which modules each route from elsewhere comes from, and came from before.
    fn remember_sources(&mut self, out: &mut Effects<Effect>) {
        let Some(routes) = &self.routes else { return };
        for (route, inbound) in routes.inbounds() {
            if let Some(mark) = self.marks.sent_by(route, &inbound.source) {
                out.persist(Effect::Store(mark));
            }
        }
    }

    /// Keeps, for the queues that there are, whether they are to be emptied when their route is gone.
    fn remember_drains(&mut self, out: &mut Effects<Effect>) {
        let led: Vec<Queue> = self.books.keys().filter(|queue| !self.is_unled(queue)).cloned().collect();
        for queue in led {
            match (self.is_to_be_drained(&queue), self.marks.drains.contains(&queue)) {
                (true, false) => {
                    out.persist(Effect::Store(marks::keep_drain(&queue)));
                    self.marks.drains.insert(queue);
                }
                (false, true) => {
                    out.persist(Effect::Store(StoreOp::Unmark { key: marks::drain_mark(&queue) }));
                    self.marks.drains.remove(&queue);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    /// Whether no route leads to the queue, as far as routes are known.
    pub(super) fn is_unled(&self, queue: &Queue) -> bool {
        self.routes.as_ref().is_some_and(|routes| routes.terms(queue).is_none())
    }

    /// How the messages of a queue are sent. In one without a route may be those of other devices.
    pub(super) fn terms(&self, queue: &Queue) -> Terms {
        self.routes
            .as_ref()
            .and_then(|routes| routes.terms(queue))
            .unwrap_or(Terms { has_come: true, ..Terms::USUAL })
    }

    /// Whether what waits in the queue is still delivered when its route is gone. Other devices do not take
    /// what follows a route that they do not know.
    pub(super) fn is_to_be_drained(&self, queue: &Queue) -> bool {
        !matches!(queue.to, Endpoint::Device(_))
            && self.routes.as_ref().is_some_and(|routes| routes.drained().contains(queue))
    }

    /// A queue without a route is empty: it is closed.
    pub(super) fn close(&mut self, queue: &Queue, out: &mut Effects<Effect>) {
        let floor = self.books.get(queue).map(|book| book.last()).unwrap_or_default();
        self.raise_floor(floor, out);
        out.persist(Effect::Store(StoreOp::Drop { queue: queue.clone() }));
        self.forget_queue(queue, out);
    }

    /// Whether a queue without a route is emptied first.
    fn drains(&self, queue: &Queue) -> bool {
        let is_empty = self.books.get(queue).is_none_or(|book| book.is_empty());
        if !is_empty && self.routes.as_ref().is_some_and(|routes| routes.is_unstored(queue)) {
            return true;
        }
        let is_there = match &queue.to {
            Endpoint::Cloud => true,
            Endpoint::Device(_) => false,
            Endpoint::Module(module) => {
                self.routes.as_ref().is_some_and(|routes| routes.has_workload(&module.workload))
            }
        };
        is_there && self.marks.drains.contains(queue) && !is_empty
    }

    /// A later queue of a name must not use a number again: receivers remember them.
    fn raise_floor(&mut self, floor: u64, out: &mut Effects<Effect>) {
        if floor > self.marks.floor {
            self.marks.floor = floor;
            out.persist(Effect::Store(marks::keep_floor(floor)));
        }
    }

    fn forget_queue(&mut self, queue: &Queue, out: &mut Effects<Effect>) {
        if self.marks.drains.remove(queue) {
            out.persist(Effect::Store(StoreOp::Unmark { key: marks::drain_mark(queue) }));
        }
        self.books.remove(queue);
        self.changed.gone(queue);
        out.push(Effect::Closed(queue.clone()));
        out.push(Effect::StatusGone(queue.clone()));
    }

    /// Forgets what is remembered for routes and modules that are no more.
    fn forget_unrouted(&mut self, out: &mut Effects<Effect>) {
        let Some(routes) = &self.routes else { return };
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
            let keep = routes.has_client(module);
            if !keep {
                gone.push(marks::packet_mark(module, *id));
            }
            keep
        });
        self.marks.sessions.retain(|module| {
            let keep = routes.has_client(module);
            if !keep {
                gone.push(session_mark(module));
            }
            keep
        });
        self.marks.flights.retain(|module| {
            let keep = routes.has_client(module);
            if !keep {
                gone.push(flights_mark(module));
            }
            keep
        });
        self.samples.keep(|route| routes.has_route(route));
        for route in self.changed.keep_routes(|route| routes.has_route(route)) {
            out.push(Effect::RouteGone(route));
        }
        let kept = |source: &ModuleId, _: &Message| routes.has_workload(&source.workload);
        for op in self.marks.retained.retain(kept) {
            out.persist(Effect::Store(op));
        }
        for key in gone {
            out.persist(Effect::Store(StoreOp::Unmark { key }));
        }
    }
}
