//! One sled database with its log, made durable and kept from taking the daemon with it.
//!
//! sled 0.34: `flush` does not reach the device, so the file is synced through a second handle; large
//! values become files of their own, which nobody syncs but we; on damage it may panic, so its calls
//! are caught; who waits in it for a write that failed is woken by [`super::rouser`]. Nobody else runs inside it: no
//! flusher thread.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Mutex,
};

use bytes::Bytes;

use super::{
    batch::Batch,
    entry::{Entry, decode_entry},
    folder::lock,
    log::{self, Log},
    record,
    rouser::{Calls, Rouse, UnderWay},
    steps::{Step, Steps},
};
use crate::cursor::DecodeError;

/// Page cache of one database, in bytes. sled starts to obey it only after some ten thousand pages.
const CACHE_BYTES: u64 = 1 << 20;

pub(super) struct Segment {
    pub(super) number: u64,
    dir: PathBuf,
    /// Until it is dropped.
    db: Option<sled::Db>,
    /// Shares with sled's own what failed behind a caller.
    config: sled::Config,
    calls: Calls,
    /// The same file as sled's, for syncing.
    file: File,
    pub(super) log: Log,
    /// Those that are synced.
    blobs: Mutex<BTreeMap<OsString, u64>>,
    steps: Steps,
    #[cfg(test)]
    pub(super) fails: std::sync::atomic::AtomicBool,
}

/// Why a segment could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SegmentError {
    #[error("it is gone")]
    Gone,
    #[error("it is in use by another process")]
    Locked,
    /// What it holds makes no sense.
    #[error("{0}")]
    Broken(String),
    /// The system refused to read or write. That says nothing of what it holds.
    #[error("{0}")]
    Failed(String),
}

/// Whether a segment may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Existing,
    New,
}

