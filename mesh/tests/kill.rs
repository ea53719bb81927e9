//! What the store acknowledged survives `kill -9` at any moment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use wayside_actors::{
    message::Message,
    queue::{Endpoint, Queue, StoreOp},
};
use wayside_config::identity::DeviceId;
use wayside_mesh::store::{QueueStore, SledStore, StoreSettings};

const ROUNDS: u64 = 12;

fn open(dir: &Path) -> SledStore {
    let settings =
        StoreSettings { dir: dir.join("store"), damaged_dir: dir.join("damaged"), max_bytes: 64 << 20 };
    let (store, restored) = SledStore::open(settings).unwrap();
    assert_eq!(restored.problems, Vec::<String>::new());
    store
}

fn queue() -> Queue {
    Queue::new("w/r", Endpoint::Cloud)
}

fn message(seq: u64) -> Message {
    Message {
        origin: DeviceId::from_bytes([1; 32]),
        source: "sensor".into(),
        topic: "t".into(),
        properties: Default::default(),
        payload: Bytes::from(vec![seq as u8; (seq % 3000) as usize]),
        accepted_ms: seq,
    }
}

/// Not a test of its own: the process that is killed. Appends groups of one to a hundred, trims now and
/// then, and prints each number once it is acknowledged.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os("WAYSIDE_TEST_STORE") else { return };
    let store = open(Path::new(&dir));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut last = store.restored().unwrap().queues.first().map_or(0, |(_, state)| state.last);
    let mut out = std::io::stdout();
    loop {
        let count = last % 100 + 1;
        let mut changes: Vec<StoreOp> = (last + 1..=last + count)
            .map(|seq| StoreOp::Append { queue: queue(), seq, message: message(seq) })
            .collect();
        last += count;
        changes.push(StoreOp::Mark { key: "last".into(), value: last.to_be_bytes().to_vec() });
        let trim = last.saturating_sub(8000);
        changes.push(StoreOp::Trim { queue: queue(), upto: trim });
        runtime.block_on(store.commit(changes.into())).unwrap();
        writeln!(out, "\nacked {last} {trim}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn acknowledged_messages_survive_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env("WAYSIDE_TEST_STORE", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut acked = None;
        let mut see = |line: String| {
            if let Some(numbers) = line.strip_prefix("acked ") {
                let (last, trim) = numbers.split_once(' ').unwrap();
                acked = Some((last.parse::<u64>().unwrap(), trim.parse::<u64>().unwrap()));
                return true;
            }
            false
        };
        while !see(lines.next().unwrap().unwrap()) {}
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 200));
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it still printed, it had acknowledged. The last line may be cut off.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        rest.into_iter().take(whole).for_each(|line| {
            see(line);
        });
        let (last, trim) = acked.unwrap();

        let store = open(dir.path());
        let restored = store.restored().unwrap();
        let (_, state) = &restored.queues[0];
        assert!(state.last >= last && state.acked >= trim, "{state:?} after {last} was acknowledged");
        let mark = u64::from_be_bytes(restored.marks[0].1.as_slice().try_into().unwrap());
        assert_eq!(mark, state.last, "a commit is there whole or not at all");
        let mut next = state.acked + 1;
        while next <= state.last {
            let loaded = store.load(&queue(), next, 1000, 1 << 20).unwrap();
            assert_eq!(loaded.first_seq, next);
            for found in loaded.messages {
                assert_eq!(found, message(next));
                next += 1;
            }
        }
        println!("kill {}: acknowledged up to {last}, found up to {}", round + 1, state.last);
    }
}
