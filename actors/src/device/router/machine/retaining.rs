//! What is retained, and who gets it.

use std::collections::BTreeSet;

use wayside_config::workload::ModuleId;

use super::Router;
use crate::{
    device::router::{Effect, compiled::Compiled, retained::Outcome},
    machine::Effects,
    message::Message,
    queue::{Endpoint, Queue},
    time::Time,
};

impl Router {
    /// Retains a message, or what it says: one without a body takes away what was retained.
    pub(super) fn retain(&mut self, source: &ModuleId, message: &Message, out: &mut Effects<Effect>) {
        let (outcome, ops) = self.marks.retained.keep(source, message);
        if outcome == Outcome::NoRoom {
            self.changed.not_retained();
        }
        for op in ops {
            out.persist(Effect::Store(op));
        }
    }

    /// Sends what is retained of this device's own to devices that routes lead to since now: they may have just joined.
    pub(super) fn bring_retained(&mut self, before: &Compiled, now: Time, out: &mut Effects<Effect>) {
        let Some(routes) = self.routes.clone() else { return };
        let own = self.marks.retained.messages().filter(|(_, message)| message.origin == self.device);
        let own: Vec<_> = own.map(|(source, message)| (source.clone(), message.clone())).collect();
        let mut told = Vec::new();
        for (source, message) in own {
            let known: BTreeSet<&Queue> = before
                .outbound(&source, &message.topic)
                .into_iter()
                .flat_map(|route| route.targets.iter().map(|target| &target.queue))
                .collect();
            for target in self.samples.choose(&routes, &source, &message, now).stored {
                let is_new = matches!(target.queue.to, Endpoint::Device(_)) && !known.contains(&target.queue);
                if is_new && !self.pushes_back(target, &message) {
                    self.append(target, message.clone(), out, &mut told);
                }
            }
        }
        told.into_iter().for_each(|effect| out.push(effect));
    }

    /// Tells what is retained of what routes bring to `to`.
    pub(super) fn tell_retained(&mut self, to: ModuleId, wall_ms: u64, out: &mut Effects<Effect>) {
        let device = self.device;
        // No clock here says how old a message of another device is.
        let is_over = |message: &Message| {
            let expiry_ms = message.expiry_ms().filter(|_| message.origin == device);
            expiry_ms.is_some_and(|ms| message.accepted_ms.saturating_add(ms) <= wall_ms)
        };
        for op in self.marks.retained.retain(|_, message| !is_over(message)) {
            out.persist(Effect::Store(op));
        }
        let leads = |source: &ModuleId, message: &Message| {
            self.routes.as_ref().is_some_and(|routes| routes.lead(device, source, message, &to))
        };
        let retained = self.marks.retained.messages();
        let messages = retained.filter(|(source, message)| leads(source, message));
        let messages = messages.map(|(_, message)| message.clone()).collect();
        out.push(Effect::Retained { module: to, messages });
    }
}
