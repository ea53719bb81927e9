//! What is retained, and who gets it.

use wayside_config::workload::ModuleId;

use super::Router;
use crate::{
    device::router::{Effect, retained::Outcome},
    machine::Effects,
    message::Message,
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
