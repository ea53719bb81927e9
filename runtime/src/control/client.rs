//! The commands' end of the unix socket. Blocking.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, Ask, MAX_LINE_BYTES, MessageLine, Reply};

/// How long a part of the question or of the answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the daemon on this machine.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why the daemon on this machine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("no daemon answers on {path}: {error}; {}", advice(.error))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("the daemon's answer did not come: {0}; see its log")]
    Broken(#[from] io::Error),
    /// Its answer is not of this version.
    #[error("the daemon's answer is not understood: {0}; use a `wayside` of its version")]
    Unknown(#[from] serde_json::Error),
    /// The daemon says no, why, and what to do.
    #[error("{0}")]
    Refused(String),
}

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "run as the daemon's user"
    } else {
        "start one with `wayside up`, or name a cloud with --cloud"
    }
}

impl Client {
    /// Connects to the daemon whose control socket is `path`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |error| ClientError::Unreachable { path: path.to_owned(), error };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// As [`Self::ask`], for an answer that may take longer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ask_within(&mut self, ask: &Ask, patience: Duration) -> Result<Answer, ClientError> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let answer = self.ask(ask);
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        answer
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, ClientError> {
        self.send(ask)?;
        match serde_json::from_slice(&self.line()?)? {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(reason) => Err(ClientError::Refused(reason)),
        }
    }

    /// Follows what modules publish until `show` fails or the daemon stops.
    ///
    /// # Errors
    /// See [`ClientError`]; an error of `show` is [`ClientError::Broken`].
    pub fn messages(
        mut self,
        mut show: impl FnMut(MessageLine) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        self.stream.get_ref().set_read_timeout(None)?;
        self.send(&Ask::Messages)?;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            match serde_json::from_slice(&line) {
                Ok(message) => show(message)?,
                Err(error) => {
                    return Err(match serde_json::from_slice(&line) {
                        Ok(Reply::Error(reason)) => ClientError::Refused(reason),
                        Ok(Reply::Ok(_)) | Err(_) => ClientError::Unknown(error),
                    });
                }
            }
        }
    }

    fn send(&mut self, ask: &Ask) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        Ok(self.stream.get_mut().write_all(&line)?)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        Ok(line)
    }
}
