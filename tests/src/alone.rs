//! A daemon as a process in a network namespace of its own, which has nothing but loopback: no containers, no neighbours,
//! no cloud. For what needs leaf devices only: benchmarks of the broker, and daemons that are killed often.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    build::Binaries,
    command::{LIMIT, capture, run, wait},
    ensure::program,
    wait::until,
};

/// Where leaf devices of the daemon connect, inside the namespace.
pub const LEAVES: &str = "127.0.0.1:1884";

/// The password of every leaf.
pub const PASSWORD: &str = "a-password-of-the-laboratory";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace with loopback, removed when dropped.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// A new one. Needs root.
    ///
    /// # Errors
    /// When it cannot be made; `iproute2` is installed where that is possible.
    pub fn new() -> Result<Self> {
        program("ip", &["iproute2"])?;
        let name = format!("wayside-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))
            .context("a network namespace is needed, and only root can make one: run this as root")?;
        let namespace = Self(name);
        run(Command::new("ip").args(["-n", &namespace.0, "link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// A program inside it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program.as_ref());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Who runs in it keeps it alive without its name; nothing else can be done about a failure.
        let _ = run(Command::new("ip").args(["netns", "del", &self.0]));
    }
}

/// The daemon and its state.
#[derive(Debug)]
pub struct Alone {
    namespace: Namespace,
    folder: TempDir,
    binary: PathBuf,
    daemon: Option<Child>,
}

impl Alone {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; with the end of its log.
    pub fn start(binaries: &Binaries) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // A copy: a build meanwhile does not change what is tested.
        let binary = folder.path().join("wayside");
        fs::copy(binaries.path("wayside"), &binary)?;
        let mut alone = Self { namespace: Namespace::new()?, folder, binary, daemon: None };
        run(alone.command().arg("key"))?;
        alone.start_again(&[])?;
        Ok(alone)
    }

    /// The namespace, for clients.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its folder, for what belongs to the same run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon's process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Starts the daemon without waiting for it. `under` is a program that runs it, with its arguments.
    ///
    /// # Errors
    /// When the process cannot be made.
    pub fn spawn(&mut self, under: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = match under.split_first() {
            Some((first, rest)) => {
                let mut command = self.namespace.command(first);
                command.args(rest).arg(&self.binary);
                command
            }
            None => self.namespace.command(&self.binary),
        };
        command.args(["up", "--name", "alone", "--leaf-listen"]).arg(format!("mqtt://{LEAVES}"));
        command.arg("--state").arg(self.state());
        // No engine: this daemon has no containers, and must not see those of others.
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        self.daemon = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub fn start_again(&mut self, under: &[&str]) -> Result<()> {
        self.spawn(under)?;
        let up = until("the daemon to answer", LIMIT, || {
            let ended = capture(self.command().args(["status", "--json"]))?;
            Ok((ended.code == 0).then_some(()))
        });
        up.with_context(|| self.last_words())
    }

    /// Whether the daemon has ended by itself.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        match &mut self.daemon {
            Some(daemon) => Ok(daemon.try_wait()?.is_some()),
            None => Ok(true),
        }
    }

    /// Kills the daemon as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            if daemon.try_wait()?.is_none() {
                daemon.kill()?;
            }
            wait(&mut daemon, Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// `wayside` for this daemon.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.namespace.command(&self.binary);
        command.env("WAYSIDE_STATE", self.state());
        command.env("WAYSIDE_OPERATOR_KEY", self.folder.path().join("operator.key"));
        command
    }

    /// Applies a workload `bench` of two leaves, `pub` and `sub`, with [`PASSWORD`] and these routes (lines of YAML).
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, routes: &[&str]) -> Result<()> {
        self.apply_workload("bench", &["pub", "sub"], routes)
    }

    /// Applies a workload of leaves, all with [`PASSWORD`], and routes (lines of YAML).
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply_workload(&self, name: &str, leaves: &[&str], routes: &[&str]) -> Result<()> {
        let binary = self.binary.display();
        let hash =
            run(Command::new("sh")
                .args(["-c", &format!("printf %s '{PASSWORD}' | '{binary}' leaf password")]))?;
        ensure!(!hash.is_empty(), "`wayside leaf password` printed nothing");
        let mut text = format!("name: {name}\nservices: {{}}\nx-wayside:\n  leaves:\n");
        for leaf in leaves {
            text.push_str(&format!("    {leaf}: {{ password: '{hash}' }}\n"));
        }
        text.push_str("  routes:\n");
        for route in routes {
            text.push_str(&format!("    {route}\n"));
        }
        let file = self.folder.path().join("compose.yaml");
        fs::write(&file, text)?;
        run(self.command().args(["apply", "--no-wait"]).arg(&file)).map(drop)
    }

    /// The end of the daemon's log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("a daemon of the laboratory may still run: {error}");
        }
    }
}
