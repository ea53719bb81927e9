//! The one thread that writes: takes all commits that wait, writes them as one, syncs, answers them all.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{mpsc, oneshot};
use wayside_actors::queue::StoreOp;

use super::{
    Restored, StoreError, StoreSettings,
    batch::Batch,
    compact::compact,
    folder::lock,
    group::Group,
    index::{live_bytes, live_segments},
    record::{self, Meta},
    restore::{Contents, Witness, failed, pack, restore},
    segment::{Segment, SegmentError, disk_bytes},
    shared::{Shared, View},
    staged::{Staged, Staging},
};

/// Commits and bytes that one group takes at most.
const GROUP_COMMITS: usize = 1024;
const GROUP_BYTES: u64 = 4 << 20;

/// Room on the disk that is left to others. What fails in the middle of a write is much worse than what
/// was not begun.
const SPARE_BYTES: u64 = 16 << 20;

/// What the thread is asked for.
pub(super) enum Request {
    Commit(Arc<Vec<StoreOp>>, oneshot::Sender<Result<(), StoreError>>),
    Restored(oneshot::Sender<Result<Restored, StoreError>>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    settings: StoreSettings,
    witness: Witness,
    active: Option<Arc<Segment>>,
    next_segment: u64,
    meta: Meta,
    /// Sizes of the segments that are not written any more.
    closed_bytes: BTreeMap<u64, u64>,
    /// Why nothing is accepted any more.
    poisoned: Option<String>,
    /// Room may be won by moving what is left of old segments.
    crowded: bool,
}

type Waiter = oneshot::Sender<Result<(), StoreError>>;

impl Writer {
    /// Opens the store.
    pub(super) fn open(shared: Arc<Shared>, settings: StoreSettings) -> Result<Self, StoreError> {
        let witness = Witness::open(&shared.folder)?;
        let mut writer = Self {
            shared,
            settings,
            witness,
            active: None,
            next_segment: 1,
            meta: Meta { epoch: 0, commits: 0, next_queue: 0, log_end: 0, packed: 0 },
            closed_bytes: BTreeMap::new(),
            poisoned: None,
            crowded: false,
        };
        writer.reopen()?;
        Ok(writer)
    }

