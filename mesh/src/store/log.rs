//! Where a segment's messages lie: packs one after another in a file beside its sled database, which names them.
//!
//! A pack is durable before sled's record of it is written, so what lies past the last one that is named is not there.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use bytes::Bytes;

use super::{entry::Place, record, segment::SegmentError};
use crate::cursor::{DecodeError, within};

/// Of the file in a segment's folder.
pub(super) const NAME: &str = "log";

/// Of one pack: a message of the largest size goes alone.
const PACK_BYTES: usize = 2 << 20;

#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    /// The log of the segment in `dir`; an empty one where there is none.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(dir.join(NAME)).map(Self)
    }

    pub(super) fn write(&self, at: u64, packs: &[u8]) -> io::Result<()> {
        self.0.write_all_at(packs, at)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Gives back what a write that failed has left behind `end`.
    pub(super) fn cut(&self, end: u64) -> io::Result<()> {
        if self.len() > end { self.0.set_len(end) } else { Ok(()) }
    }

    pub(super) fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The messages that lie at `place`, for the entry with this key, or how they are damaged.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn read(&self, key: &[u8], place: Place) -> Result<Result<Bytes, DecodeError>, SegmentError> {
        let len = place.len as usize;
        if let Err(error) = within(len, PACK_BYTES, "pack") {
            return Ok(Err(error));
        }
        let mut pack = vec![0; len];
        match self.0.read_exact_at(&mut pack, place.at) {
            Ok(()) => Ok(record::unseal(key, &pack)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Err(DecodeError::Truncated("pack")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What the log of a segment that is not open takes on the disk.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join(NAME)).map_or(0, |metadata| metadata.len())
}
