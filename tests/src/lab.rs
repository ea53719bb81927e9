//! One laboratory: two networks, hosts on them, and the certainty that everything is removed again.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::{
    build::{Binaries, HOST_IMAGE},
    cloud::Cloud,
    command,
    device::{Device, Options},
    engine::{self, docker},
    evidence,
    operator::Operator,
    wait::until_true,
};

const JOIN_LIMIT: Duration = Duration::from_secs(60);

/// Another laboratory may be a whole demo on a busy machine, and others may stand in line.
const TURN_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Each command of the one who cleans up has a limit too.
const CLEAN_LIMIT: Duration = Duration::from_secs(180);

/// The turn of this process, as long as one of its laboratories is open.
static TURN: Mutex<Weak<File>> = Mutex::new(Weak::new());

/// Two bridge networks, `lan` and `wan`, and whatever hosts are started on them. One process at a time has
/// laboratories on a machine, and they do not see each other.
#[derive(Debug)]
pub struct Lab {
    id: String,
    binaries: Binaries,
    operator: Operator,
    cleaner: Child,
    files: TempDir,
    _turn: Arc<File>,
}

impl Lab {
    /// Builds what is needed and makes the networks. Waits while a laboratory of another process is open.
    ///
    /// # Errors
    /// When the build fails or there is no container engine; in words that say what to do.
    pub fn open() -> Result<Self> {
        engine::answers()?;
        let binaries = Binaries::build(false)?;
        Self::with(binaries)
    }

