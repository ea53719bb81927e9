//! The store held to what its trait promises.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

use bytes::Bytes;
use proptest::prelude::*;
use wayside_actors::{
    message::Message,
    queue::{Endpoint, Queue, QueueState, StoreOp},
};
use wayside_config::identity::DeviceId;

use super::{folder::lock, *};

fn settings(dir: &Path, max_bytes: u64) -> StoreSettings {
    StoreSettings { dir: dir.join("store"), damaged_dir: dir.join("damaged"), max_bytes }
}

/// Segments of one MiB.
const SMALL: u64 = 8 << 20;

fn open(dir: &Path) -> (SledStore, Restored) {
    SledStore::open(settings(dir, 64 * SMALL)).unwrap()
}

fn open_small(dir: &Path) -> (SledStore, Restored) {
    SledStore::open(settings(dir, SMALL)).unwrap()
}

fn queue(name: &str) -> Queue {
    Queue { route: format!("w/{name}"), to: Endpoint::Cloud }
}

fn message(seq: u64, bytes: usize) -> Message {
    let mut payload = vec![0x5a; bytes];
    let number = seq.to_be_bytes();
    let len = bytes.min(8);
    payload[..len].copy_from_slice(&number[8 - len..]);
    Message {
        origin: DeviceId::from_bytes([9; 32]),
        source: "sensor".into(),
        topic: "observations".into(),
        payload: Bytes::from(payload),
        accepted_ms: seq,
    }
}

fn append(queue: &Queue, seq: u64, bytes: usize) -> StoreOp {
    StoreOp::Append { queue: queue.clone(), seq, message: message(seq, bytes) }
}

fn commit(store: &SledStore, changes: Vec<StoreOp>) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(changes))
}

fn seqs(store: &SledStore, queue: &Queue, from: u64) -> Vec<u64> {
    let (mut from, mut all) = (from, Vec::new());
    loop {
        let loaded = store.load(queue, from, 100, 1 << 20).unwrap();
        if loaded.messages.is_empty() {
            return all;
        }
        for (seq, message) in (loaded.first_seq..).zip(&loaded.messages) {
            assert_eq!(message.accepted_ms, seq);
            all.push(seq);
            from = seq + 1;
        }
    }
}

#[test]
fn what_is_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (queue("a"), queue("b"));
    let (store, first) = open(dir.path());
    assert_eq!((first.queues.len(), first.marks.len()), (0, 0));
    commit(&store, vec![append(&a, 1, 10), append(&a, 2, 10), append(&b, 5, 10)]).unwrap();
    commit(
        &store,
        vec![
            StoreOp::Trim { queue: a.clone(), upto: 1 },
            StoreOp::Mark { key: "in/x".into(), value: vec![1, 2] },
            StoreOp::Mark { key: "gone".into(), value: vec![] },
            StoreOp::Unmark { key: "gone".into() },
        ],
    )
    .unwrap();
    assert_eq!(store.restored().unwrap().queues.len(), 2);
    drop(store);
    let (store, restored) = open(dir.path());
    let cost = message(1, 10).cost_bytes() as u64;
    assert_eq!(restored.epoch, first.epoch);
    assert_eq!(restored.marks, [("in/x".to_owned(), vec![1, 2])]);
    assert_eq!(
        restored.queues,
        [
            (a.clone(), QueueState { acked: 1, last: 2, bytes: cost }),
            (b.clone(), QueueState { acked: 4, last: 5, bytes: cost }),
        ]
    );
    assert_eq!((seqs(&store, &a, 1), seqs(&store, &b, 1)), (vec![2], vec![5]));
    assert_eq!(store.load(&a, 3, 1, 1).unwrap(), Loaded { first_seq: 3, messages: vec![] });
    assert_eq!(restored.problems, Vec::<String>::new());
}

