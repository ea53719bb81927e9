//! Makes sure of what the project's commands need: a container engine, a program of a Debian package.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::{run, run_within},
    engine,
    wait::until_true,
};

const START_LIMIT: Duration = Duration::from_secs(60);

/// For a few hundred megabytes over a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);

/// One at a time: apt keeps others out.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Returns when a container engine answers; installs and starts one where that is possible.
///
/// # Errors
/// One message that says what is missing and the command that brings it.
pub fn container_engine() -> Result<()> {
    let Err(missing) = engine::answers() else { return Ok(()) };
    if !(is_root()? && is_debian_like()) {
        return Err(missing);
    }
    if find("dockerd").is_none() || find("docker").is_none() {
        install()?;
    }
    start()
}

fn install() -> Result<()> {
    eprintln!("no container engine here: installing docker.io");
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", "docker.io", "iptables", "ca-certificates"])?;
    // On newer releases the command line is a package of its own.
    if find("docker").is_none() {
        apt(&["install", "--yes", "--no-install-recommends", "docker-cli"])?;
    }
    ensure!(find("dockerd").is_some(), "docker.io is installed, but there is no `dockerd` in the path");
    Ok(())
}

/// Starts the engine: through systemd where that runs, else as a process of its own that stays.
fn start() -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() {
        run(Command::new("systemctl").args(["start", "docker"]))?;
        return wait("systemctl status docker");
    }
    // A package's script may have started it just now.
    if until_true("the engine", Duration::from_secs(3), || Ok(engine::answers().is_ok())).is_ok() {
        return Ok(());
    }
    let log = env::temp_dir().join("dockerd.log");
    eprintln!("starting dockerd (log: {})", log.display());
    let file = File::create(&log).with_context(|| log.display().to_string())?;
    let mut daemon = Command::new("setsid");
    daemon.arg("dockerd").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    daemon.spawn().context("dockerd")?;
    wait(&format!("tail {}", log.display())).with_context(|| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    })
}

fn wait(look: &str) -> Result<()> {
    until_true("the container engine to answer", START_LIMIT, || Ok(engine::answers().is_ok()))
        .with_context(|| format!("it was started and does not answer; `{look}` says why"))
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    run_within(command.args(arguments), INSTALL_LIMIT).map(drop)
}

fn is_root() -> Result<bool> {
    Ok(run(Command::new("id").arg("-u"))? == "0")
}

fn is_debian_like() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is = |name: &str| {
        release.lines().any(|line| {
            let value = line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE="));
            value.is_some_and(|value| value.trim_matches('"').split(' ').any(|word| word == name))
        })
    };
    is("debian") || is("ubuntu")
}

/// Where a program is in the path.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Installs Debian packages for `program` when it is not there.
///
/// # Errors
/// When it cannot: with the command that would.
pub fn program(program: &str, packages: &[&str]) -> Result<()> {
    if find(program).is_some() {
        return Ok(());
    }
    // Two tests may miss it at once.
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if find(program).is_some() { Ok(()) } else { fetch(program, packages) }
}

/// Installs Debian packages for `what`, which is not there.
///
/// # Errors
/// As [`program`].
pub fn bring(what: &str, packages: &[&str]) -> Result<()> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    fetch(what, packages)
}

fn fetch(what: &str, packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !(is_root()? && is_debian_like()) {
        bail!("`{what}` is missing; `apt-get install {names}` brings it on Debian and Ubuntu");
    }
    eprintln!("no {what} here: installing {names}");
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}
