//! Many who wait for their commits at once; each is answered after the device has it.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use wayside_actors::queue::StoreOp;
use wayside_mesh::store::QueueStore;

use crate::messages::{Messages, open, peak_rss_mb, percentile, queue};

/// Commits under way at most: more would wait for their turn to wait.
const COMMITS: u64 = 1000;

/// `each` messages a commit, `under_way` in all of those that wait together, for `time`. The queue is acknowledged behind itself, so
/// that its disk stays small.
pub(crate) fn measure(dir: &Path, time: Duration, each: u64, under_way: u64) -> String {
    let (store, _) = open(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut messages = Messages::new();
    let (mut waiting, mut waits, mut last) = (VecDeque::new(), Vec::new(), 0);
    let window = (under_way / each).clamp(1, COMMITS) as usize;
    let began = Instant::now();
    while began.elapsed() < time || !waiting.is_empty() {
        let more = began.elapsed() < time;
        while more && waiting.len() < window {
            let mut changes: Vec<StoreOp> = (1..=each)
                .map(|n| StoreOp::Append {
                    queue: queue(),
                    seq: last + n,
                    message: messages.message(last + n),
                })
                .collect();
            last += each;
            if last % 65_536 < each {
                let upto = last.saturating_sub(1 << 20);
                changes.push(StoreOp::Trim { queue: queue(), upto });
            }
            waiting.push_back((Instant::now(), store.commit(Arc::new(changes))));
        }
        // Half of those that wait, so that there is always a group behind the one that is written.
        for _ in 0..waiting.len().div_ceil(2) {
            let Some((asked, commit)) = waiting.pop_front() else { break };
            runtime.block_on(commit).unwrap();
            waits.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    let commits = store.stats().commits.max(1);
    format!(
        r#"{{"msgs_s":{:.0},"p50_ms":{:.3},"p99_ms":{:.3},"group":{},"rss_mb":{:.1}}}"#,
        last as f64 / seconds,
        percentile(&waits, 50),
        percentile(&waits, 99),
        last / commits,
        peak_rss_mb(),
    )
}
