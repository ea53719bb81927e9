//! Runs programs, none longer than it may take, and keeps what they said for the error.

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::build::workspace;

/// More than any command here takes on a busy machine, unless it says otherwise.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How long a program that has ended may leave its output open to somebody else.
const LEFTOVER: Duration = Duration::from_secs(2);

/// Cargo, on the workspace, without what another cargo told the program that runs this: build scripts look at it, and what
/// changes for them is built again, with all that stands on it.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];
    for (name, _) in env::vars_os() {
        if told.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

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

/// Runs to the end, whatever the exit code, for at most [`LIMIT`].
///
/// # Errors
/// When the program cannot be started, or had to be killed.
pub fn capture(command: &mut Command) -> Result<Ended> {
    capture_within(command, LIMIT)
}

/// Like [`capture`], with a limit of its own.
///
/// # Errors
/// As [`capture`].
pub fn capture_within(command: &mut Command, limit: Duration) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| line(command))?;
    let (stdout, stderr) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
    let status = wait(&mut child, limit)?;
    let (stdout, stderr) = (stdout.text(), stderr.text());
    match status {
        Some(status) => Ok(Ended { code: status.code().unwrap_or(-1), stdout, stderr }),
        None => bail!(
            "`{}` did not end within {} s and was killed\n{stdout}{stderr}",
            line(command),
            limit.as_secs()
        ),
    }
}

/// Runs to the end, for at most [`LIMIT`], and returns standard output without the last line break.
///
/// # Errors
/// As [`capture`], and when the exit code is not 0; then with everything it said.
pub fn run(command: &mut Command) -> Result<String> {
    run_within(command, LIMIT)
}

/// Like [`run`], with a limit of its own.
///
/// # Errors
/// As [`run`].
pub fn run_within(command: &mut Command, limit: Duration) -> Result<String> {
    let ended = capture_within(command, limit)?;
    if ended.code != 0 {
        bail!("`{}`: {ended}", line(command));
    }
    Ok(ended.stdout.trim_end().to_owned())
}

/// Runs to the end what speaks to the terminal itself, for at most `limit`.
///
/// # Errors
/// When it cannot be started, had to be killed, or its exit code is not 0.
pub fn watch(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command.spawn().with_context(|| line(command))?;
    let Some(status) = wait(&mut child, limit)? else {
        bail!("`{}` did not end within {} s and was killed", line(command), limit.as_secs());
    };
    ensure!(status.success(), "`{}` failed: {status}", line(command));
    Ok(())
}

/// Waits until `child` has ended. `None` when it had not after `limit`: then it is killed, with all that it has started.
///
/// # Errors
/// When the system does not tell.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            kill_all_of(child)?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Kills a program and what it has started: `cargo test` that is killed alone leaves the test that hangs.
fn kill_all_of(child: &mut Child) -> Result<()> {
    let (mut of_it, mut count) = (BTreeSet::from([child.id()]), 0);
    let parents = parents();
    while of_it.len() > count {
        count = of_it.len();
        of_it.extend(
            parents
                .iter()
                .filter(|(_, parent)| of_it.contains(parent))
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
        );
    }
    child.kill()?;
    of_it.remove(&child.id());
    let others = of_it.iter().map(u32::to_string);
    // Some may have ended by themselves.
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -KILL \"$@\"", "sh"]).args(others).stderr(Stdio::null());
    bury(&mut kill.spawn()?)?;
    // Not `wait`: what hangs in the kernel does not even die of this.
    bury(child)
}

/// Waits a moment for one that is about to end.
fn bury(child: &mut Child) -> Result<()> {
    let started = Instant::now();
    while child.try_wait()?.is_none() && started.elapsed() < LEFTOVER {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The processes that there are, each with the one that started it.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // `ID (NAME) STATE PARENT`, and a name may have spaces and brackets in it.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect()
}

/// What a program writes, read by a thread of its own, so that it never waits for us.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&bytes);
        let reader = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut part = [0; 8192];
                while let Ok(len @ 1..) = pipe.read(&mut part) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..len]);
                }
            })
        });
        Self { bytes, reader }
    }

    /// All of it, once the program has ended. What it left running may hold the pipe open: that is not waited for.
    fn text(self) -> String {
        let started = Instant::now();
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && started.elapsed() < LEFTOVER
        {
            thread::sleep(Duration::from_millis(1));
        }
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn what_a_program_says_comes_whole() {
        let ended = capture(&mut shell("seq 20000; echo wrong >&2; exit 3")).unwrap();
        assert_eq!((ended.code, ended.stdout.lines().count(), ended.stderr.as_str()), (3, 20_000, "wrong\n"));
        assert_eq!(run(&mut shell("echo done")).unwrap(), "done");
    }

    #[test]
    fn who_does_not_end_is_killed_and_what_it_said_is_told() {
        let started = Instant::now();
        let script = "echo begun; sh -c 'sleep 60.0625; true' & sleep 60";
        let error = capture_within(&mut shell(script), Duration::from_millis(300));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("did not end within") && error.contains("begun"), "{error}");
        // With all that it has started.
        let lives = || {
            parents().iter().any(|(id, _)| {
                fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|args| args.contains("60.0625"))
            })
        };
        while lives() {
            assert!(started.elapsed() < Duration::from_secs(20));
        }
        assert!(watch(&mut shell("exec sleep 60"), Duration::from_millis(100)).is_err());
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
