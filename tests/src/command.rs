//! Runs programs and keeps what they said for the error.

use std::{
    fmt,
    io::Write,
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs to the end, whatever the exit code.
///
/// # Errors
/// When the program cannot be started.
pub fn capture(command: &mut Command) -> Result<Ended> {
    let output = command.stdin(Stdio::null()).output().with_context(|| line(command))?;
    Ok(ended(&output))
}

/// Runs to the end and returns standard output without the last line break.
///
/// # Errors
/// When it cannot be started or its exit code is not 0; then with everything it said.
pub fn run(command: &mut Command) -> Result<String> {
    let ended = capture(command)?;
    if ended.code != 0 {
        bail!("`{}`: {ended}", line(command));
    }
    Ok(ended.stdout.trim_end().to_owned())
}

/// Like [`run`], with `input` on standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| line(piped))?;
    let mut pipe = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    let writer = thread::spawn(move || pipe.write_all(&input));
    let ended = ended(&child.wait_with_output()?);
    let written = writer.join().is_ok_and(|result| result.is_ok());
    if ended.code != 0 || !written {
        bail!("`{}`: {ended}", line(command));
    }
    Ok(ended.stdout.trim_end().to_owned())
}

fn ended(output: &Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
