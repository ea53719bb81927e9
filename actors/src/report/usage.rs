//! What modules and devices use, and when a change of that is worth a word: an idle device says nothing.

use serde::{Deserialize, Serialize};

/// The CPU time of a module is told anew when it is other by so many thousandths of a core, and by a quarter.
pub const CPU_STEP_MILLIS: u32 = 50;
/// The memory of a module is told anew when it is other by so many bytes, and by an eighth.
pub const MEMORY_STEP_BYTES: u64 = 4 << 20;
/// The load of a device is told anew when it is other by so many thousandths, and by a quarter.
pub const LOAD_STEP_MILLIS: u32 = 500;
/// The disk and the memory of a device are told anew when another such part of the whole is free.
pub const FREE_STEP_PER_MILLE: u64 = 20;
/// The start of a device is told anew when its clock puts it elsewhere by so many milliseconds.
pub const BOOT_STEP_MS: u64 = 60_000;
/// How far a clock is from another is told anew when it is other by so many milliseconds, and by more than is not known of it.
pub const CLOCK_STEP_MS: u64 = 250;
/// A clock that is so many milliseconds from the cloud's is a problem.
pub const CLOCK_FAR_MS: u64 = 10_000;

/// The digest of an image in bytes, at most.
pub const MAX_DIGEST_BYTES: usize = 128;
/// A version of an engine or a kernel in bytes, at most.
pub const MAX_VERSION_BYTES: usize = 128;

/// What a module uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Thousandths of one core over the last interval; `None` before there was one.
    pub cpu_millis: Option<u32>,
    /// What it holds of the memory, without what the kernel could take back at once.
    pub memory_bytes: u64,
    /// What it may hold, where that is bounded.
    pub memory_limit_bytes: Option<u64>,
    /// What its container was made from: the digest of the image in its registry, or else the engine's own name for
    /// its content. Empty before that is known.
    pub digest: String,
}

impl Usage {
    /// Whether it is to be told to who was told `told`.
    #[must_use]
    pub fn is_news_after(&self, told: &Self) -> bool {
        let cpu = match (self.cpu_millis, told.cpu_millis) {
            (Some(now), Some(told)) => now.abs_diff(told) >= CPU_STEP_MILLIS.max(told / 4),
            (now, told) => now != told,
        };
        cpu || self.memory_bytes.abs_diff(told.memory_bytes) >= MEMORY_STEP_BYTES.max(told.memory_bytes / 8)
            || (self.memory_bytes == 0) != (told.memory_bytes == 0)
            || self.memory_limit_bytes != told.memory_limit_bytes
            || self.digest != told.digest
    }

    /// What is left of it when its container does not run.
    #[must_use]
    pub fn at_rest(&self) -> Self {
        Self { cpu_millis: self.cpu_millis.map(|_| 0), memory_bytes: 0, ..self.clone() }
    }
}

/// How the machine is that the daemon runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// The file system of the state directory.
    pub disk_bytes: u64,
    /// What is free of it.
    pub disk_free_bytes: u64,
    /// The memory.
    pub memory_bytes: u64,
    /// What of it is free, or could be at once.
    pub memory_free_bytes: u64,
    /// Cores.
    pub cores: u32,
    /// Thousandths of processes that ran or waited to, over the last minute.
    pub load_millis: u32,
    /// When the kernel started, by the wall clock in milliseconds.
    pub booted_ms: u64,
    /// The container engine's version; empty while none answers.
    pub engine: String,
    /// The kernel's version.
    pub kernel: String,
}

impl System {
    /// Whether it is to be told to who was told `told`.
    #[must_use]
    pub fn is_news_after(&self, told: &Self) -> bool {
        let has_moved = |free: u64, told: u64, whole: u64| {
            free.abs_diff(told) >= (whole / 1000).saturating_mul(FREE_STEP_PER_MILLE).max(1)
        };
        has_moved(self.disk_free_bytes, told.disk_free_bytes, self.disk_bytes)
            || has_moved(self.memory_free_bytes, told.memory_free_bytes, self.memory_bytes)
            || self.load_millis.abs_diff(told.load_millis) >= LOAD_STEP_MILLIS.max(told.load_millis / 4)
            || self.booted_ms.abs_diff(told.booted_ms) >= BOOT_STEP_MS
            || (self.disk_bytes, self.memory_bytes, self.cores)
                != (told.disk_bytes, told.memory_bytes, told.cores)
            || (&self.engine, &self.kernel) != (&told.engine, &told.kernel)
    }
}

