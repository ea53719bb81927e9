//! Two files of entries, the older of which goes when the newer is full.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
};

use wayside_config::{
    audit::{Entry, Head, LENGTH_BYTES, framed, split},
    identity::DeviceId,
    signer::Signer,
};

use crate::state::{StateFolder, damaged_name};

/// In the state directory.
const FOLDER: &str = "audit";
const NEWER: &str = "audit/log";
const OLDER: &str = "audit/log.old";

/// Of one file: some three thousand entries.
#[cfg(not(test))]
const FILE_BYTES: u64 = 1 << 20;
#[cfg(test)]
const FILE_BYTES: u64 = 4 << 10;

#[derive(Debug)]
pub(super) struct Log {
    state: Arc<StateFolder>,
    device: DeviceId,
    file: File,
    bytes: u64,
    head: Head,
}

impl Log {
    /// Opens what is there. What is not whole at its end is cut off and saved aside, and the text says so.
    pub(super) fn open(state: Arc<StateFolder>, device: DeviceId) -> io::Result<(Self, Option<String>)> {
        state.folder(FOLDER)?;
        let (head, damage) = last(&state, device)?;
        let file = append_to(&state.path().join(NEWER))?;
        let bytes = file.metadata()?.len();
        // It may be new: what is written to it is no more durable than its name.
        for folder in [state.path().join(FOLDER), state.path().to_owned()] {
            File::open(folder)?.sync_all()?;
        }
        Ok((Self { state, device, file, bytes, head }, damage))
    }

    pub(super) const fn head(&self) -> Head {
        self.head
    }

    /// Adds an entry. It is on the disk when this returns; when it fails nothing has changed.
    pub(super) fn append(&mut self, signer: &dyn Signer, entry: Entry) -> io::Result<()> {
        let (sealed, head) = self.head.seal(signer, entry).map_err(io::Error::other)?;
        let bytes = framed(&sealed);
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > FILE_BYTES {
            self.rotate()?;
        }
        // What a write that failed has left.
        if self.file.metadata()?.len() != self.bytes {
            self.file.set_len(self.bytes)?;
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        self.head = head;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.state.path().join(NEWER);
        match fs::rename(&path, self.state.path().join(OLDER)) {
            // It was moved when the one to follow it could not be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved?,
        }
        self.file = append_to(&path)?;
        self.bytes = 0;
        File::open(self.state.path().join(FOLDER))?.sync_all()
    }

    /// The entries from number `from` on, of at most `max_bytes` together, at least one if there is one.
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut log = Vec::new();
        for name in [OLDER, NEWER] {
            let bytes = bytes_of(&self.state, name)?;
            let mut seq = None;
            for sealed in split(&bytes).map_while(Result::ok) {
                let number = match seq {
                    Some(before) => before + 1,
                    // The half that is good is shown.
                    None => match Head::begin(self.device, sealed) {
                        Ok((entry, _)) => entry.seq,
                        Err(_) => break,
                    },
                };
                seq = Some(number);
                if number < from {
                    continue;
                }
                if !log.is_empty() && log.len() + LENGTH_BYTES + sealed.len() > max_bytes {
                    return Ok(log);
                }
                log.extend(framed(sealed));
            }
        }
        Ok(log)
    }
}

/// Where the log on the disk stands, and what was lost of it. Only the last entry is verified: who reads the log verifies all.
fn last(state: &StateFolder, device: DeviceId) -> io::Result<(Head, Option<String>)> {
    let mut damage = None;
    for name in [NEWER, OLDER] {
        let bytes = bytes_of(state, name)?;
        let (mut ends, mut whole) = (Vec::new(), 0);
        for sealed in split(&bytes).map_while(Result::ok) {
            let begin = whole;
            whole += LENGTH_BYTES + sealed.len();
            ends.push((begin + LENGTH_BYTES, whole));
        }
        let good = ends.iter().rev().find_map(|(begin, end)| {
            let (_, head) = Head::begin(device, &bytes[*begin..*end]).ok()?;
            Some((*end, head))
        });
        let (end, head) = good.unwrap_or_default();
        // The power goes in the middle of an entry, or of the one after what was synced: of that nobody was told.
        if end < bytes.len() {
            damage = Some(cut(state, name, &bytes, end)?);
        }
        // Without a good one here it goes on from the older half.
        if good.is_some() {
            return Ok((head, damage));
        }
    }
    Ok((Head::default(), damage))
}

/// Cuts a log off where it is good no longer, and saves all of it. Gives that in words.
fn cut(state: &StateFolder, name: &str, bytes: &[u8], end: usize) -> io::Result<String> {
    fs::create_dir_all(state.damaged())?;
    let aside = state.damaged().join(damaged_name(name));
    fs::write(&aside, bytes)?;
    let file = append_to(&state.path().join(name))?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    Ok(format!(
        "the audit log was not whole: {} bytes at its end were cut off; it was saved as {}",
        bytes.len() - end,
        aside.display()
    ))
}

fn bytes_of(state: &StateFolder, name: &str) -> io::Result<Vec<u8>> {
    match fs::read(state.path().join(name)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
