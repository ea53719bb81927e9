//! Two files of entries, the older of which goes when the newer is full.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
};

use wayside_config::{
    audit::{Cut, Entry, Head, LENGTH_BYTES, framed, split},
    identity::DeviceId,
    signer::Signer,
};

use crate::state::StateFolder;

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
    /// Opens what is there. What was not written to its end is cut off; what is damaged is saved aside, and the text says so.
    pub(super) fn open(state: Arc<StateFolder>, device: DeviceId) -> io::Result<(Self, Option<String>)> {
        state.folder(FOLDER)?;
        let (head, damage) = match last(&state, device) {
            Ok(head) => (head, None),
            Err(Bad::Io(error)) => return Err(error),
            Err(Bad::Damaged(name, reason)) => {
                let text = state.set_aside(name, &reason);
                // The chain is broken there: what comes before it goes with it.
                if name == NEWER && state.path().join(OLDER).exists() {
                    state.set_aside(OLDER, "the log that follows it is damaged");
                }
                (Head::default(), Some(text))
            }
        };
        let file = append_to(&state.path().join(NEWER))?;
        let bytes = file.metadata()?.len();
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
        fs::rename(&path, self.state.path().join(OLDER))?;
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
                    None => match Head::begin(self.device, sealed) {
                        Ok((entry, _)) => entry.seq,
                        Err(error) => return Err(io::Error::other(error)),
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

enum Bad {
    Io(io::Error),
    /// Which file, and how.
    Damaged(&'static str, String),
}

/// Where the log on the disk stands. Only the last entry is verified: who reads the log verifies all.
fn last(state: &StateFolder, device: DeviceId) -> Result<Head, Bad> {
    for name in [NEWER, OLDER] {
        let bytes = bytes_of(state, name).map_err(Bad::Io)?;
        let (mut end, mut newest) = (0, None);
        for sealed in split(&bytes) {
            match sealed {
                Ok(sealed) => {
                    end += LENGTH_BYTES + sealed.len();
                    newest = Some(sealed);
                }
                // The power went before it was whole: nobody was told of it.
                Err(Cut::Truncated) => {
                    let file = append_to(&state.path().join(name)).map_err(Bad::Io)?;
                    file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(Bad::Io)?;
                }
                Err(Cut::TooLarge(bytes)) => {
                    return Err(Bad::Damaged(name, format!("an entry of {bytes} bytes")));
                }
            }
        }
        if let Some(newest) = newest {
            let (_, head) =
                Head::begin(device, newest).map_err(|error| Bad::Damaged(name, error.to_string()))?;
            return Ok(head);
        }
    }
    Ok(Head::default())
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
