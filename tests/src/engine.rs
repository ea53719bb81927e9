//! The container engine, by its command line.

use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::{
    command::{Ended, capture},
    evidence::last_words,
};

/// The engine's socket, mounted into each host.
pub const SOCKET: &str = "/var/run/docker.sock";

/// The `docker` command line with these arguments.
#[must_use]
pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    // The classic builder is in every engine; the other one is a plugin that may be missing.
    command.env("DOCKER_BUILDKIT", "0");
    command
}

/// Runs `docker` and returns what it printed.
///
/// # Errors
/// When it fails or does not end; with what it said.
pub fn docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let ended = try_docker(arguments.iter().copied())?;
    if ended.code != 0 {
        bail!("`docker {}`: {ended}", arguments.join(" "));
    }
    Ok(ended.stdout.trim_end().to_owned())
}

/// Runs `docker` whatever its exit code. An engine can hang, as when it waits for the end of a container whose end it
/// missed: then the command is killed.
///
/// # Errors
/// When there is no `docker` command, or it did not end; then with what the hosts said last.
pub fn try_docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Ended> {
    capture(&mut command(arguments)).map_err(|error| anyhow!("{error:#}{}", last_words()))
}

/// Whether an engine answers.
///
/// # Errors
/// When not: one message that says what is missing and what brings it.
pub fn answers() -> Result<()> {
    let version = try_docker(["version", "--format", "{{.Server.Version}}"]);
    match version {
        Ok(ended) if ended.code == 0 => Ok(()),
        Ok(ended) => bail!(
            "the container engine does not answer ({}); start it with `systemctl start docker` or, without systemd, `dockerd &`",
            ended.stderr.trim()
        ),
        Err(_) => {
            bail!("there is no container engine; `apt-get install docker.io` brings one on Debian and Ubuntu")
        }
    }
}

/// What the engine says of one container, network or volume.
///
/// # Errors
/// When there is none of this name.
pub fn inspect(name: &str) -> Result<Value> {
    let text = docker(["inspect", name])?;
    let mut all: Vec<Value> = serde_json::from_str(&text).context("docker inspect")?;
    all.pop().with_context(|| format!("nothing is called {name}"))
}

/// Identifiers of all containers, running or not, that carry `label` (`name` or `name=value`).
///
/// # Errors
/// When the engine does not answer.
pub fn containers_with(label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let text = docker(["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])?;
    Ok(text.lines().map(str::to_owned).collect())
}
