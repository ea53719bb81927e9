//! What neighbours send: stored once, confirmed as far as it is stored.

use wayside_config::{identity::DeviceId, workload::Delivery};

use super::Router;
use crate::{
    device::router::{
        Effect,
        marks::{self, Window},
    },
    machine::Effects,
    message::{Batch, Confirm, MAX_BATCH_MESSAGES, Message},
};

impl Router {
    /// Stores what is new of a batch and says how far all is stored. A batch that belongs to no route
    /// of this device, or that is not what a device may send, is left unanswered: the sender tries
    /// again later, when the assignment may have come.
    pub(super) fn arrive(&mut self, from: DeviceId, batch: Batch, out: &mut Effects<Effect>) {
        let inbound = self.routes.as_ref().and_then(|routes| routes.inbound(&batch.route));
        let Some(target) = inbound
            .filter(|i| i.delivery == Delivery::AtLeastOnce && i.origins.contains(&from))
            .map(|i| i.target.clone())
        else {
            return;
        };
        let sound = batch.messages.len() <= MAX_BATCH_MESSAGES
            && batch.messages.iter().all(|message| message.origin == from)
            && batch.first_seq.checked_add(MAX_BATCH_MESSAGES as u64).is_some();
        if !sound {
            return;
        }
        let key = (from, batch.route.clone());
        let known = self.marks.windows.get(&key).copied();
        let before = known
            .filter(|window| window.epoch == batch.epoch)
            .unwrap_or(Window { epoch: batch.epoch, upto: 0 });
        let mut window = before;
        let mut told = Vec::new();
        if batch.after <= window.upto {
            for (seq, message) in (batch.first_seq..).zip(batch.messages) {
                if seq <= window.upto {
                    continue;
                }
                if self.pushes_back(&target, &message) {
                    break;
                }
                self.append(&target, message, out, &mut told);
                window.upto = seq;
            }
        }
        if window != before {
            out.persist(Effect::Store(marks::keep_window(from, &batch.route, window)));
            self.marks.windows.insert(key, window);
        }
        let confirm = Confirm { route: batch.route, epoch: window.epoch, upto: window.upto };
        out.push(Effect::Confirm { to: from, confirm });
        // One word on how far the queue is now does for the whole batch.
        if let Some(effect) = told.pop() {
            told.retain(|effect| matches!(effect, Effect::Skipped { .. }));
            told.push(effect);
        }
        told.into_iter().for_each(|effect| out.push(effect));
    }

    /// Passes a message of a best-effort route on to its module.
    pub(super) fn pass_on(
        &mut self,
        from: DeviceId,
        route: &str,
        message: Message,
        out: &mut Effects<Effect>,
    ) {
        let inbound = self.routes.as_ref().and_then(|routes| routes.inbound(route));
        let wanted = inbound.filter(|inbound| {
            inbound.delivery == Delivery::BestEffort
                && inbound.origins.contains(&from)
                && message.origin == from
        });
        if let Some(inbound) = wanted {
            out.push(Effect::Forward { queue: inbound.target.queue.clone(), message });
        }
    }
}
