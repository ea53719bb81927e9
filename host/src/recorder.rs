//! Keeps the events of a run, so that it can be run again: the same events give the same effects.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use wayside_actors::{
    machine::{Effects, Machine, Step},
    time::Time,
};

/// Writes each event of one actor with its time, as CBOR, to one file for each life of its machine:
/// `NAME.1.events` up to the first failure, then `NAME.2.events`. The last two lives are kept.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    name: String,
    max_bytes: u64,
    life: u64,
    file: Option<Counted>,
}

/// A recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file could not be opened or read.
    #[error("could not read the recording: {0}")]
    Io(#[from] io::Error),
    /// What is in it is not an event of this machine.
    #[error("event {number} of the recording is damaged or of another machine or version: {reason}")]
    Damaged {
        /// Counted from 1.
        number: u64,
        /// The decoder's words.
        reason: String,
    },
}

#[derive(Debug)]
struct Counted {
    file: BufWriter<File>,
    left_bytes: u64,
}

impl Recorder {
    /// A recorder for the actor `name` that writes to `folder`, at most `max_bytes` a file.
    #[must_use]
    pub fn new(folder: &Path, name: &str, max_bytes: u64) -> Self {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        Self { folder: folder.into(), name, max_bytes, life: 0, file: None }
    }

    /// Begins the recording of a new machine.
    pub fn begin(&mut self) {
        self.life += 1;
        // Two lives ago is of no interest any more; usually there is none, nor one of an earlier process.
        let _ = fs::remove_file(self.path(self.life.saturating_sub(2)));
        let _ = fs::remove_file(self.path(self.life));
        // Events hold join tokens and messages: nobody else may read them.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(self.life)) {
            Ok(file) => {
                self.file = Some(Counted { file: BufWriter::new(file), left_bytes: self.max_bytes });
            }
            Err(error) => self.stop(&error),
        }
    }

    /// Adds an event. When the file is full or the disk fails, recording stops with a warning.
    pub fn record<E: serde::Serialize>(&mut self, now: Time, event: &E) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = ciborium::into_writer(&(now, event), &mut *file) {
            self.stop(&error);
        }
    }

    /// The file of a life; the first is 1.
    #[must_use]
    pub fn path(&self, life: u64) -> PathBuf {
        self.folder.join(format!("{}.{life}.events", self.name))
    }

    fn stop(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!(actor = self.name, %error, "recording of events stopped");
        self.file = None;
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.left_bytes -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What `machine` wants at each event of a recording, in order. A last event that was cut off by
/// the end of the process is left out.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay<M: Machine>(path: &Path, mut machine: M) -> Result<Vec<Vec<Step<M::Effect>>>, ReplayError> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut steps, mut number) = (Vec::new(), 0);
    loop {
        number += 1;
        match ciborium::from_reader::<(Time, M::Event), _>(&mut file) {
            Ok((now, event)) => {
                let mut effects = Effects::new();
                machine.handle(now, event, &mut effects);
                steps.push(effects.take());
            }
            Err(ciborium::de::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(steps);
            }
            Err(ciborium::de::Error::Io(error)) => return Err(error.into()),
            Err(error) => return Err(ReplayError::Damaged { number, reason: error.to_string() }),
        }
    }
}
