//! How a command ends when it does not succeed.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use wayside_config::diagnostic::Report;

use super::output;
use crate::control::ClientError;

/// Why a command did not do what it was asked. Each kind has its exit code.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not work: 1.
    Failed(String),
    /// What was given on the command line is wrong: 2.
    Usage(String),
    /// A file that a person wrote is wrong: 2.
    File(Report),
    /// The same, told on stdout already, as JSON: 2.
    Told,
    /// No daemon, device or cloud was reached: 3.
    Unreachable(String),
    /// Whoever read the output has seen enough: 0.
    Enough,
}

impl Failure {
    /// Tells a person, and gives the exit code.
    pub(super) fn tell(self) -> ExitCode {
        let (code, text) = match self {
            Self::Failed(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::File(report) => {
                eprintln!("{}", show(&report));
                return ExitCode::from(2);
            }
            Self::Told => return ExitCode::from(2),
            Self::Unreachable(text) => (3, text),
            Self::Enough => return ExitCode::SUCCESS,
        };
        output::note(&format!("error: {text}"));
        ExitCode::from(code)
    }
}

/// A report for the terminal, in colour where that is wanted.
pub(super) fn show(report: &Report) -> String {
    report.render(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
}

/// An error of the output: of reading and writing files a command speaks itself.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Enough
        } else {
            Self::Failed(format!("cannot write the output: {error}"))
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Broken(error) if error.kind() == io::ErrorKind::BrokenPipe => Self::Enough,
            ClientError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            ClientError::Broken(_) | ClientError::Unknown(_) | ClientError::Refused(_) => {
                Self::Failed(error.to_string())
            }
        }
    }
}
