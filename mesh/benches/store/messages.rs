//! Messages that no compression makes smaller, and what the kernel says of the process.

use std::{fs, path::Path};

use bytes::Bytes;
use wayside_actors::{
    message::Message,
    queue::{Endpoint, Queue},
};
use wayside_config::identity::DeviceId;
use wayside_mesh::store::{Restored, SledStore, StoreSettings};

use crate::PAYLOAD_BYTES;

/// Makes messages out of noise.
pub(crate) struct Messages {
    noise: Bytes,
    at: usize,
}

impl Messages {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise: Vec<u8> = (0..1 << 19)
            .flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .collect();
        Self { noise: noise.into(), at: 0 }
    }

    pub(crate) fn payload(&mut self) -> Bytes {
        // An odd step: payloads begin anywhere in the noise.
        self.at = (self.at + 7919) % (self.noise.len() - PAYLOAD_BYTES);
        self.noise.slice(self.at..self.at + PAYLOAD_BYTES)
    }

    pub(crate) fn message(&mut self, number: u64) -> Message {
        Message {
            origin: DeviceId::from_bytes([9; 32]),
            source: "sensor".into(),
            topic: "observations".into(),
            properties: Default::default(),
            payload: self.payload(),
            accepted_ms: number,
        }
    }
}

pub(crate) fn queue() -> Queue {
    Queue::new("bench/route", Endpoint::Cloud)
}

pub(crate) fn open(dir: &Path) -> (SledStore, Restored) {
    let settings =
        StoreSettings { dir: dir.join("store"), damaged_dir: dir.join("damaged"), max_bytes: 16 << 30 };
    SledStore::open(settings).unwrap()
}

/// What the files in a folder take, by the kernel's blocks.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(bytes).sum()
}

/// The most memory that the process ever had in RAM.
pub(crate) fn peak_rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
}

/// The value that `part` of a hundred do not exceed.
pub(crate) fn percentile(sorted: &[f64], part: usize) -> f64 {
    sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
