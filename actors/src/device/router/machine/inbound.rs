//! What neighbours send: stored once, confirmed as far as it is stored.

use wayside_config::{
    identity::DeviceId,
    topic::is_topic,
    workload::{Delivery, ModuleId},
};

use super::Router;
use crate::{
    device::router::{
        Effect,
        compiled::{Inbound, Target},
        marks::{self, Window},
    },
    machine::Effects,
    message::{Batch, Confirm, MAX_BATCH_MESSAGES, Message},
};

impl Router {
    /// Stores what is new of a batch and says how far all is stored. A batch that belongs to no route
    /// of this device, or that is not what its sender may send there, is counted and left unanswered: the
    /// sender tries again later, when the assignment may have come.
    pub(super) fn arrive(&mut self, from: DeviceId, batch: Batch, out: &mut Effects<Effect>) {
        let Some(target) = self.admit(from, &batch) else {
            self.refused();
            return;
        };
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
                if message.is_to_be_retained()
                    && let Some((workload, _)) = batch.route.split_once('/')
                {
                    let source = ModuleId::new(workload, message.source.clone());
                    self.retain(&source, &message, out);
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
        let queue = self
            .admitted(from, route, Delivery::BestEffort, std::slice::from_ref(&message))
            .map(|inbound| inbound.target.queue.clone());
        match queue {
            Some(queue) => out.push(Effect::Forward { queue, message }),
            None => self.refused(),
        }
    }

    /// Counts what was not taken. Before the routes are known nothing can be said to be wrong.
    fn refused(&mut self) {
        if self.routes.is_some() {
            self.changed.refuse();
        }
    }

    /// Where the batch goes, if `from` may send it.
    fn admit(&self, from: DeviceId, batch: &Batch) -> Option<Target> {
        let inbound = self.admitted(from, &batch.route, Delivery::AtLeastOnce, &batch.messages)?;
        let is_sound = batch.messages.len() <= MAX_BATCH_MESSAGES
            && batch.first_seq.checked_add(MAX_BATCH_MESSAGES as u64).is_some();
        is_sound.then(|| inbound.target.clone())
    }

    /// What becomes of messages from `from` along a route of a workload whose member it is: only what its own
    /// module published that the route comes from, or came from before.
    fn admitted(
        &self,
        from: DeviceId,
        route: &str,
        delivery: Delivery,
        messages: &[Message],
    ) -> Option<&Inbound> {
        let inbound = self.routes.as_ref()?.inbound(route)?;
        let sources = self.marks.sources.get(route)?;
        // What a route stored before it became best-effort still arrives.
        let is_sound = (inbound.delivery == delivery || delivery == Delivery::AtLeastOnce)
            && inbound.origins.contains(&from)
            && messages.iter().all(|message| {
                message.origin == from
                    && sources.iter().any(|source| message.source == source.as_str())
                    && is_topic(&message.topic)
            });
        is_sound.then_some(inbound)
    }
}
