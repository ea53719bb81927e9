//! What the cloud is told of twins, a little at a time: nobody waits for a slow link.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use wayside_config::workload::ModuleId;

use super::{Effect, machine::Twins};
use crate::{frame::ToCloud, machine::Effects, time::Time};

/// The least time between two words to the cloud about changed twins, in milliseconds.
pub const TELL_MS: u64 = 1_000;

/// Twins that are told of at once, at most: what the uplink keeps room for.
pub const TELL_TWINS: usize = 16;

/// What the cloud knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Cloud {
    pub(super) is_up: bool,
    /// Twins of which it does not know how they are.
    pub(super) changed: BTreeSet<ModuleId>,
    /// Whether it does not know which there are.
    pub(super) names: bool,
    told_at: Option<Time>,
    /// The twin that was told of last: the next ones come after it, so that each has its turn.
    last: Option<ModuleId>,
}

impl Cloud {
    /// One that has just come, and knows nothing.
    pub(super) fn up(all: impl Iterator<Item = ModuleId>) -> Self {
        Self { is_up: true, changed: all.collect(), names: true, told_at: None, last: None }
    }

    fn next(&mut self) -> Option<ModuleId> {
        let after =
            self.last.as_ref().and_then(|last| self.changed.range((Excluded(last), Unbounded)).next());
        let next = after.or_else(|| self.changed.first())?.clone();
        self.changed.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

impl Twins {
    /// Tells the cloud what it does not know, at most once in [`TELL_MS`].
    pub(super) fn tell_cloud(&mut self, now: Time, out: &mut Effects<Effect>) {
        if !self.cloud.is_up || (self.cloud.changed.is_empty() && !self.cloud.names) {
            return;
        }
        if let Some(told_at) = self.cloud.told_at
            && now.millis_since(told_at) < TELL_MS
        {
            return out.wake_at(told_at.plus_millis(TELL_MS));
        }
        self.cloud.told_at = Some(now);
        if std::mem::take(&mut self.cloud.names) {
            out.push(Effect::Tell(vec![self.names()]));
        }
        for _ in 0..TELL_TWINS {
            let Some(module) = self.cloud.next() else { break };
            if let Some(frame) = self.frame(&module) {
                out.push(Effect::Tell(vec![frame]));
            }
        }
        if !self.cloud.changed.is_empty() {
            out.wake_at(now.plus_millis(TELL_MS));
        }
    }

    /// Tells the cloud how a twin is: the cloud itself brought the change, and waits to hear of it.
    pub(super) fn tell_now(&mut self, module: &ModuleId, out: &mut Effects<Effect>) {
        self.cloud.changed.remove(module);
        if let Some(frame) = self.frame(module) {
            out.push(Effect::Tell(vec![frame]));
        }
    }

    /// Tells the cloud that a change is not taken, and before that what holds instead: so it knows which of its
    /// changes were taken.
    pub(super) fn tell_refused(
        &mut self,
        module: &ModuleId,
        sha256: [u8; 32],
        reason: String,
        out: &mut Effects<Effect>,
    ) {
        let holds = self.frame(module).unwrap_or_else(|| self.names());
        self.cloud.changed.remove(module);
        out.push(Effect::Tell(vec![holds, ToCloud::TwinRefused { sha256, reason }]));
    }

    /// There was no room. A refusal is not said again by itself: the cloud brings the change once more when it hears
    /// of the twin.
    pub(super) fn untold(&mut self, now: Time, frames: Vec<ToCloud>) {
        if !self.cloud.is_up {
            return;
        }
        self.cloud.told_at = Some(now);
        let is_alone = frames.len() == 1;
        for frame in frames {
            match frame {
                ToCloud::TwinNames(_) => self.cloud.names = true,
                ToCloud::Twin(module, _) => drop(self.cloud.changed.insert(module)),
                // Nobody knows of which twin it was.
                ToCloud::TwinRefused { .. } if is_alone => {
                    self.cloud.changed.extend(self.twins.keys().cloned());
                }
                ToCloud::TwinRefused { .. }
                | ToCloud::Hello(_)
                | ToCloud::Report(_)
                | ToCloud::Batch(_)
                | ToCloud::Clock { .. }
                | ToCloud::Answer(_) => {}
            }
        }
    }

    fn names(&self) -> ToCloud {
        ToCloud::TwinNames(self.twins.keys().cloned().collect())
    }

    fn frame(&self, module: &ModuleId) -> Option<ToCloud> {
        self.twins.get(module).map(|twin| ToCloud::Twin(module.clone(), Box::new(twin.clone())))
    }
}
