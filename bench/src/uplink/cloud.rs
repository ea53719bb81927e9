//! A `wayside-cloud` in a process of its own.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use wayside_config::join::JoinLink;

/// Killed when dropped.
pub(super) struct Cloud {
    process: Child,
    pub(super) join: JoinLink,
}

impl Cloud {
    /// Starts `program` on ports of the system's choice.
    pub(super) fn start(program: &Path, state: &Path, patience: Duration) -> Result<Self> {
        let process = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--state"])
            .arg(state)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let begun = Instant::now();
        // It is written once the cloud listens.
        while begun.elapsed() < patience {
            let links = fs::read_to_string(state.join("links")).unwrap_or_default();
            if let Some(link) = links.split_whitespace().find(|word| word.starts_with("wayside://")) {
                return Ok(Self { process, join: link.parse()? });
            }
            sleep(Duration::from_millis(20));
        }
        bail!("the cloud did not start")
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
