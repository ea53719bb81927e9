//! Room on the disk that is kept for state. A full disk takes it, so that what makes room, such as removing images, can still be written
//! down: a daemon that could write nothing could remove nothing.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use super::StateFolder;

const FILE: &str = "reserve";

/// How large it is, in bytes: some hundred writes.
const RESERVE_BYTES: u64 = 4 << 20;

/// What is given up at once, at least: blocks, and what the file system needs besides.
const STEP_BYTES: u64 = 256 << 10;

/// It is made anew where so much is free: it must not be what fills a small disk.
const PLENTY_BYTES: u64 = 32 * RESERVE_BYTES;

impl StateFolder {
    /// Gives up room for `bytes`. Whether there was any left.
    pub(super) fn spend_reserve(&self, bytes: usize) -> bool {
        let given_up = fs::OpenOptions::new().write(true).open(self.path().join(FILE)).and_then(|file| {
            let left = file.metadata()?.len();
            let step = STEP_BYTES.max(bytes as u64);
            file.set_len(left.saturating_sub(step))?;
            file.sync_all()?;
            Ok(left > 0)
        });
        given_up.unwrap_or(false)
    }

    /// Makes the reserve whole where it is not and plenty of the disk is free. What stands in the way is no problem: there is none then.
    pub fn keep_reserve(&self) {
        let path = self.path().join(FILE);
        let is_whole = fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= RESERVE_BYTES);
        if is_whole || !fs2::available_space(self.path()).is_ok_and(|free| free >= PLENTY_BYTES) {
            return;
        }
        if let Err(error) = fill(&path) {
            tracing::debug!(%error, "no room is kept for state on the disk");
            let _ = fs::remove_file(&path);
        }
    }
}

/// With what no file system makes smaller.
fn fill(path: &Path) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(RESERVE_BYTES).unwrap_or_default()];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, &bytes)?;
    file.sync_all()
}