#[test]
fn a_commit_with_a_gap_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, a) = (open(dir.path()).0, queue("a"));
    commit(&store, vec![append(&a, 1, 10)]).unwrap();
    let refused = commit(&store, vec![append(&a, 2, 10), append(&a, 4, 10)]);
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    let refused = commit(&store, vec![StoreOp::Mark { key: "k".into(), value: vec![0; 5000] }]);
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert_eq!(seqs(&store, &a, 1), [1]);
    commit(&store, vec![append(&a, 2, 10)]).unwrap();
}

#[test]
fn a_dropped_queue_may_begin_again_higher() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open(dir.path());
    commit(&store, (1..=300).map(|seq| append(&a, seq, 10)).collect()).unwrap();
    commit(&store, vec![StoreOp::Drop { queue: a.clone() }, append(&a, 1000, 10)]).unwrap();
    drop(store);
    let (store, restored) = open(dir.path());
    assert_eq!(restored.queues[0].1.acked, 999);
    assert_eq!(seqs(&store, &a, 1), [1000]);
    commit(&store, vec![StoreOp::Drop { queue: a.clone() }]).unwrap();
    assert!(matches!(store.load(&a, 1, 1, 1), Err(StoreError::UnknownQueue(_))));
}

#[test]
fn large_messages_go_alone() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open(dir.path());
    commit(&store, (1..=6).map(|seq| append(&a, seq, 1 << 20)).collect()).unwrap();
    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!(store.load(&a, 1, 100, 10).unwrap().messages.len(), 1);
    assert_eq!(seqs(&store, &a, 1), [1, 2, 3, 4, 5, 6]);
}

fn disk_bytes(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        // sled removes files as it goes.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.len() };
    }
    bytes
}

#[test]
fn acknowledged_segments_give_the_disk_back_and_a_quiet_queue_keeps_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (quiet, busy) = (queue("quiet"), queue("busy"));
    let (store, _) = open_small(dir.path());
    let mut seq = 0;
    for round in 1..=60 {
        let mut changes = vec![append(&quiet, round, 100)];
        for _ in 0..200 {
            seq += 1;
            changes.push(append(&busy, seq, 1000));
        }
        commit(&store, changes).unwrap();
        commit(&store, vec![StoreOp::Trim { queue: busy.clone(), upto: seq }]).unwrap();
        assert!(disk_bytes(dir.path()) < SMALL, "round {round}: {} bytes", disk_bytes(dir.path()));
    }
    let stats = store.stats();
    assert!(stats.segments <= 6, "{stats:?}");
    drop(store);
    let (store, restored) = open_small(dir.path());
    assert_eq!(restored.queues[0].1.bytes, 0);
    assert_eq!(seqs(&store, &quiet, 1), (1..=60).collect::<Vec<_>>());
    assert_eq!(restored.problems, Vec::<String>::new());
}

