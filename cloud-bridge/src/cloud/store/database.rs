//! One sled database whose commits reach the disk.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// sled keeps a node of its tree, at most 17 entries, in one piece. A node above a quarter of this goes
/// to a file of its own, which is slower; see [`super::record::ENTRY_BYTES`].
const SEGMENT_BYTES: usize = 2 << 20;

const CACHE_BYTES: u64 = 16 << 20;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Its bytes are not what was written. It can be saved aside.
    #[error("{0}")]
    Damaged(String),
    /// The file system does not let us.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(super) struct Database {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
    synced_blobs: Mutex<BTreeSet<OsString>>,
}

impl Database {
    /// Opens the database in the folder `path`, which is made when it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        // sled panics on some kinds of damage.
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| OpenError::Damaged("reading it failed".into()))?
            .map_err(|error| match error {
                sled::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => OpenError::Io(error),
                sled::Error::Io(_)
                | sled::Error::Corruption { .. }
                | sled::Error::CollectionNotFound(_)
                | sled::Error::Unsupported(_)
                | sled::Error::ReportableBug(_) => OpenError::Damaged(error.to_string()),
            })?;
        let file = File::open(path.join("db"))?;
        sync_folder(path)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(Self { db, file, blobs: path.join("blobs"), synced_blobs: Mutex::default() })
    }

    /// The tree that holds everything.
    pub(super) fn tree(&self) -> &sled::Tree {
        &self.db
    }

    /// Brings everything written so far to stable storage. sled's own flush leaves it in the disk's
    /// cache, and large nodes in files that it does not flush at all.
    pub(super) fn sync(&self) -> sled::Result<()> {
        self.db.flush()?;
        self.sync_blobs()?;
        self.file.sync_data()?;
        Ok(())
    }

    /// Bytes on the disk.
    pub(super) fn size_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut synced = self.synced_blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&self.blobs)? {
            let name = entry?.file_name();
            if !synced.contains(&name) {
                match File::open(self.blobs.join(&name)) {
                    Ok(file) => file.sync_data()?,
                    // Replaced in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(name);
        }
        if present.difference(&synced).next().is_some() {
            sync_folder(&self.blobs)?;
        }
        *synced = present;
        Ok(())
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
