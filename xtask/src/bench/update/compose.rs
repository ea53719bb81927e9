//! Docker Compose as a peer: a project of its own, taken down when dropped.

use std::process::Command;

use anyhow::Result;
use wayside_tests::{
    command::{run, run_within},
    engine::try_docker,
    ensure::program,
    lab::Lab,
};

use super::{LIMIT, Side, services};

pub(super) struct Compose<'a> {
    lab: &'a Lab,
    project: String,
    /// Of two words where it is a plugin.
    program: &'static [&'static str],
    name: &'static str,
}

impl<'a> Compose<'a> {
    /// The plugin where there is one, else the program, which is installed where it is missing.
    pub(super) fn find(lab: &'a Lab) -> Result<Self> {
        let project = lab.name("compose");
        if try_docker(["compose", "version"])?.code == 0 {
            return Ok(Self { lab, project, program: &["docker", "compose"], name: "docker compose (ms)" });
        }
        program("docker-compose", &["docker-compose"])?;
        let version = run(Command::new("docker-compose").args(["version", "--short"]))?;
        let name = if version.starts_with("1.") { "docker-compose 1 (ms)" } else { "docker-compose (ms)" };
        Ok(Self { lab, project, program: &["docker-compose"], name })
    }

    /// What it is called as a peer of a figure.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    fn command(&self, release: usize, arguments: &[&str]) -> Result<Command> {
        let label = self.lab.label();
        let (name, value) = label.split_once('=').unwrap_or_default();
        let labels = format!("labels: {{{name}: \"{value}\"}}");
        // The labels are for who cleans up after a kill. The programs find no broker, and should not ask the engine for one.
        let more = format!("    extra_hosts: [\"wayside:127.0.0.1\"]\n    {labels}\n");
        let text = format!("{}networks: {{default: {{{labels}}}}}\n", services(release, &more));
        let file = self.lab.compose("peer", &text)?;
        let (first, rest) = self.program.split_first().unwrap_or((&"docker-compose", &[]));
        let mut command = Command::new(first);
        command.args(rest).args(["--project-name", &self.project, "--file", &file]).args(arguments);
        command.env("COMPOSE_HTTP_TIMEOUT", LIMIT.as_secs().to_string());
        Ok(command)
    }
}

impl Side for Compose<'_> {
    fn bring(&self, release: usize) -> Result<Command> {
        self.command(release, &["up", "--detach"])
    }

    fn labels(&self) -> (String, &'static str) {
        (format!("com.docker.compose.project={}", self.project), "com.docker.compose.service")
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        let down = self.command(0, &["down", "--timeout", "1"]);
        if let Err(error) = down.and_then(|mut down| run_within(&mut down, LIMIT)) {
            eprintln!("the project {} was not taken down: {error:#}", self.project);
        }
    }
}
