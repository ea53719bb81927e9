//! The same file means the same to Compose: the example starts under it, and each supported key gives the container that it gives.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wayside_tests::{
    build::{WEATHER_IMAGE, example},
    command::run,
    engine::{docker, inspect, try_docker},
    ensure,
    lab::Lab,
    wait::{until, until_true},
};

#[test]
fn docker_compose_starts_the_same_file() -> Result<()> {
    let lab = Lab::open()?;
    let project = Project::new(&lab, &example("weather"))?;
    run(project.command().args(["up", "--detach"]))?;
    let filter = format!("label=com.docker.compose.project={}", project.name);
    until_true("both services to run", Duration::from_secs(30), || {
        Ok(docker(["ps", "--quiet", "--filter", &filter])?.lines().count() == 2)
    })
}

/// Every key that Wayside supports in a service, but `restart` and `depends_on`, for it starts modules itself; those that a device has
/// to allow (`policy.rs`); `secrets` (`secrets.rs`); and `start_interval`, which engines of today's Debian do not know.
fn every_key() -> String {
    format!(
        r#"
services:
  all:
    image: {WEATHER_IMAGE}
    entrypoint: [/weather-detector]
    command: one "two three"
    environment: {{ STATION: EWR, EMPTY: "" }}
    working_dir: /tmp
    user: "1234:5678"
    labels: {{ plant: p7 }}
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    init: true
    read_only: true
    tmpfs: [/run, /scratch]
    mem_limit: 64m
    cpus: 0.25
    pids_limit: 77
    volumes: ["rows:/rows:ro", "state:/state"]
    healthcheck: {{ test: probe || exit 1, interval: 1m30s, timeout: 500ms, retries: 4, start_period: 40s }}
    ports: ["127.0.0.1:48123:8080", "127.0.0.1:48124:9090/udp"]
volumes: {{ rows: , state: }}
"#
    )
}

/// Where the engine shows what a key has set, and as what.
const SHOWN: [&str; 17] = [
    "/Config/Image",
    "/Config/Entrypoint",
    "/Config/Cmd",
    "/Config/WorkingDir",
    "/Config/User",
    "/Config/StopTimeout",
    "/Config/StopSignal",
    "/Config/Healthcheck",
    "/Config/ExposedPorts",
    "/HostConfig/Init",
    "/HostConfig/ReadonlyRootfs",
    "/HostConfig/Tmpfs",
    "/HostConfig/Memory",
    "/HostConfig/NanoCpus",
    "/HostConfig/PidsLimit",
    "/HostConfig/PortBindings",
    "/HostConfig/Privileged",
];

/// A mount without what is named after the project.
fn mounts(container: &Value) -> Result<Vec<Value>> {
    let of = |mount: &Value| json!([mount["Type"], mount["Destination"], mount["RW"], mount["Driver"]]);
    let mut mounts: Vec<_> = container["Mounts"].as_array().context("mounts")?.iter().map(of).collect();
    mounts.sort_by_key(Value::to_string);
    Ok(mounts)
}

#[test]
fn each_key_gives_the_container_that_compose_gives() -> Result<()> {
    let lab = Lab::open()?;
    let file = lab.compose("keys", &every_key())?;
    let path = Path::new(&file);
    let folder = path.parent().context("a folder")?;
    let project = Project::new(&lab, folder)?;
    let file_name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
    run(project.command().args(["--file", file_name, "up", "--no-start"]))?;
    let filter = format!("label=com.docker.compose.project={}", project.name);
    let id = docker(["ps", "--all", "--quiet", "--filter", &filter])?;
    let of_compose = inspect(id.trim())?;

    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    // In a folder of its own: Compose takes its project down with the file that it was made from.
    let named =
        lab.compose("named", &format!("name: keys\n{}x-wayside: {{ target: all }}\n", every_key()))?;
    lab.operator().at(&cloud, &["apply", "--no-wait", &named])?;
    let of_wayside = until("the container", Duration::from_secs(60), || Ok(device.module("keys/all").ok()))?;

    for place in SHOWN {
        assert_eq!(of_wayside.pointer(place), of_compose.pointer(place), "{place}");
    }
    assert_eq!(mounts(&of_wayside)?, mounts(&of_compose)?);
    for (place, entry) in [("/Config/Env", "STATION=EWR"), ("/Config/Env", "EMPTY=")] {
        for container in [&of_wayside, &of_compose] {
            let entries = container.pointer(place).and_then(Value::as_array).context(place)?;
            assert!(entries.contains(&json!(entry)), "{place} has no {entry}: {entries:?}");
        }
    }
    for container in [&of_wayside, &of_compose] {
        assert_eq!(container["Config"]["Labels"]["plant"], "p7");
    }
    // What is Wayside's own: fewer rights than Compose gives, and no restarts by the engine.
    let host = &of_wayside["HostConfig"];
    assert_eq!((&host["CapDrop"], &host["CapAdd"]), (&json!(["ALL"]), &Value::Null));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["Binds"], Value::Null);
    assert!(matches!(host["RestartPolicy"]["Name"].as_str(), Some("" | "no")), "{host}");
    assert!(!of_wayside["Mounts"].to_string().contains("docker.sock"));
    Ok(())
}

/// A Compose project that is taken down whatever happens.
struct Project {
    name: String,
    folder: PathBuf,
    plugin: bool,
}

impl Project {
    fn new(lab: &Lab, folder: &Path) -> Result<Self> {
        let plugin = try_docker(["compose", "version"])?.code == 0;
        if !plugin {
            ensure::program("docker-compose", &["docker-compose"])?;
        }
        Ok(Self { name: lab.name("compose"), folder: folder.to_owned(), plugin })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if self.plugin { "docker" } else { "docker-compose" });
        if self.plugin {
            command.arg("compose");
        }
        command.current_dir(&self.folder);
        command.args(["--project-name", &self.name]);
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ended = run(self.command().args(["down", "--volumes", "--timeout", "1"]));
    }
}
