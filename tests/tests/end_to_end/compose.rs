//! The example starts under Compose itself, from the same file.

use std::{process::Command, time::Duration};

use anyhow::Result;
use wayside_tests::{
    build::example,
    command::run,
    engine::{docker, try_docker},
    ensure,
    lab::Lab,
    wait::until_true,
};

#[test]
fn docker_compose_starts_the_same_file() -> Result<()> {
    let lab = Lab::open()?;
    let project = Project::new(&lab)?;
    run(project.command().args(["up", "--detach"]))?;
    let filter = format!("label=com.docker.compose.project={}", project.name);
    until_true("both services to run", Duration::from_secs(30), || {
        Ok(docker(["ps", "--quiet", "--filter", &filter])?.lines().count() == 2)
    })
}

/// A Compose project that is taken down whatever happens.
struct Project {
    name: String,
    plugin: bool,
}

impl Project {
    fn new(lab: &Lab) -> Result<Self> {
        let plugin = try_docker(["compose", "version"])?.code == 0;
        if !plugin {
            ensure::program("docker-compose", &["docker-compose"])?;
        }
        Ok(Self { name: lab.name("compose"), plugin })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if self.plugin { "docker" } else { "docker-compose" });
        if self.plugin {
            command.arg("compose");
        }
        command.current_dir(example("weather"));
        command.args(["--project-name", &self.name]);
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ended = run(self.command().args(["down", "--volumes", "--timeout", "1"]));
    }
}