    /// Does what is asked until nobody can ask any more.
    pub(super) fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut kept = None;
        while let Some(request) = kept.take().or_else(|| requests.blocking_recv()) {
            match request {
                Request::Restored(waiter) => {
                    // Whoever asked may have gone.
                    let _ = waiter.send(self.restored());
                }
                Request::Commit(changes, waiter) => {
                    let mut group = vec![(changes, waiter)];
                    let mut bytes = cost(&group[0].0);
                    while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
                        match requests.try_recv() {
                            Ok(Request::Commit(changes, waiter)) => {
                                bytes += cost(&changes);
                                group.push((changes, waiter));
                            }
                            Ok(other @ Request::Restored(_)) => {
                                kept = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
            }
        }
    }

    fn restored(&mut self) -> Result<Restored, StoreError> {
        if self.poisoned.is_some() {
            tracing::info!("opening the queues again after a write failed");
            self.reopen()?;
            // The kernel forgets what it could not write, and later syncs say nothing of it: nothing more goes to that file.
            self.shared.rotate.store(true, Ordering::Relaxed);
            self.poisoned = None;
        }
        Ok(self.shared.restored())
    }

    /// Reads the store from the disk, and begins a segment where there is none to go on with.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.active = None;
        self.shared.folder.close_all();
        let Contents { meta, index, marks, staged, active, next_segment } =
            restore(&self.shared.folder, &self.witness)?;
        self.next_segment = next_segment;
        self.meta = meta;
        let active_number = active.as_ref().map_or(0, |segment| segment.number);
        self.closed_bytes = BTreeMap::new();
        for number in live_segments(&index).into_iter().filter(|number| *number != active_number) {
            self.closed_bytes.insert(number, disk_bytes(&self.shared.folder.store, number));
        }
        *lock(&self.shared.view) = View { epoch: meta.epoch, index, marks, active: active_number, staged };
        self.active = active;
        if let Some(active) = &self.active {
            active.log.cut(meta.log_end).map_err(|error| failed(&self.shared.folder, &error.into()))?;
        } else {
            self.write(Vec::new()).map_err(|error| failed(&self.shared.folder, &error))?;
        }
        self.count();
        Ok(())
    }

    fn commit(&mut self, commits: Vec<(Arc<Vec<StoreOp>>, Waiter)>) {
        if let Some(why) = &self.poisoned {
            let error = StoreError::Poisoned(why.clone());
            return answer(commits.into_iter().map(|(_, waiter)| waiter), &Err(error));
        }
        let (mut room, mut accepted) = (self.room(), Vec::new());
        for (changes, waiter) in commits {
            let bytes = cost(&changes);
            match &room {
                Err(error) if bytes > 0 => answer([waiter], &Err(error.clone())),
                Ok(left) if bytes > *left => {
                    room = Err(self.full());
                    answer([waiter], &Err(self.full()));
                }
                Ok(_) | Err(_) => {
                    if let Ok(left) = &mut room {
                        *left -= bytes;
                    }
                    accepted.push((changes, waiter));
                }
            }
        }
        self.crowded = room.is_err();
        match self.write(accepted) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "writing the queues failed; nothing more is accepted until they are opened again");
                self.poisoned = Some(error.to_string());
            }
        }
        self.count();
    }

    /// Writes what can be written of `commits` and answers them all. An error is the disk's.
    fn write(&mut self, commits: Vec<(Arc<Vec<StoreOp>>, Waiter)>) -> Result<(), SegmentError> {
        let is_new = self.must_rotate();
        if is_new && let Err(error) = self.finish() {
            answer(commits.into_iter().map(|(_, waiter)| waiter), &Err(failed(&self.shared.folder, &error)));
            return Err(error);
        }
        let number =
            self.active.as_ref().filter(|_| !is_new).map_or(self.next_segment, |active| active.number);
        let mut batch = Batch::new(if is_new { 0 } else { self.meta.log_end });
        let mut staged = None;
        if is_new {
            let moved = compact(&self.shared, &self.settings, &self.closed_bytes, &mut batch);
            let view = lock(&self.shared.view).clone().in_segment(number, &moved);
            batch.put_all(&view.index, &view.marks);
            staged = Some(view);
        }
        let mut group = Group::new(number, self.meta.next_queue);
        let mut waiters = Vec::new();
        let commits_now = self.meta.commits + 1;
        let staging = {
            let committed = lock(&self.shared.view);
            let view = staged.as_ref().unwrap_or(&committed);
            for (changes, waiter) in commits {
                match group.add(view, &changes) {
                    Ok(()) => waiters.push(waiter),
                    Err(error) => answer([waiter], &Err(error)),
                }
            }
            if waiters.is_empty() && !is_new {
                return Ok(());
            }
            group.write_to(view, commits_now, &mut batch)
        };
        let meta = Meta {
            commits: commits_now,
            next_queue: group.next_queue(),
            log_end: batch.log_end(),
            packed: if matches!(staging, Staging::Packed) { commits_now } else { self.meta.packed },
            ..self.meta
        };
        batch.put(record::META.to_vec(), &record::encode_meta(&meta));
        if let Err(error) = self.store(number, is_new, batch) {
            answer(waiters, &Err(failed(&self.shared.folder, &error)));
            return Err(error);
        }
        self.meta = meta;
        let freed = group.freed || is_new;
        {
            let mut view = lock(&self.shared.view);
            if let Some(staged) = staged {
                *view = staged;
            }
            group.apply_to(staging, &mut view);
        }
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.witness.write(meta.commits) {
            tracing::warn!(%error, "the count of commits could not be written");
        }
        answer(waiters, &Ok(()));
        if freed {
            self.delete_unneeded();
        }
        Ok(())
    }

    /// Ends the segment that is written: what is staged in it goes to its log.
    fn finish(&mut self) -> Result<(), SegmentError> {
        let Some(active) = &self.active else { return Ok(()) };
        let (staged, index) = {
            let view = lock(&self.shared.view);
            if view.staged.is_empty() {
                return Ok(());
            }
            (view.staged.clone(), view.index.clone())
        };
        self.meta = pack(active, &staged, &index, self.meta)?;
        lock(&self.shared.view).staged = Staged::default();
        Ok(())
    }

    /// One write, durable when this returns.
    fn store(&mut self, number: u64, is_new: bool, batch: Batch) -> Result<(), SegmentError> {
        if !is_new && let Some(active) = &self.active {
            return active.write(batch);
        }
        let begun = self.begin(number, batch);
        if begun.is_err() {
            // Nothing in it is acknowledged, and what was moved to it still is where it was.
            self.shared.folder.delete(number);
        }
        let segment = begun?;
        if let Some(before) = self.active.replace(segment) {
            self.closed_bytes.insert(before.number, before.disk_bytes());
        }
        self.next_segment = number + 1;
        self.shared.rotate.store(false, Ordering::Relaxed);
        tracing::debug!(segment = number, "began a segment of the queues");
        Ok(())
    }

    fn begin(&self, number: u64, batch: Batch) -> Result<Arc<Segment>, SegmentError> {
        let segment = self.shared.folder.make(number)?;
        // Its names first: a commit that names what lies in a log without a name would be damage.
        segment.sync_folders()?;
        segment.write(batch)?;
        Ok(segment)
    }

    fn must_rotate(&self) -> bool {
        let Some(active) = &self.active else { return true };
        let bytes = active.disk_bytes();
        let segment_bytes = self.settings.segment_bytes();
        bytes >= segment_bytes
            || self.shared.rotate.load(Ordering::Relaxed)
            || (self.crowded && bytes >= segment_bytes / 4 && self.is_sparse())
    }

    /// Whether less than half of what the segments take is still needed.
    fn is_sparse(&self) -> bool {
        let live: u64 = live_bytes(&lock(&self.shared.view).index).values().sum();
        live < self.used_bytes() / 2
    }

    fn delete_unneeded(&mut self) {
        let live = live_segments(&lock(&self.shared.view).index);
        let unneeded: Vec<u64> =
            self.closed_bytes.keys().copied().filter(|number| !live.contains(number)).collect();
        for number in unneeded {
            self.closed_bytes.remove(&number);
            self.shared.folder.delete(number);
        }
    }

    fn used_bytes(&self) -> u64 {
        self.closed_bytes.values().sum::<u64>() + self.active.as_ref().map_or(0, |active| active.disk_bytes())
    }

    /// Bytes that may be appended now.
    fn room(&self) -> Result<u64, StoreError> {
        let folder = &self.shared.folder.store;
        if fs2::available_space(folder).is_ok_and(|free| free < SPARE_BYTES) {
            return Err(StoreError::DiskFull { path: folder.display().to_string() });
        }
        let room = self.settings.max_bytes.saturating_sub(self.used_bytes());
        if room == 0 { Err(self.full()) } else { Ok(room) }
    }

    fn full(&self) -> StoreError {
        StoreError::Full { used_bytes: self.used_bytes(), max_bytes: self.settings.max_bytes }
    }

    fn count(&self) {
        self.shared.disk_bytes.store(self.used_bytes(), Ordering::Relaxed);
        self.shared.segments.store(self.closed_bytes.len() + 1, Ordering::Relaxed);
    }
}

/// What a commit adds to the queues.
fn cost(changes: &[StoreOp]) -> u64 {
    let cost = |change: &StoreOp| match change {
        StoreOp::Append { message, .. } => message.cost_bytes() as u64,
        StoreOp::Trim { .. } | StoreOp::Drop { .. } | StoreOp::Mark { .. } | StoreOp::Unmark { .. } => 0,
    };
    changes.iter().map(cost).sum()
}

fn answer(waiters: impl IntoIterator<Item = Waiter>, result: &Result<(), StoreError>) {
    for waiter in waiters {
        // Whoever asked may have gone.
        let _ = waiter.send(result.clone());
    }
}
