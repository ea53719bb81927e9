use bytes::Bytes;

use super::*;

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 32])
}

fn message(n: u8, text: &str) -> Message {
    Message {
        origin: device(n),
        source: "sensor".into(),
        topic: "t".into(),
        properties: Default::default(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        accepted_ms: 1,
    }
}

fn batch(n: u8, route: &str, seqs: std::ops::RangeInclusive<u64>) -> Change {
    let window = Window { epoch: 9, upto: *seqs.end() };
    let messages = seqs.map(|seq| (seq, message(n, &seq.to_string()))).collect();
    Change::Messages { device: device(n), route: route.into(), messages, window, stored_ms: 2 }
}

fn open(folder: &tempfile::TempDir) -> Store {
    open_with(folder, u64::MAX)
}

fn open_with(folder: &tempfile::TempDir, keep_bytes: u64) -> Store {
    // A writer that is about to end may hold the lock a moment longer.
    for _ in 0..100 {
        match Store::open(&folder.path().join("store"), &folder.path().join("damaged"), keep_bytes) {
            Ok(store) => return store,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    panic!("the store stays closed");
}

fn all(store: &Store, filter: &Filter, limit: usize) -> Vec<Stored> {
    let (mut messages, mut after) = (Vec::new(), 0);
    loop {
        let page = store.read(after, filter, limit).unwrap();
        messages.extend(page.messages);
        if page.end && page.after == store.status().borrow().last_id {
            return messages;
        }
        assert!(page.after > after, "reading stands still at {after}");
        after = page.after;
    }
}

#[tokio::test]
async fn what_is_committed_is_found_after_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let both = [batch(1, "w/a", 1..=500), batch(2, "w/a", 1..=3), batch(1, "w/b", 1..=2)];
    store.commit(both.to_vec()).await.unwrap();
    store.commit(vec![batch(1, "w/a", 501..=502)]).await.unwrap();
    drop(store);

    let store = open(&folder);
    assert_eq!(store.status().borrow().last_id, 507);
    assert_eq!(store.status().borrow().stored, BTreeMap::from([("w/a".into(), 505), ("w/b".into(), 2)]));
    assert_eq!(
        store.windows(&device(1)).unwrap(),
        BTreeMap::from([
            ("w/a".into(), Window { epoch: 9, upto: 502 }),
            ("w/b".into(), Window { epoch: 9, upto: 2 })
        ])
    );
    let count =
        |n, route: &str, stored| Count { device: device(n), route: route.into(), stored, last_seq: stored };
    assert_eq!(store.counts().unwrap(), [count(1, "w/a", 502), count(1, "w/b", 2), count(2, "w/a", 3)]);

    let everything = all(&store, &Filter::default(), 7);
    assert!(everything.iter().map(|stored| stored.id).eq(1..=507));
    let filter = Filter { device: Some(device(1)), route: Some("w/a".into()) };
    assert!(all(&store, &filter, 100).iter().map(|stored| stored.seq).eq(1..=502));
    let of_two = Filter { device: Some(device(2)), route: None };
    assert_eq!(all(&store, &of_two, 100).len(), 3);
    let none = Filter { device: Some(device(3)), route: None };
    assert!(all(&store, &none, 100).is_empty());
}

#[tokio::test]
async fn a_large_message_and_the_nodes_around_it_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let large = "x".repeat(1 << 20);
    for seq in 1..=3 {
        let (window, messages) = (Window { epoch: 1, upto: seq }, vec![(seq, message(1, &large))]);
        let change =
            Change::Messages { device: device(1), route: "w/a".into(), messages, window, stored_ms: 2 };
        store.commit(vec![change]).await.unwrap();
    }
    drop(store);
    let store = open(&folder);
    let found = all(&store, &Filter::default(), 100);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|stored| stored.message.payload.len() == 1 << 20));
}

