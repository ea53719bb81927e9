//! Whether there is room on the disk to get images: an update that fills it takes the queues down with it.

use serde::{Deserialize, Serialize};

/// Below this much free space no image is pulled.
pub const FREE_MIN_BYTES: u64 = 256 << 20;
/// Below this share of free space, in percent, no image is pulled.
pub const FREE_MIN_PERCENT: u64 = 5;

/// The file system that images go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What may still be written.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

impl Disk {
    /// Whether so many bytes may be pulled; 0 for what is not known.
    ///
    /// # Errors
    /// In words, when there is less room than has to be.
    pub fn check(self, pull_bytes: u64) -> Result<(), String> {
        let least = FREE_MIN_BYTES.max(self.total_bytes / 100 * FREE_MIN_PERCENT);
        if self.free_bytes >= least.saturating_add(pull_bytes) {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let more =
            if pull_bytes > 0 { format!(" and {} more for it", mib(pull_bytes)) } else { String::new() };
        Err(format!(
            "no image is pulled, for {} MiB of {} are free, and {} have to be ({} MiB and {FREE_MIN_PERCENT} %){more}: make room (`docker system prune` removes what nobody uses)",
            mib(self.free_bytes),
            mib(self.total_bytes),
            mib(least),
            mib(FREE_MIN_BYTES),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_floors_hold() {
        let disk =
            |free_mib: u64, total_mib: u64| Disk { free_bytes: free_mib << 20, total_bytes: total_mib << 20 };
        for (free, total, room) in
            [(256, 1000, true), (255, 1000, false), (500, 10_000, true), (499, 10_000, false)]
        {
            assert_eq!(disk(free, total).check(0).is_ok(), room, "{free} of {total}");
        }
        assert!(disk(276, 1000).check(20 << 20).is_ok() && disk(275, 1000).check(20 << 20).is_err());
        assert!(disk(1, 1000).check(0).unwrap_err().contains("1 MiB of 1000 are free, and 256 have to be"));
    }
}
