//! Moves what little is left of old segments into the new one, so that a quiet queue does not keep a whole
//! segment of others' messages on the disk. A bounded piece of work at each rotation.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    StoreSettings,
    batch::Batch,
    folder::lock,
    index::{Extent, live_bytes},
    record,
    segment::{Segment, SegmentError},
    shared::Shared,
};

/// A segment is worth moving when no more than one part in this many of it is needed.
const SPARSE: u64 = 4;

/// Copies the rest of sparse segments to `batch`. Gives those segments: what they held is needed in the
/// new segment only, as soon as `batch` is written.
pub(super) fn compact(
    shared: &Shared,
    settings: &StoreSettings,
    closed_bytes: &BTreeMap<u64, u64>,
    batch: &mut Batch,
) -> BTreeSet<u64> {
    let live = live_bytes(&lock(&shared.view).index);
    let mut left = settings.segment_bytes() / SPARSE;
    let mut moved = BTreeSet::new();
    for (number, disk_bytes) in closed_bytes {
        let bytes = live.get(number).copied().unwrap_or(0);
        if bytes == 0 || bytes > disk_bytes / SPARSE || bytes > left {
            continue;
        }
        left -= bytes;
        match copy(shared, *number, batch) {
            Ok(()) => {
                moved.insert(*number);
            }
            // It is being closed by a reader. It is not damaged, and the writer does not wait: the next rotation moves it.
            // Nor is it when the system refuses to read it.
            Err(SegmentError::Locked | SegmentError::Failed(_)) => {}
            Err(error @ (SegmentError::Gone | SegmentError::Broken(_))) => shared.broken(*number, &error),
        }
    }
    moved
}

fn copy(shared: &Shared, number: u64, batch: &mut Batch) -> Result<(), SegmentError> {
    let segment = shared.folder.try_get(number)?;
    let extents: Vec<(u32, u64, Extent)> = lock(&shared.view)
        .index
        .values()
        .flat_map(|queue| queue.extents.iter().map(|extent| (queue.number, queue.acked, *extent)))
        .filter(|(_, _, extent)| extent.segment == number)
        .collect();
    for (queue, acked, extent) in extents {
        copy_extent(&segment, queue, extent.first.max(acked + 1), extent.last, batch)?;
    }
    Ok(())
}

/// Copies the entries that hold `first` to `last` as they are. A damaged one stays behind; whoever reads
/// across finds the hole.
fn copy_extent(
    segment: &Segment,
    queue: u32,
    first: u64,
    last: u64,
    batch: &mut Batch,
) -> Result<(), SegmentError> {
    let start = segment
        .at_or_before(&record::entry_key(queue, first))?
        .filter(|(key, _)| record::parse_entry_key(key).is_some_and(|(number, _)| number == queue))
        .map_or_else(|| record::entry_key(queue, first), |(key, _)| key.to_vec());
    let mut failed = None;
    segment.each_from(&start, |key, value| {
        let wanted =
            record::parse_entry_key(key).is_some_and(|(number, first)| number == queue && first <= last);
        if wanted {
            match segment.messages(key, value) {
                Ok(Ok(messages)) => batch.put_pack(key.to_vec(), &messages),
                Ok(Err(_damaged)) => {}
                Err(error) => failed = Some(error),
            }
        }
        wanted && failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)
}
