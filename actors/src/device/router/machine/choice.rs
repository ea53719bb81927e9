//! Which routes take a message: their conditions and samples.

use std::collections::BTreeMap;

use wayside_config::workload::{Delivery, ModuleId, Sample};

use crate::{
    device::router::compiled::{Compiled, Target, Verdict, verdict, view},
    message::Message,
    queue::Queue,
    time::Time,
};

/// What the samples of routes have taken so far, by `workload/route`.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Taken>);

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Messages that matched, taken or not.
    seen: u64,
    /// When the last one was taken.
    at: Option<Time>,
}

/// Where one message goes.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    /// Into these queues.
    pub(super) stored: Vec<&'a Target>,
    /// At once to these, stored nowhere.
    pub(super) forwarded: Vec<&'a Queue>,
    /// What each route that matches its topic makes of it.
    pub(super) verdicts: Vec<(&'a str, Verdict)>,
    /// Routes with a sample that saw it.
    sampled: Vec<&'a str>,
}

impl Samples {
    /// Where a message goes. Changes nothing: it may have to wait and be asked about again.
    pub(super) fn choose<'a>(
        &self,
        routes: &'a Compiled,
        module: &ModuleId,
        message: &Message,
        now: Time,
    ) -> Choice<'a> {
        let mut choice = Choice::default();
        let view = view(message);
        for outbound in routes.outbound(module, &message.topic) {
            let mut verdict = verdict(outbound.condition.as_ref(), &view);
            if verdict == Verdict::Taken
                && let Some(sample) = outbound.sample
            {
                choice.sampled.push(&outbound.name);
                if !self.takes(&outbound.name, sample, now) {
                    verdict = Verdict::LeftOut;
                }
            }
            choice.verdicts.push((&outbound.name, verdict));
            match outbound.delivery {
                _ if verdict != Verdict::Taken => {}
                Delivery::AtLeastOnce => choice.stored.extend(&outbound.targets),
                Delivery::BestEffort => {
                    choice.forwarded.extend(outbound.targets.iter().map(|target| &target.queue));
                }
            }
        }
        choice
    }

    /// The message of this choice is on its way.
    pub(super) fn count(&mut self, choice: &Choice<'_>, now: Time) {
        for route in &choice.sampled {
            let taken = self.0.entry((*route).to_owned()).or_default();
            taken.seen += 1;
            if choice.verdicts.iter().any(|(name, verdict)| name == route && *verdict == Verdict::Taken) {
                taken.at = Some(now);
            }
        }
    }

    /// Forgets the routes that are no more.
    pub(super) fn keep(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|route, _| keep(route));
    }

    fn takes(&self, route: &str, sample: Sample, now: Time) -> bool {
        let taken = self.0.get(route).copied().unwrap_or_default();
        match sample {
            Sample::Every(every) => taken.seen.is_multiple_of(u64::from(every.max(1))),
            Sample::IntervalMs(ms) => taken.at.is_none_or(|at| now.millis_since(at) >= ms),
        }
    }
}