impl Segment {
    pub(super) fn open(
        store: &Path,
        number: u64,
        how: Open,
        calls: Calls,
        steps: &Steps,
    ) -> Result<Self, SegmentError> {
        let dir = store.join(dir_name(number));
        let path = dir.join(DB);
        if how == Open::Existing && !path.exists() {
            return Err(SegmentError::Gone);
        }
        if how == Open::Existing {
            remove_unfinished_snapshots(&dir)?;
        }
        let config = sled::Config::new().path(&dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = guarded(|| config.open())?;
        let file = File::open(path)?;
        let log = Log::open(&dir)?;
        let blobs = Mutex::new(blobs(&dir)?);
        steps.at(match how {
            Open::Existing => Step::Opened(&dir),
            Open::New => Step::Wrote("a new segment"),
        });
        Ok(Self {
            number,
            dir,
            db: Some(db),
            config,
            calls,
            file,
            log,
            blobs,
            steps: steps.clone(),
            #[cfg(test)]
            fails: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Writes `batch` and waits until the device has it: the messages first, then what names them.
    pub(super) fn write(&self, batch: Batch) -> Result<(), SegmentError> {
        #[cfg(test)]
        if self.fails.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SegmentError::Broken("as the test demands".into()));
        }
        if !batch.log.is_empty() {
            self.log.write(batch.log_at(), &batch.log)?;
            self.steps.at(Step::Wrote("the log"));
            self.log.sync()?;
            self.steps.at(Step::Synced(&self.dir.join(log::NAME)));
        }
        let _under_way = self.under_way();
        guarded(|| self.db()?.apply_batch(batch.sled))?;
        self.steps.at(Step::Wrote("sled's memory"));
        guarded(|| self.db()?.flush())?;
        self.steps.at(Step::Wrote("sled's file"));
        self.sync_blobs()?;
        self.file.sync_data()?;
        self.steps.at(Step::Synced(&self.dir.join(DB)));
        Ok(())
    }

    /// Makes the segment's own files durable: before the first write to a new one.
    pub(super) fn sync_folders(&self) -> Result<(), SegmentError> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            File::open(&path)?.sync_all()?;
            self.steps.at(Step::Synced(&path));
        }
        for dir in [Some(self.dir.as_path()), self.dir.parent()].into_iter().flatten() {
            File::open(dir)?.sync_all()?;
            self.steps.at(Step::Synced(dir));
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, SegmentError> {
        let _under_way = self.under_way();
        guarded(|| self.db()?.get(key))
    }

    pub(super) fn is_empty(&self) -> Result<bool, SegmentError> {
        let _under_way = self.under_way();
        guarded(|| self.db()?.iter().next().transpose()).map(|first| first.is_none())
    }

    /// The last entry at or before `key`.
    pub(super) fn at_or_before(&self, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, SegmentError> {
        let _under_way = self.under_way();
        guarded(|| self.db()?.range(..=key).next_back().transpose())
    }

    /// Shows the entries from `from` on to `visit` until it says `false`.
    pub(super) fn each_from(
        &self,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), SegmentError> {
        let _under_way = self.under_way();
        guarded(|| {
            for entry in self.db()?.range(from..) {
                let (key, value) = entry?;
                if !visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The encoded messages of an entry, or how they are damaged.
    pub(super) fn messages(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<Result<Bytes, DecodeError>, SegmentError> {
        match record::unseal(key, value).and_then(decode_entry) {
            Ok(Entry::Here(messages)) => Ok(Ok(messages)),
            Ok(Entry::InLog(place)) => self.log.read(key, place),
            Err(error) => Ok(Err(error)),
        }
    }

    /// What it takes on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let file = self.file.metadata().map_or(0, |metadata| metadata.len());
        file + self.log.len() + lock(&self.blobs).values().sum::<u64>()
    }

    fn db(&self) -> sled::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| sled::Error::Unsupported("it is being closed".into()))
    }

    fn under_way(&self) -> UnderWay<'_> {
        self.calls.begin()
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut synced = lock(&self.blobs);
        let (folder, mut is_new) = (self.dir.join(BLOBS), false);
        let found = blobs(&self.dir)?;
        for name in found.keys().filter(|name| !synced.contains_key(*name)) {
            let path = folder.join(name);
            File::open(&path)?.sync_data()?;
            self.steps.at(Step::Synced(&path));
            is_new = true;
        }
        *synced = found;
        if is_new {
            File::open(&folder)?.sync_all()?;
            self.steps.at(Step::Synced(&folder));
        }
        Ok(())
    }
}

impl Rouse for Segment {
    fn rouse(&self) {
        if self.config.global_error().is_err() {
            // It fails at once, which is what it is asked for: whoever waits hears why.
            let _ = guarded(|| self.db()?.flush());
        }
    }
}

impl Drop for Segment {
    /// sled syncs its file once more, and panics where that fails. All that counts is durable already.
    fn drop(&mut self) {
        let db = self.db.take();
        let closed = guarded(|| {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(segment = self.number, %error, "closing a segment of the queues failed");
        }
    }
}

/// What a segment that is not open takes on the disk.
pub(super) fn disk_bytes(store: &Path, number: u64) -> u64 {
    let dir = store.join(dir_name(number));
    let file = fs::metadata(dir.join(DB)).map_or(0, |metadata| metadata.len());
    file + log::disk_bytes(&dir) + blobs(&dir).map_or(0, |blobs| blobs.values().sum())
}

/// sled's own file.
const DB: &str = "db";

/// Where sled puts what is larger than a quarter of its own segments.
const BLOBS: &str = "blobs";

/// sled takes a snapshot that it was kept from finishing for a damaged one. It does without.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Names and sizes of those files. sled removes them as it goes.
fn blobs(dir: &Path) -> io::Result<BTreeMap<OsString, u64>> {
    let mut blobs = BTreeMap::new();
    for blob in fs::read_dir(dir.join(BLOBS))? {
        let blob = blob?;
        match blob.metadata() {
            Ok(metadata) => {
                blobs.insert(blob.file_name(), metadata.len());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(blobs)
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({})", self.number)
    }
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::of(error.to_string())
    }
}

impl From<sled::Error> for SegmentError {
    fn from(error: sled::Error) -> Self {
        let text = error.to_string();
        if text.contains("could not acquire lock") { Self::Locked } else { Self::of(text) }
    }
}

impl SegmentError {
    /// What the system says has its number in the text, also where sled panicked over it.
    fn of(text: String) -> Self {
        if text.contains("os error ") || text.contains("Os { code: ") {
            Self::Failed(text)
        } else {
            Self::Broken(text)
        }
    }
}

/// A segment's folder within the store's. Sorted by name they are sorted by age.
pub(super) fn dir_name(number: u64) -> String {
    format!("{number:010}")
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, SegmentError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(SegmentError::of(format!("sled panicked: {text}")))
        }
    }
}
