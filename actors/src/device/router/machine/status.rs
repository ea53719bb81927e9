//! What of the router's counts is to be told, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::{Router, STATUS_MS, choice::Choice};
use crate::{
    device::router::{Effect, compiled::Verdict},
    machine::Effects,
    queue::Queue,
    report::RouteStatus,
    time::Time,
};

/// Counts, and those that changed since they were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    queues: BTreeSet<Queue>,
    /// By `workload/route`: only of routes that have left something out.
    routes: BTreeMap<String, RouteStatus>,
    changed_routes: BTreeSet<String>,
    /// Publishes that no route wanted, and how many of them were told.
    unrouted: u64,
    told_unrouted: u64,
    /// What was to be retained and had no room, and how much of it was told.
    not_retained: u64,
    told_not_retained: u64,
    /// What neighbours sent that they may not send, and how much of it was told.
    refused: u64,
    told_refused: u64,
    /// When to tell.
    at: Option<Time>,
}

impl Changed {
    pub(super) fn queue(&mut self, queue: &Queue) {
        if !self.queues.contains(queue) {
            self.queues.insert(queue.clone());
        }
    }

    pub(super) fn gone(&mut self, queue: &Queue) {
        self.queues.remove(queue);
    }

    /// A neighbour sent what it may not send.
    pub(super) const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// A message could not be retained.
    pub(super) const fn not_retained(&mut self) {
        self.not_retained += 1;
    }

    /// Messages of a best-effort route did not arrive.
    pub(super) fn lose(&mut self, route: String, messages: u64) {
        self.routes.entry(route.clone()).or_default().lost += messages;
        self.changed_routes.insert(route);
    }

    /// What routes made of a message.
    pub(super) fn count(&mut self, choice: &Choice<'_>) {
        if choice.verdicts.is_empty() {
            self.unrouted += 1;
        }
        for (route, verdict) in &choice.verdicts {
            let count = |status: &mut RouteStatus| match verdict {
                Verdict::Taken => {}
                Verdict::Refused => status.refused += 1,
                Verdict::Failed => status.failed += 1,
                Verdict::LeftOut => status.left_out += 1,
            };
            if *verdict != Verdict::Taken {
                count(self.routes.entry((*route).to_owned()).or_default());
                self.changed_routes.insert((*route).to_owned());
            }
        }
    }

    /// Forgets the routes that are no more, and gives those of which something was told.
    pub(super) fn keep_routes(&mut self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        let gone: Vec<String> = self.routes.keys().filter(|route| !keep(route)).cloned().collect();
        for route in &gone {
            self.routes.remove(route);
            self.changed_routes.remove(route);
        }
        gone
    }

    /// Whoever was told has forgotten.
    pub(super) fn everything<'a>(&mut self, queues: impl Iterator<Item = &'a Queue>) {
        self.queues.extend(queues.cloned());
        self.changed_routes.extend(self.routes.keys().cloned());
        self.told_unrouted = 0;
        self.told_not_retained = 0;
        self.told_refused = 0;
    }

    /// Asks for the time to tell, when there is something to tell.
    pub(super) fn wake(&mut self, now: Time, out: &mut Effects<Effect>) {
        let is_quiet = self.queues.is_empty()
            && self.changed_routes.is_empty()
            && self.unrouted == self.told_unrouted
            && self.not_retained == self.told_not_retained
            && self.refused == self.told_refused;
        if !is_quiet && self.at.is_none() {
            let at = now.plus_millis(STATUS_MS);
            self.at = Some(at);
            out.wake_at(at);
        }
    }
}

impl Router {
    pub(super) fn tell_status(&mut self, now: Time, out: &mut Effects<Effect>) {
        let changed = &mut self.changed;
        if changed.at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for queue in std::mem::take(&mut changed.queues) {
            if let Some(book) = self.books.get(&queue) {
                out.push(Effect::Status(queue, book.status()));
            }
        }
        for route in std::mem::take(&mut changed.changed_routes) {
            if let Some(status) = changed.routes.get(&route) {
                out.push(Effect::RouteStatus(route, *status));
            }
        }
        if changed.unrouted != changed.told_unrouted {
            changed.told_unrouted = changed.unrouted;
            out.push(Effect::Unrouted(changed.unrouted));
        }
        if changed.not_retained != changed.told_not_retained {
            changed.told_not_retained = changed.not_retained;
            out.push(Effect::NotRetained(changed.not_retained));
        }
        if changed.refused != changed.told_refused {
            changed.told_refused = changed.refused;
            out.push(Effect::Refused(changed.refused));
        }
    }
}
