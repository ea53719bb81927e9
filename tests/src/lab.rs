//! One laboratory: two networks, hosts on them, and the certainty that everything is removed again.

use std::{
    env,
    fs::File,
    os::unix::process::CommandExt,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::{
    build::{Binaries, HOST_IMAGE},
    cloud::Cloud,
    device::{Device, Options},
    engine::{self, docker},
    operator::Operator,
};

/// Two bridge networks, `lan` and `wan`, and whatever hosts are started on them. One at a time on a machine.
#[derive(Debug)]
pub struct Lab {
    id: String,
    binaries: Binaries,
    operator: Operator,
    cleaner: Child,
    _turn: File,
}

impl Lab {
    /// Builds what is needed and makes the networks. Waits while another laboratory is open.
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
        let turn = File::create(env::temp_dir().join("wayside-lab.lock"))?;
        turn.lock().context("waiting for another laboratory to close")?;
        binaries.images()?;
        let id = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let operator = Operator::new(binaries.path("wayside"))?;
        let lab = Self { cleaner: cleaner(&id)?, id, binaries, operator, _turn: turn };
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
        Ok(container)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        let _ended = self.cleaner.wait();
    }
}

/// The process that cleans up when this one closes the pipe: also after a panic, Ctrl-C or `kill -9`.
fn cleaner(id: &str) -> Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", include_str!("clean.sh"), "clean", id]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().context("sh")
}
