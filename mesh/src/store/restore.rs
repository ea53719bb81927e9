//! Opening: reads the newest segment, which says all about the others. The time it takes does not depend
//! on how much is queued.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io,
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::{
    StoreError,
    batch::Batch,
    entry::decode_staged,
    folder::Folder,
    index::{Extent, Index, QueueIndex, live_segments},
    record::{self, Meta},
    segment::{Segment, SegmentError, disk_bytes},
    staged::{Staged, acked},
};
use crate::cursor::DecodeError;

/// How far a queue's numbers jump when newer ones may have been given out and lost with a segment: no
/// number is ever given to two messages. More than one segment can hold.
const JUMP: u64 = 1 << 32;

/// All that is known of a store.
pub(super) struct Contents {
    pub(super) meta: Meta,
    pub(super) index: Index,
    pub(super) marks: BTreeMap<String, Vec<u8>>,
    /// What of the segment that is written is not in its log.
    pub(super) staged: Staged,
    /// The segment that is written; `None` to begin a new one.
    pub(super) active: Option<Arc<Segment>>,
    /// For the next segment.
    pub(super) next_segment: u64,
}

/// Counts commits outside the segments: sled takes a file that was cut off for one that was never
/// longer. Written after each commit without a sync, so it is never ahead of what was committed.
///
/// Its file is locked as long as the store is open: whoever has it has the store. A segment's own lock does not say
/// that, for sled holds it for some time after the segment was closed.
#[derive(Debug)]
pub(super) struct Witness(File);

