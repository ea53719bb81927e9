//! The passphrase of a key: from a file, or typed on the terminal unseen.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{failure::Failure, output};

/// The shortest that is taken for a new key, in characters.
const SHORTEST: usize = 8;

/// How often a new one may be typed.
const TYPED: u32 = 3;

/// Where the passphrase comes from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Passphrase {
    /// The file that holds the passphrase of the key [default: it is asked for on the terminal]
    #[arg(long, value_name = "FILE", env = "WAYSIDE_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// What the file says, if one is named.
    pub(super) fn given(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::Usage(format!("cannot read the passphrase in {}: {error}", path.display()))
        })?;
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// From the file, or from the terminal.
    pub(super) fn ask(&self, what: &str) -> Result<String, Failure> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => type_in(what),
        }
    }

    /// A new one. Typed, it is typed twice, and once more where it will not do.
    pub(super) fn choose(&self) -> Result<String, Failure> {
        if let Some(passphrase) = self.given()? {
            return long_enough(passphrase).map_err(Failure::Failed);
        }
        for _ in 1..TYPED {
            match choose_typed()? {
                Ok(passphrase) => return Ok(passphrase),
                Err(why) => output::note(&why),
            }
        }
        choose_typed()?.map_err(Failure::Failed)
    }

    #[cfg(test)]
    pub(super) fn from_file(path: PathBuf) -> Self {
        Self { passphrase_file: Some(path) }
    }
}

/// Typed twice; the reason, where it will not do.
fn choose_typed() -> Result<Result<String, String>, Failure> {
    let first = type_in("a passphrase for the new key")?;
    Ok(if type_in("the same again")? == first {
        long_enough(first)
    } else {
        Err("the two are not the same: try again".into())
    })
}

fn long_enough(passphrase: String) -> Result<String, String> {
    if passphrase.chars().count() < SHORTEST {
        return Err(format!(
            "a passphrase of fewer than {SHORTEST} characters locks nothing: take several words"
        ));
    }
    Ok(passphrase)
}

pub(super) fn type_in(what: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Usage(format!(
            "there is no terminal to type {what} on ({error}): name a file with --passphrase-file"
        ))
    };
    let terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let before = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    write!(&terminal, "{what}: ").map_err(failed)?;
    tcsetattr(&terminal, OptionalActions::Flush, &unseen).map_err(|error| failed(error.into()))?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    // Whatever came of it, the terminal shows again what is typed.
    tcsetattr(&terminal, OptionalActions::Flush, &before).map_err(|error| failed(error.into()))?;
    writeln!(&terminal).map_err(failed)?;
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
