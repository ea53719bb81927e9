//! A segment that was closed may be locked for some time more: sled's own threads still hold its file.

use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Locks a segment as a thread of sled does that is not done with it.
fn hold(dir: &Path, number: u64) -> File {
    let path = dir.join("store").join(format!("{number:010}")).join("db");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let started = Instant::now();
    while file.try_lock().is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the segment is not closed");
        thread::sleep(Duration::from_millis(5));
    }
    file
}

/// A message of a quiet queue in the first of several segments, all of which a busy queue needs.
fn filled(dir: &Path) -> (SledStore, u64) {
    let (store, _) = open_small(dir);
    commit(&store, vec![append(&queue("quiet"), 1, 10)]).unwrap();
    let mut last = 0;
    while store.stats().segments < 4 {
        commit(&store, (1..=100).map(|n| append(&queue("busy"), last + n, 1000)).collect()).unwrap();
        last += 100;
    }
    (store, last)
}

#[test]
fn a_reader_waits_for_a_segment_that_is_being_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, last) = filled(dir.path());
    let held = hold(dir.path(), 1);
    let closing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1500));
        drop(held);
    });
    assert_eq!(seqs(&store, &queue("busy"), 1).len() as u64, last);
    closing.join().unwrap();
}

#[test]
fn a_segment_that_is_being_closed_is_not_taken_for_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut last) = filled(dir.path());
    let held = hold(dir.path(), 1);
    commit(&store, vec![StoreOp::Trim { queue: queue("busy"), upto: last }]).unwrap();
    let active = lock(&store.shared().view).active;
    while lock(&store.shared().view).active == active {
        // Sparse now, it would be moved as the next one is begun.
        commit(&store, (1..=100).map(|n| append(&queue("busy"), last + n, 1000)).collect()).unwrap();
        last += 100;
    }
    drop(held);
    assert_eq!(store.problems(), Vec::<String>::new());
    assert_eq!(seqs(&store, &queue("quiet"), 1), [1]);
}