impl Witness {
    pub(super) fn open(folder: &Folder) -> Result<Self, StoreError> {
        let path = folder.store.join("commits");
        let failed = |error: io::Error| failed(folder, &error.into());
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Locked { path: folder.store.display().to_string() })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The count, unless it is damaged or new.
    fn read(&self) -> u64 {
        let mut bytes = [0; 12];
        let body =
            self.0.read_exact_at(&mut bytes, 0).ok().and_then(|()| record::unseal(b"commits", &bytes).ok());
        body.and_then(|body| body.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    pub(super) fn write(&self, commits: u64) -> io::Result<()> {
        self.0.write_all_at(&record::seal(b"commits", &commits.to_be_bytes()), 0)
    }
}

/// Reads the store in `folder`, or begins a new one. Damage is moved aside and reported to `folder`.
pub(super) fn restore(folder: &Folder, witness: &Witness) -> Result<Contents, StoreError> {
    let (mut damaged, mut unfinished) = (false, None);
    let numbers = folder.numbers().map_err(|error| failed(folder, &error.into()))?;
    let next_segment = numbers.last().copied().unwrap_or(0) + 1;
    for number in numbers.into_iter().rev() {
        let look = || {
            folder.get(number).and_then(|segment| {
                let mut contents = read(&segment)?;
                let lost = contents
                    .as_ref()
                    .map_or(0, |contents| witness.read().saturating_sub(contents.meta.commits));
                if let Some(contents) = contents.as_mut().filter(|_| damaged || lost > 0) {
                    // Nothing more is written to it but this.
                    contents.pack(&segment)?;
                }
                Ok((contents, lost, segment))
            })
        };
        let found = match look() {
            Err(SegmentError::Failed(_)) => look(),
            found => found,
        };
        match found {
            Ok((Some(mut contents), lost, segment)) => {
                if !damaged && lost > 0 {
                    folder.report(format!(
                        "the end of the queues was cut off: the last {lost} commits, after those in segment {number}, are lost"
                    ));
                    damaged = true;
                }
                if let Some(unfinished) = unfinished {
                    // Begun and cut short before its first commit, or emptied later.
                    if damaged {
                        folder.set_aside(unfinished, &SegmentError::Broken("it is empty".into()));
                    } else {
                        folder.delete(unfinished);
                    }
                }
                contents.meta.commits += lost;
                contents.next_segment = next_segment;
                if damaged {
                    // What follows goes to a new segment, whose first commit holds the new numbers.
                    contents.jump();
                } else {
                    contents.active = Some(segment);
                }
                contents.forget_missing(folder, damaged);
                return Ok(contents);
            }
            Ok((None, _, segment)) => {
                drop(segment);
                unfinished = Some(number);
            }
            Err(SegmentError::Locked) => {
                return Err(StoreError::Locked { path: folder.store.display().to_string() });
            }
            Err(error @ SegmentError::Failed(_)) if !folder.is_unreadable(number) => {
                return Err(failed(folder, &error));
            }
            // Begun and cut short before anything was in it.
            Err(SegmentError::Gone) if disk_bytes(&folder.store, number) == 0 => unfinished = Some(number),
            Err(error) => {
                folder.set_aside(number, &error);
                damaged = true;
            }
        }
    }
    if unfinished.is_some() && witness.read() > 0 {
        folder.report("the queues are empty that were not: what they held is lost".into());
    }
    let mut epoch = [0; 8];
    getrandom::fill(&mut epoch).map_err(|error| StoreError::Failed(format!("no randomness: {error}")))?;
    Ok(Contents {
        meta: Meta {
            epoch: u64::from_be_bytes(epoch),
            commits: witness.read(),
            next_queue: 0,
            log_end: 0,
            packed: 0,
        },
        index: Index::new(),
        marks: BTreeMap::new(),
        staged: Staged::default(),
        active: None,
        next_segment,
    })
}

/// What a segment says; `None` when its first commit never happened.
fn read(segment: &Segment) -> Result<Option<Contents>, SegmentError> {
    let Some(meta) = segment.get(record::META)? else {
        return if segment.is_empty()? {
            Ok(None)
        } else {
            Err(SegmentError::Broken("its first record is gone".into()))
        };
    };
    let meta = record::unseal(record::META, &meta).and_then(record::decode_meta)?;
    let (mut marks, mut queues) = (BTreeMap::new(), BTreeMap::new());
    each(segment, b"m", |key, body| {
        let name = std::str::from_utf8(&key[1..]).map_err(|_| DecodeError::Malformed("mark"))?;
        marks.insert(name.to_owned(), body.to_vec());
        Ok(())
    })?;
    each(segment, b"q", |key, body| {
        let number = record::parse_number(key).ok_or(DecodeError::Malformed("queue"))?;
        queues.insert(number, (record::decode_queue(body)?, Vec::new()));
        Ok(())
    })?;
    each(segment, b"x", |key, body| {
        let number = record::parse_number(key).ok_or(DecodeError::Malformed("extents"))?;
        let queue = queues.get_mut(&number).ok_or(DecodeError::Malformed("extents"))?;
        queue.1 = record::decode_extents(body)?;
        Ok(())
    })?;
    let (mut staged, mut next_slot) = (BTreeMap::new(), 0);
    each(segment, b"s", |key, body| {
        let slot = record::parse_number(key).ok_or(DecodeError::Malformed("slot"))?;
        let (commit, runs) = decode_staged(body)?;
        if commit > meta.packed {
            next_slot = slot + 1;
            staged.insert(commit, runs);
        }
        Ok(())
    })?;
    let staged = Staged::restored(staged.into_values().flatten().collect(), next_slot);
    let mut index = Index::new();
    for (number, (record, older)) in queues {
        let mut queue = QueueIndex::new(number, record.acked);
        queue.last = record.last;
        let is_older = |extent: &Extent| record.tail.is_none_or(|tail| extent.last < tail.first);
        queue.extents = older.into_iter().filter(is_older).chain(record.tail).collect();
        queue.trim(record.acked);
        index.insert(record.queue, queue);
    }
    Ok(Some(Contents { meta, index, marks, staged, active: None, next_segment: 0 }))
}

fn each(
    segment: &Segment,
    prefix: &[u8],
    mut take: impl FnMut(&[u8], bytes::Bytes) -> Result<(), DecodeError>,
) -> Result<(), SegmentError> {
    let mut result = Ok(());
    segment.each_from(prefix, |key, value| {
        if !key.starts_with(prefix) {
            return false;
        }
        result = record::unseal(key, value).and_then(|body| take(key, body));
        result.is_ok()
    })?;
    Ok(result?)
}

impl Contents {
    /// Puts what is staged into the segment's log.
    fn pack(&mut self, segment: &Segment) -> Result<(), SegmentError> {
        let staged = std::mem::take(&mut self.staged);
        self.meta = pack(segment, &staged, &self.index, self.meta)?;
        Ok(())
    }

    fn jump(&mut self) {
        for queue in self.index.values_mut() {
            queue.last += JUMP;
            if queue.extents.is_empty() {
                queue.acked = queue.last;
            }
        }
    }

    /// Drops extents whose segment is not there, and segments that nobody needs.
    fn forget_missing(&mut self, folder: &Folder, expected: bool) {
        let there = folder.numbers().unwrap_or_default();
        let live = live_segments(&self.index);
        for missing in live.iter().filter(|segment| !there.contains(segment)) {
            // After damage the newest segment left may name some that were needed no more.
            if !expected {
                folder.report(format!("segment {missing} of the queues is missing: what it held is lost"));
            }
            for queue in self.index.values_mut() {
                queue.lose(*missing);
            }
        }
        let active = self.active.as_ref().map(|segment| segment.number);
        for unneeded in there.into_iter().filter(|number| !live.contains(number) && Some(*number) != active) {
            // Without an active segment the newest one still is the only one with the marks.
            if active.is_some() {
                folder.delete(unneeded);
            }
        }
    }
}

/// Puts what is staged in a segment into its log, before another one is begun. It is no commit of its own.
pub(super) fn pack(
    segment: &Segment,
    staged: &Staged,
    index: &Index,
    meta: Meta,
) -> Result<Meta, SegmentError> {
    if staged.is_empty() {
        return Ok(meta);
    }
    let mut batch = Batch::new(meta.log_end);
    staged.pack(BTreeMap::new(), || acked(index), &mut batch);
    let packed = Meta { log_end: batch.log_end(), packed: meta.commits, ..meta };
    batch.put(record::META.to_vec(), &record::encode_meta(&packed));
    segment.write(batch)?;
    Ok(packed)
}

/// The error that a failed call on the disk means to callers.
pub(super) fn failed(folder: &Folder, error: &SegmentError) -> StoreError {
    let text = error.to_string();
    if text.contains("os error 28)") || text.contains("code: 28,") {
        return StoreError::DiskFull { path: folder.store.display().to_string() };
    }
    StoreError::Failed(text)
}

impl From<DecodeError> for SegmentError {
    fn from(error: DecodeError) -> Self {
        Self::Broken(error.to_string())
    }
}