#[test]
fn a_full_store_refuses_messages_and_takes_trims() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open_small(dir.path());
    let mut last = 0;
    let full = loop {
        match commit(&store, (1..=100).map(|n| append(&a, last + n, 1000)).collect()) {
            Ok(()) => last += 100,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert_eq!(seqs(&store, &a, 1).len() as u64, last);
    commit(&store, vec![StoreOp::Trim { queue: a.clone(), upto: last }]).unwrap();
    commit(&store, vec![append(&a, last + 1, 1000)]).unwrap();
}

#[test]
fn after_a_failed_write_nothing_is_accepted_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open(dir.path());
    commit(&store, vec![append(&a, 1, 10)]).unwrap();
    let active = lock(&store.shared().view).active;
    let segment = store.shared().folder.get(active).unwrap();
    segment.fails.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(segment);
    assert!(matches!(commit(&store, vec![append(&a, 2, 10)]), Err(StoreError::Failed(_))));
    assert!(matches!(commit(&store, vec![append(&a, 2, 10)]), Err(StoreError::Poisoned(_))));
    assert_eq!(seqs(&store, &a, 1), [1]);
    assert_eq!(store.restored().unwrap().queues[0].1.last, 1);
    commit(&store, vec![append(&a, 2, 10)]).unwrap();
    assert_eq!(seqs(&store, &a, 1), [1, 2]);
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    assert!(matches!(SledStore::open(settings(dir.path(), SMALL)), Err(StoreError::Locked { .. })));
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Five segments or so, all needed.
fn filled(dir: &Path) -> (Queue, u64, u64) {
    let a = queue("a");
    let (store, restored) = open_small(dir);
    for batch in 0..28 {
        commit(&store, (1..=100).map(|n| append(&a, batch * 100 + n, 700)).collect()).unwrap();
    }
    commit(&store, vec![StoreOp::Mark { key: "k".into(), value: vec![7] }]).unwrap();
    assert!(store.stats().segments >= 3, "{:?}", store.stats());
    (a, 2800, restored.epoch)
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut dirs: Vec<_> = std::fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    dirs.sort();
    dirs
}

#[test]
fn damage_costs_one_segment_and_is_named() {
    let original = tempfile::tempdir().unwrap();
    let (a, last, epoch) = filled(original.path());
    let count = segments(original.path()).len();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("cut off", |db| {
            let len = std::fs::metadata(db).unwrap().len();
            std::fs::File::options().write(true).open(db).unwrap().set_len(len / 2).unwrap();
        }),
        ("emptied", |db| std::fs::write(db, b"").unwrap()),
        ("noise in the middle", |db| {
            let mut bytes = std::fs::read(db).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4096].fill(0xa5);
            std::fs::write(db, bytes).unwrap();
        }),
        ("one bit", |db| {
            let mut bytes = std::fs::read(db).unwrap();
            let at = bytes.len() / 3;
            bytes[at] ^= 0x10;
            std::fs::write(db, bytes).unwrap();
        }),
        ("gone", |db| std::fs::remove_dir_all(db.parent().unwrap()).unwrap()),
    ];
    for which in [0, count / 2, count - 1] {
        for (name, harm) in harms {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(original.path(), dir.path());
            harm(&segments(dir.path())[which].join("db"));
            let (store, restored) = open_small(dir.path());
            let state = restored.queues.first().map(|(_, state)| *state).unwrap_or_default();
            let there = seqs(&store, &a, 1);
            let lost = last as usize - there.len();
            println!(
                "segment {which} of {count} {name}: {lost} lost, last {}, {:?}",
                state.last,
                store.problems()
            );
            assert_eq!(restored.epoch, epoch);
            assert!(
                there.is_sorted() && there.len() as u64 >= last / 3,
                "{name} in {which}: {}",
                there.len()
            );
            assert_eq!(lost > 0 || state.last != last, !store.problems().is_empty(), "{name} in {which}");
            // No number is given out twice, whatever was lost.
            assert!(state.last >= last, "{name} in {which}: {state:?}");
            commit(&store, vec![append(&a, state.last + 1, 10)]).unwrap();
            drop(store);
            let (store, restored) = open_small(dir.path());
            assert_eq!(restored.queues[0].1.last, state.last + 1);
            assert_eq!(seqs(&store, &a, 1).len(), there.len() + 1, "{name} in {which}");
        }
    }
}

#[test]
fn a_copy_made_while_it_is_written_opens_with_all_that_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open(dir.path());
    for round in 0..10 {
        commit(&store, (1..=50).map(|n| append(&a, round * 50 + n, 300)).collect()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let pending = store.commit(vec![append(&queue("b"), round + 1, 3000)]);
        copy_dir(&dir.path().join("store"), &copy.path().join("store"));
        let (copied, _) = open(copy.path());
        assert!(seqs(&copied, &a, 1).len() as u64 >= (round + 1) * 50);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(pending).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Act {
    Append { queue: usize, count: u64, bytes: usize },
    Trim { queue: usize, part: u8 },
    Drop { queue: usize },
    Mark { name: u8, value: u8 },
    Unmark { name: u8 },
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..3_usize, 1..400_u64, 0..2000_usize).prop_map(|(queue, count, bytes)| Act::Append { queue, count, bytes }),
        4 => (0..3_usize, any::<u8>()).prop_map(|(queue, part)| Act::Trim { queue, part }),
        1 => (0..3_usize).prop_map(|queue| Act::Drop { queue }),
        2 => (0..4_u8, any::<u8>()).prop_map(|(name, value)| Act::Mark { name, value }),
        1 => (0..4_u8).prop_map(|name| Act::Unmark { name }),
        1 => Just(Act::Reopen),
    ]
}

