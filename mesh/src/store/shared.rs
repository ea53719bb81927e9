//! What the writing thread and readers both know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    Restored,
    folder::{Folder, lock},
    index::Index,
    segment::SegmentError,
    staged::Staged,
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: Folder,
    /// What is committed. Only the writing thread changes it, except for what is found lost.
    pub(super) view: Mutex<View>,
    /// The segment that is written is damaged: begin another one.
    pub(super) rotate: AtomicBool,
    pub(super) disk_bytes: AtomicU64,
    pub(super) segments: AtomicUsize,
    pub(super) commits: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) epoch: u64,
    pub(super) index: Index,
    pub(super) marks: BTreeMap<String, Vec<u8>>,
    /// The segment that is written. It is never moved aside while it is.
    pub(super) active: u64,
    /// What of it is not in its log.
    pub(super) staged: Staged,
}

impl View {
    /// What it is once `moved` segments were copied to `to`, and everything was written there.
    pub(super) fn in_segment(mut self, to: u64, moved: &BTreeSet<u64>) -> Self {
        self.active = to;
        for queue in self.index.values_mut() {
            queue.extents_changed = false;
            for extent in queue.extents.iter_mut().filter(|extent| moved.contains(&extent.segment)) {
                extent.segment = to;
            }
        }
        self
    }
}

impl Shared {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            folder,
            view: Mutex::default(),
            rotate: AtomicBool::new(false),
            disk_bytes: AtomicU64::new(0),
            segments: AtomicUsize::new(0),
            commits: AtomicU64::new(0),
        }
    }

    pub(super) fn restored(&self) -> Restored {
        let view = lock(&self.view);
        Restored {
            epoch: view.epoch,
            queues: view.index.iter().map(|(queue, index)| (queue.clone(), index.state())).collect(),
            marks: view.marks.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            problems: self.folder.problems(),
        }
    }

    /// A segment turned out damaged: its messages are lost, the daemon goes on.
    pub(super) fn broken(&self, segment: u64, why: &SegmentError) {
        if !self.forget(segment) {
            return;
        }
        if lock(&self.view).active == segment {
            self.rotate.store(true, Ordering::Relaxed);
            self.folder
                .report(format!("segment {segment} of the queues is damaged ({why}): its messages are lost"));
        } else {
            self.folder.set_aside(segment, why);
        }
    }

    /// A segment is not there. That is well when it was acknowledged meanwhile.
    pub(super) fn gone(&self, segment: u64) {
        if self.forget(segment) {
            self.folder.report(format!("segment {segment} of the queues is missing: what it held is lost"));
        }
    }

    /// Forgets what a segment held; `true` when that was something.
    fn forget(&self, segment: u64) -> bool {
        let mut lost = false;
        let mut view = lock(&self.view);
        for queue in view.index.values_mut() {
            lost |= queue.lose(segment);
        }
        if view.active == segment {
            view.staged = Staged::default();
        }
        lost
    }
}