    /// Like [`Lab::open`], with binaries that are built.
    ///
    /// # Errors
    /// As [`Lab::open`].
    pub fn with(binaries: Binaries) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        engine::answers()?;
        let turn = {
            // Also for the images: they are made once.
            let mut ours = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = match ours.upgrade() {
                Some(turn) => turn,
                None => Arc::new(turn(&env::temp_dir().join("wayside-lab.lock"), TURN_LIMIT)?),
            };
            *ours = Arc::downgrade(&turn);
            binaries.images()?;
            turn
        };
        let id = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let operator = Operator::new(binaries.path("wayside"))?;
        let lab =
            Self { cleaner: cleaner(&id)?, id, binaries, operator, files: tempfile::tempdir()?, _turn: turn };
        for network in ["lan", "wan"] {
            docker(["network", "create", "--label", &lab.label(), &lab.name(network)])?;
        }
        Ok(lab)
    }

    /// Starts a cloud on `wan`; its API is on loopback only.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn cloud(&self) -> Result<Cloud> {
        Cloud::start(self)
    }

    /// Starts a device on `lan` and `wan`.
    ///
    /// # Errors
    /// When its container cannot be started.
    pub fn device(&self, name: &str, options: &Options) -> Result<Device> {
        Device::start(self, name, options)
    }

    /// Starts a cloud and devices that join it, and waits until the cloud knows them all.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn fleet(&self, names: &[&str]) -> Result<(Cloud, Vec<Device>)> {
        let cloud = self.cloud()?;
        let options = Options::joining(self, cloud.join_link())?;
        let devices = names.iter().map(|name| self.device(name, &options)).collect::<Result<Vec<_>>>()?;
        for device in &devices {
            device.wait_up()?;
        }
        until_true("all devices at the cloud", JOIN_LIMIT, || {
            Ok(cloud.get("/api/v1/devices")?.as_array().is_some_and(|known| known.len() == names.len()))
        })?;
        Ok((cloud, devices))
    }

    /// Writes a Compose file into a folder `name` that lasts as long as the laboratory. Returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn compose(&self, name: &str, text: &str) -> Result<String> {
        let folder = self.files.path().join(name);
        fs::create_dir_all(&folder)?;
        let file = folder.join("compose.yaml");
        fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    }

    /// An empty folder that lasts as long as the laboratory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(tempfile::tempdir_in(self.files.path())?.keep())
    }

    /// `wayside ARGUMENTS` by `operator` on a host of `lan` that is no device, where `file` of this
    /// machine is `/compose.yaml`.
    ///
    /// # Errors
    /// When its exit code is not 0; with what it said.
    pub fn on_lan(&self, operator: &Operator, file: &str, arguments: &[&str]) -> Result<String> {
        let container = self.ready_on_lan(operator, file, arguments)?;
        let said = docker(["start", "--attach", &container])
            .map_err(|error| anyhow!("{error:#}{}", evidence::last_words()));
        docker(["rm", "--force", &container])?;
        said
    }

    /// The container of [`Lab::on_lan`], which is to be started and removed.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn ready_on_lan(&self, operator: &Operator, file: &str, arguments: &[&str]) -> Result<String> {
        operator.key()?;
        let key_file = operator.key_file();
        let key_path = key_file.to_string_lossy();
        let (container, label, network) = (self.name("operator"), self.label(), self.name("lan"));
        let key = "WAYSIDE_OPERATOR_KEY=/operator.key";
        let yes = "WAYSIDE_YES=true";
        let options =
            ["--name", &container, "--label", &label, "--network", &network, "--env", key, "--env", yes];
        docker([&["create"], options.as_slice(), &[HOST_IMAGE, "/wayside"], arguments].concat())?;
        docker(["cp", &key_path, &format!("{container}:/operator.key")])?;
        docker(["cp", file, &format!("{container}:/compose.yaml")])?;
        Ok(container)
    }

    /// The operator of this laboratory, with a key of its own.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The binaries that run here.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The engine's name for something of this laboratory.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("lab-{}-{what}", self.id)
    }

    /// The label of everything that belongs to this laboratory.
    #[must_use]
    pub fn label(&self) -> String {
        format!("wayside.lab={}", self.id)
    }

    /// Starts `arguments` in a new container on `network` and leaves it running. Returns its name.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn spawn(
        &self,
        name: &str,
        network: &str,
        engine_arguments: &[&str],
        arguments: &[&str],
    ) -> Result<String> {
        let (container, label, network) = (self.name(name), self.label(), self.name(network));
        let mut all = vec!["run", "--detach", "--name", &container, "--label", &label, "--network", &network];
        all.extend(engine_arguments);
        all.push(HOST_IMAGE);
        all.extend(arguments);
        docker(all)?;
        evidence::add(&container);
        Ok(container)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        evidence::clear();
        drop(self.cleaner.stdin.take());
        if !matches!(command::wait(&mut self.cleaner, CLEAN_LIMIT), Ok(Some(_))) {
            eprintln!(
                "laboratory {} was not removed whole: look for what carries the label {}",
                self.id,
                self.label()
            );
        }
    }
}

/// Waits until no other laboratory of this machine is open. The file says whose turn it is.
fn turn(path: &Path, limit: Duration) -> Result<File> {
    let mut turn = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let started = Instant::now();
    loop {
        match turn.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
            Err(TryLockError::WouldBlock) if started.elapsed() > limit => {
                let holder = fs::read_to_string(path).unwrap_or_default();
                bail!(
                    "waited {} s for another laboratory on this machine to close: process {} holds {}",
                    limit.as_secs(),
                    holder.trim(),
                    path.display()
                );
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
        }
    }
    turn.set_len(0)?;
    writeln!(turn, "{}", process::id())?;
    Ok(turn)
}

/// The process that cleans up when this one closes the pipe: also after a panic, Ctrl-C or `kill -9`.
fn cleaner(id: &str) -> Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", include_str!("clean.sh"), "clean", id]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().context("sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_turn_it_is_stands_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = turn(&path, Duration::ZERO).unwrap();
        let error = turn(&path, Duration::from_millis(150)).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} holds", process::id())), "{error}");
        drop(first);
        turn(&path, Duration::ZERO).unwrap();
    }
}