#[tokio::test]
async fn a_log_that_is_full_drops_its_oldest_part_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(&folder, log::PART_BYTES);
    let payload = "y".repeat(900 << 10);
    let mut seq = 0;
    while store.status().borrow().dropped == 0 {
        let messages: Vec<_> = (0..4).map(|n| (seq + 1 + n, message(1, &payload))).collect();
        seq += 4;
        let window = Window { epoch: 1, upto: seq };
        let change =
            Change::Messages { device: device(1), route: "w/a".into(), messages, window, stored_ms: 2 };
        store.commit(vec![change]).await.unwrap();
        assert!(seq < 1000, "nothing was dropped");
    }
    let dropped = store.status().borrow().dropped;
    let found = all(&store, &Filter::default(), 10);
    assert_eq!(found.first().unwrap().id, dropped + 1);
    assert_eq!(found.last().unwrap().id, seq);
    assert_eq!(store.windows(&device(1)).unwrap()["w/a"], Window { epoch: 1, upto: seq });
    assert_eq!(store.counts().unwrap()[0].stored, seq);
}

#[tokio::test]
async fn damage_is_saved_aside_and_the_rest_comes_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.commit(vec![batch(1, "w/a", 1..=5)]).await.unwrap();
    drop(store);
    drop(open(&folder));
    let part = folder.path().join("store/messages/00000000000000000001");
    std::fs::write(part.join("conf"), b"not what was written").unwrap();

    let store = open(&folder);
    let problems = store.status().borrow().problems.clone();
    assert!(problems[0].starts_with("a part of the message log was damaged"), "{problems:?}");
    assert_eq!(std::fs::read_dir(folder.path().join("damaged")).unwrap().count(), 1);
    assert!(store.windows(&device(1)).unwrap().is_empty());
    store.commit(vec![batch(1, "w/a", 6..=6)]).await.unwrap();
    assert_eq!(all(&store, &Filter::default(), 10).len(), 1);
}

#[tokio::test]
async fn a_full_part_that_is_damaged_is_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let payload = "y".repeat(900 << 10);
    let parts = || {
        let names = std::fs::read_dir(folder.path().join("store/messages")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap());
        let mut firsts: Vec<u64> = names.collect();
        firsts.sort_unstable();
        firsts
    };
    let mut seq = 0;
    while parts().len() < 4 {
        let messages: Vec<_> = (0..4).map(|n| (seq + 1 + n, message(1, &payload))).collect();
        seq += 4;
        let window = Window { epoch: 1, upto: seq };
        let change =
            Change::Messages { device: device(1), route: "w/a".into(), messages, window, stored_ms: 2 };
        store.commit(vec![change]).await.unwrap();
        assert!(seq < 1000, "no part became full");
    }
    drop(store);
    drop(open(&folder));
    let parts = parts();
    let of = |part: u64| folder.path().join(format!("store/messages/{part:020}"));
    // One cannot be opened, and of one the messages are other bytes.
    std::fs::write(of(parts[0]).join("conf"), b"not what was written").unwrap();
    for blob in std::fs::read_dir(of(parts[1]).join("blobs")).unwrap() {
        let blob = blob.unwrap().path();
        let mut bytes = std::fs::read(&blob).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0xa5);
        std::fs::write(&blob, bytes).unwrap();
    }

    let store = open(&folder);
    assert!(store.status().borrow().problems.is_empty());
    let found = all(&store, &Filter::default(), 10);
    let problems = store.status().borrow().problems.clone();
    let named = format!("the part of the message log with the messages 1 to {} was damaged", parts[1] - 1);
    assert!(problems[0].starts_with(&named), "{problems:?}");
    let named = format!("the messages {} to {} of the log are damaged", parts[1], parts[2] - 1);
    assert!(problems[1].starts_with(&named), "{problems:?}");
    assert!(found.iter().map(|stored| stored.id).eq(parts[2]..=seq), "{problems:?}");
    assert_eq!(store.counts().unwrap()[0].stored, seq);
    assert_eq!(std::fs::read_dir(folder.path().join("damaged")).unwrap().count(), 1);
    // Reading again finds nothing more.
    assert_eq!(all(&store, &Filter::default(), 10).len(), found.len());
    assert_eq!(store.status().borrow().problems.len(), 2);
}
