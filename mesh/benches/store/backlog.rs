//! Ten million messages that nobody takes, and then somebody does: memory, disk, and the time to open it.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use wayside_actors::queue::StoreOp;
use wayside_mesh::store::QueueStore;

use crate::{
    PAYLOAD_BYTES,
    messages::{Messages, disk_bytes, open, peak_rss_mb, queue},
};

/// Messages of one commit, and commits under way.
const EACH: u64 = 100;
const UNDER_WAY: usize = 10;

pub(crate) fn grow(dir: &Path, count: u64) -> String {
    let (store, _) = open(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut messages = Messages::new();
    let (mut waiting, mut last) = (VecDeque::new(), 0);
    let began = Instant::now();
    while last < count || !waiting.is_empty() {
        if last < count && waiting.len() < UNDER_WAY {
            let upto = count.min(last + EACH);
            let append = |seq| StoreOp::Append { queue: queue(), seq, message: messages.message(seq) };
            waiting.push_back(store.commit(Arc::new((last + 1..=upto).map(append).collect())));
            last = upto;
        } else if let Some(commit) = waiting.pop_front() {
            runtime.block_on(commit).unwrap();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(store);
    format!(
        r#"{{"messages":{count},"msgs_s":{:.0},"rss_mb":{:.1},"disk_ratio":{:.4}}}"#,
        count as f64 / seconds,
        peak_rss_mb(),
        disk_bytes(dir) as f64 / (count * PAYLOAD_BYTES as u64) as f64,
    )
}

pub(crate) fn drain(dir: &Path) -> String {
    let began = Instant::now();
    let (store, restored) = open(dir);
    let open_ms = began.elapsed().as_secs_f64() * 1000.0;
    let state = restored.queues[0].1;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut next, mut messages) = (state.acked + 1, Messages::new());
    let began = Instant::now();
    while next <= state.last {
        let loaded = store.load(&queue(), next, 1024, 1 << 20).unwrap();
        assert_eq!(loaded.first_seq, next);
        for found in &loaded.messages {
            assert_eq!(found, &messages.message(next));
            next += 1;
        }
        runtime
            .block_on(store.commit(vec![StoreOp::Trim { queue: queue(), upto: next - 1 }].into()))
            .unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(store.problems(), Vec::<String>::new());
    drop(store);
    // sled's own threads give the last files back some time after.
    std::thread::sleep(Duration::from_secs(1));
    format!(
        r#"{{"messages":{},"open_ms":{open_ms:.1},"msgs_s":{:.0},"rss_mb":{:.1},"disk_mb":{:.1}}}"#,
        state.last - state.acked,
        (state.last - state.acked) as f64 / seconds,
        peak_rss_mb(),
        disk_bytes(dir) as f64 / 1e6,
    )
}
