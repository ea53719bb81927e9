//! The store beside a model without troubles, with restarts in between.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

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
