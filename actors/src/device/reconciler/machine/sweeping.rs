//! Images that nothing needs go, after a while or when there is no room.

use std::collections::BTreeSet;

use super::Reconciler;
use crate::{
    device::reconciler::{Disk, Effect, course::Course},
    machine::Effects,
    time::Time,
};

/// Between two looks at which images are not needed any more, in milliseconds.
pub const SWEEP_MS: u64 = 60 * 60 * 1000;

impl Reconciler {
    /// Looks what room there is, once an hour while there is something that could go.
    pub(super) fn sweep_when_due(&mut self, now: Time, out: &mut Effects<Effect>) {
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.look_for_room(now, out);
        }
    }

    /// Looks what room there is.
    pub(super) fn look_for_room(&mut self, now: Time, out: &mut Effects<Effect>) {
        if self.pulled.images().next().is_some() {
            self.sweep_at = Some(now.plus_millis(SWEEP_MS));
            out.push(Effect::Space);
        }
    }

    /// This image was missing, and was got.
    pub(super) fn got(&mut self, image: String, out: &mut Effects<Effect>) {
        let before = self.pulled.clone();
        self.pulled.got(image);
        self.keep_pulled(&before, out);
    }

    /// There is so much room.
    pub(super) fn sweep(&mut self, disk: Option<Disk>, wall_ms: u64, out: &mut Effects<Effect>) {
        // As long as it is not known what should run, nobody knows what is needed.
        if self.held.is_none() {
            return;
        }
        let mut pulled = std::mem::take(&mut self.pulled);
        let before = pulled.clone();
        let coming = self.courses.values().map(Course::pull_bytes).max().unwrap_or_default();
        let is_full = disk.is_some_and(|disk| disk.check(coming).is_err());
        let going = pulled.sweep(&self.needed_images(), is_full, wall_ms, self.keep_unused_ms);
        self.pulled = pulled;
        self.keep_pulled(&before, out);
        for image in going {
            out.push(Effect::RemoveImage { image });
        }
    }

    /// An image is gone, or somebody else's.
    pub(super) fn image_gone(&mut self, image: &str, out: &mut Effects<Effect>) {
        let before = self.pulled.clone();
        self.pulled.forget(image);
        self.keep_pulled(&before, out);
    }

    /// Of each workload that which is committed, on trial, and coming.
    fn needed_images(&self) -> BTreeSet<&str> {
        let versions = self.courses.values().flat_map(|course| {
            let life = course.life();
            life.committed.iter().chain(&life.trial).chain([course.target()])
        });
        let modules = versions.flat_map(|version| version.release.workload.modules.values());
        modules.map(|spec| spec.image.as_str()).collect()
    }

    fn keep_pulled(&self, before: &crate::device::reconciler::Pulled, out: &mut Effects<Effect>) {
        if self.pulled != *before {
            out.persist(Effect::SavePulled(self.pulled.clone()));
        }
    }
}
