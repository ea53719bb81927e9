//! Stores of before version 2 had their messages in sled, and no log.

use super::*;
use crate::store::{
    index::Extent,
    record::{self, Meta, QueueRecord},
};

#[test]
fn a_store_without_logs_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    {
        let segment = sled::open(dir.path().join("store/0000000001")).unwrap();
        let put = |key: Vec<u8>, body: Vec<u8>| {
            segment.insert(&key, record::seal(&key, &body)).unwrap();
        };
        let meta = Meta { epoch: 5, commits: 3, next_queue: 1, log_end: 0, packed: 0 };
        let mut body = record::encode_meta(&meta);
        body.truncate(21);
        body[0] = 1;
        put(record::META.to_vec(), body);
        let tail = Some(Extent { segment: 1, first: 1, last: 2, bytes: 200 });
        let record = QueueRecord { queue: a.clone(), acked: 0, last: 2, tail };
        put(record::queue_key(1), record::encode_queue(&record));
        let messages = [message(1, 10), message(2, 10)];
        put(record::entry_key(1, 1), record::encode_messages(messages.iter()));
        segment.flush().unwrap();
    }
    for last in 2..5 {
        let (store, restored) = open(dir.path());
        assert_eq!((restored.epoch, restored.problems.len()), (5, 0));
        assert_eq!(seqs(&store, &a, 1), (1..=last).collect::<Vec<_>>());
        commit(&store, vec![append(&a, last + 1, 10)]).unwrap();
    }
}