/// What a store is, without its troubles.
#[derive(Default)]
struct Model {
    queues: BTreeMap<Queue, (u64, u64, VecDeque<u64>)>,
    marks: BTreeMap<String, Vec<u8>>,
    numbers: [u64; 3],
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_model(acts in prop::collection::vec(act(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open_small(dir.path()).0;
        let mut model = Model::default();
        for act in acts {
            let changes = match act {
                Act::Append { queue: number, count, bytes } => {
                    let queue = queue(&number.to_string());
                    let first = model.numbers[number] + 1;
                    let entry = model.queues.entry(queue.clone()).or_insert((first - 1, first - 1, VecDeque::new()));
                    entry.1 += count;
                    entry.2.extend(first..first + count);
                    model.numbers[number] += count;
                    (first..first + count).map(|seq| append(&queue, seq, bytes)).collect()
                }
                Act::Trim { queue: number, part } => {
                    let queue = queue(&number.to_string());
                    let mut upto = 0;
                    if let Some((acked, last, seqs)) = model.queues.get_mut(&queue) {
                        upto = *acked + (*last - *acked) * u64::from(part) / 255;
                        *acked = upto;
                        seqs.retain(|seq| *seq > upto);
                    }
                    vec![StoreOp::Trim { queue, upto }]
                }
                Act::Drop { queue: number } => {
                    let queue = queue(&number.to_string());
                    model.queues.remove(&queue);
                    vec![StoreOp::Drop { queue }]
                }
                Act::Mark { name, value } => {
                    model.marks.insert(name.to_string(), vec![value]);
                    vec![StoreOp::Mark { key: name.to_string(), value: vec![value] }]
                }
                Act::Unmark { name } => {
                    model.marks.remove(&name.to_string());
                    vec![StoreOp::Unmark { key: name.to_string() }]
                }
                Act::Reopen => {
                    drop(store);
                    store = open_small(dir.path()).0;
                    vec![]
                }
            };
            let appends = changes.iter().any(|change| matches!(change, StoreOp::Append { .. }));
            match commit(&store, changes.clone()) {
                Ok(()) => {}
                Err(StoreError::Full { .. }) if appends => {
                    // The model takes it back.
                    for change in changes.iter().rev() {
                        if let StoreOp::Append { queue, .. } = change {
                            let number: usize = queue.route[2..].parse().unwrap();
                            model.numbers[number] -= 1;
                            let entry = model.queues.get_mut(queue).unwrap();
                            entry.1 -= 1;
                            entry.2.pop_back();
                        }
                    }
                    model.queues.retain(|_, (acked, last, _)| acked != last || *last > 0);
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            let restored = store.restored().unwrap();
            prop_assert_eq!(&restored.marks, &model.marks.clone().into_iter().collect::<Vec<_>>());
            for (queue, state) in &restored.queues {
                let (acked, last, held) = &model.queues[queue];
                prop_assert_eq!((state.acked, state.last), (*acked, *last));
                prop_assert_eq!(state.bytes == 0, held.is_empty());
            }
        }
        for (queue, (acked, _, held)) in &model.queues {
            if store.load(queue, 1, 1, 1).is_ok() {
                prop_assert_eq!(&seqs(&store, queue, acked + 1), &held.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(&seqs(&store, queue, 0), &held.iter().copied().collect::<Vec<_>>());
            } else {
                prop_assert!(held.is_empty());
            }
        }
        prop_assert_eq!(store.problems(), Vec::<String>::new());
    }
}
