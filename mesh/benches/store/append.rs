//! The limit: the same messages in the same groups appended to one file and synced, and nothing else.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use crate::messages::{Messages, percentile};

/// The file begins again at this size, as a queue gives its disk back.
const FILE_BYTES: u64 = 1 << 30;

pub(crate) fn measure(dir: &Path, time: Duration, group: u64) -> String {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("append");
    let mut file = File::create(&path).unwrap();
    let mut messages = Messages::new();
    let (mut count, mut bytes, mut waits) = (0, 0, Vec::new());
    let began = Instant::now();
    while began.elapsed() < time {
        let asked = Instant::now();
        let mut out = Vec::new();
        for _ in 0..group {
            out.extend(messages.payload());
        }
        file.write_all(&out).unwrap();
        file.sync_data().unwrap();
        waits.push(asked.elapsed().as_secs_f64() * 1000.0);
        count += group;
        bytes += out.len() as u64;
        if bytes > FILE_BYTES {
            bytes = 0;
            file = File::create(&path).unwrap();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    format!(
        r#"{{"msgs_s":{:.0},"p50_ms":{:.3},"p99_ms":{:.3},"group":{group}}}"#,
        count as f64 / seconds,
        percentile(&waits, 50),
        percentile(&waits, 99),
    )
}