/// How far the device's clock is from the cloud's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Milliseconds that the cloud's clock is ahead; below 0 where it is behind.
    pub ahead_ms: i64,
    /// It may be more or less by so many milliseconds: half of the time that the question and its answer took.
    pub error_ms: u64,
}

impl ClockOffset {
    /// Whether it is to be told to who was told `told`.
    #[must_use]
    pub fn is_news_after(&self, told: &Self) -> bool {
        self.ahead_ms.abs_diff(told.ahead_ms) >= CLOCK_STEP_MS.max(self.error_ms + told.error_ms)
    }

    /// What is wrong with the device's clock, if it is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let away_ms = self.ahead_ms.unsigned_abs();
        let side = if self.ahead_ms > 0 { "behind" } else { "ahead of" };
        (away_ms.saturating_sub(self.error_ms) >= CLOCK_FAR_MS).then(|| {
            format!(
                "this device's clock is {} s {side} the cloud's: signed requests and times of messages are wrong by that; set one of the clocks, by NTP best",
                away_ms / 1000
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wobbles_is_no_news() {
        let told = Usage { cpu_millis: Some(30), memory_bytes: 10 << 20, ..Usage::default() };
        let with = |cpu, memory_bytes| Usage { cpu_millis: cpu, memory_bytes, ..told.clone() };
        assert!(!with(Some(79), 13 << 20).is_news_after(&told));
        assert!(with(Some(80), 10 << 20).is_news_after(&told));
        assert!(with(Some(30), 14 << 20).is_news_after(&told));
        assert!(with(None, 10 << 20).is_news_after(&told));
        let busy = with(Some(2000), 800 << 20);
        assert!(!with(Some(2400), 860 << 20).is_news_after(&busy), "large ones wobble more");
        assert!(
            with(Some(2500), 800 << 20).is_news_after(&busy)
                && with(Some(2000), 900 << 20).is_news_after(&busy)
        );
        assert!(told.at_rest().is_news_after(&told));
        assert!(Usage { digest: "sha256:7f".into(), ..told.clone() }.is_news_after(&told));
    }

    #[test]
    fn a_device_says_when_it_is_otherwise_by_a_step() {
        let gib = 1 << 30;
        let told = System {
            disk_bytes: 100 * gib,
            disk_free_bytes: 50 * gib,
            memory_bytes: 8 * gib,
            memory_free_bytes: 4 * gib,
            cores: 4,
            load_millis: 200,
            booted_ms: 1_000_000,
            ..System::default()
        };
        assert!(
            !System { disk_free_bytes: 49 * gib, load_millis: 650, booted_ms: 1_002_000, ..told.clone() }
                .is_news_after(&told)
        );
        assert!(System { disk_free_bytes: 48 * gib, ..told.clone() }.is_news_after(&told));
        assert!(System { load_millis: 700, ..told.clone() }.is_news_after(&told));
        assert!(System { booted_ms: 1_060_000, ..told.clone() }.is_news_after(&told));
        assert!(System { engine: "20.10".into(), ..told.clone() }.is_news_after(&told));
        assert!(!told.is_news_after(&told) && !System::default().is_news_after(&System::default()));
    }

    #[test]
    fn a_clock_is_wrong_beyond_what_is_not_known_of_it() {
        let offset = |ahead_ms, error_ms| ClockOffset { ahead_ms, error_ms };
        assert_eq!(offset(10_400, 500).problem(), None);
        assert!(
            offset(7_200_000, 20).problem().is_some_and(|text| text.contains("7200 s behind the cloud's"))
        );
        assert!(offset(-12_000, 20).problem().is_some_and(|text| text.contains("12 s ahead of the cloud's")));
        assert!(
            !offset(300, 200).is_news_after(&offset(0, 150)) && offset(300, 20).is_news_after(&offset(0, 20))
        );
    }
}
