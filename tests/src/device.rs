//! A host that runs `wayside up` beside its own engine's socket.

use std::{cell::OnceCell, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    command::Ended,
    engine::{self, SOCKET, docker, try_docker},
    lab::Lab,
    wait::until,
};

/// How a device is started. The default is no configuration at all: no name, no cloud, no operator.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Arguments after `wayside up`.
    pub arguments: Vec<String>,
    /// Without the engine's socket.
    pub no_engine: bool,
    /// A folder of this machine that it sees as `/var/run`: what is `docker.sock` there is the engine to it.
    pub engine_folder: Option<String>,
    /// Not on `wan`.
    pub no_wan: bool,
    /// A folder of this machine that is its state directory.
    pub state: Option<String>,
    /// A folder of this machine that it sees as `/run/wayside`.
    pub memory: Option<String>,
}

impl Options {
    /// A device that obeys the laboratory's operator and joins the cloud by its link.
    ///
    /// # Errors
    /// When the operator's key cannot be made.
    pub fn joining(lab: &Lab, link: &str) -> Result<Self> {
        let mut options = Self::obeying(lab)?;
        options.arguments.extend(["--join".to_owned(), link.to_owned()]);
        Ok(options)
    }

    /// A device that obeys the laboratory's operator.
    ///
    /// # Errors
    /// When the operator's key cannot be made.
    pub fn obeying(lab: &Lab) -> Result<Self> {
        let arguments = vec!["--operator".to_owned(), lab.operator().key()?];
        Ok(Self { arguments, ..Self::default() })
    }
}

/// A running (or killed) device. The laboratory removes it.
#[derive(Clone, Debug)]
pub struct Device {
    name: String,
    container: String,
    wan: String,
    lan: String,
    key: OnceCell<String>,
}

impl Device {
    pub(crate) fn start(lab: &Lab, name: &str, options: &Options) -> Result<Self> {
        let volume = lab.name(name);
        docker(["volume", "create", "--label", &lab.label(), &volume])?;
        let state = format!("{}:/var/lib/wayside", options.state.as_ref().unwrap_or(&volume));
        let socket = match &options.engine_folder {
            Some(folder) => format!("{folder}:/var/run"),
            None => format!("{SOCKET}:{SOCKET}"),
        };
        let mut mounts = vec!["--volume", &state];
        if !options.no_engine {
            mounts.extend(["--volume", &socket]);
        }
        let memory = options.memory.as_ref().map(|folder| format!("{folder}:/run/wayside"));
        mounts.extend(memory.iter().flat_map(|memory| ["--volume", memory]));
        let mut arguments = vec!["/wayside", "up", "--name", name];
        arguments.extend(options.arguments.iter().map(String::as_str));
        let container = lab.spawn(name, "lan", &mounts, &arguments)?;
        let device = Self {
            name: name.to_owned(),
            container,
            wan: lab.name("wan"),
            lan: lab.name("lan"),
            key: OnceCell::new(),
        };
        if !options.no_wan {
            device.restore_uplink()?;
        }
        Ok(device)
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine's name of its container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// `wayside ARGUMENTS` on the device itself, whatever its exit code.
    ///
    /// # Errors
    /// When there is no `docker` command.
    pub fn try_wayside(&self, arguments: &[&str]) -> Result<Ended> {
        try_docker([&["exec", &self.container, "/wayside"], arguments].concat())
    }

    /// `wayside ARGUMENTS` on the device itself.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub fn wayside(&self, arguments: &[&str]) -> Result<String> {
        docker([&["exec", &self.container, "/wayside"], arguments].concat())
    }

    /// What the device says of itself.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        let text = self.wayside(&["status", "--json"])?;
        serde_json::from_str(&text).context(text)
    }

    /// Waits until its daemon answers, and returns what it says.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn wait_up(&self) -> Result<Value> {
        let what = format!("the daemon of {} to answer", self.name);
        until(&what, Duration::from_secs(30), || self.status().map(Some))
    }

    /// Waits until `wayside status` names a problem that contains `words`: it comes when the part that has it was
    /// begun, which may be after the daemon answers.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn wait_problem(&self, words: &str) -> Result<()> {
        let what = format!("{} to name a problem with `{words}`", self.name);
        until(&what, Duration::from_secs(30), || {
            let problems = &self.status()?["problems"];
            ensure!(problems.to_string().contains(words), "it names {problems}");
            Ok(Some(()))
        })
    }

    /// The daemon's log.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn log(&self) -> Result<String> {
        let ended = try_docker(["logs", &self.container])?;
        Ok(ended.stdout + &ended.stderr)
    }

    /// Ends the daemon with a signal such as `KILL` or `TERM`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: &str) -> Result<()> {
        docker(["kill", "--signal", signal, &self.container]).map(drop)
    }

    /// Starts the daemon again on its state.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start_again(&self) -> Result<()> {
        docker(["start", &self.container]).map(drop)
    }

    /// Waits until the daemon has ended. Returns its exit code.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait_ended(&self, limit: Duration) -> Result<i64> {
        until(&format!("the daemon of {} to end", self.name), limit, || {
            let state = &engine::inspect(&self.container)?["State"];
            Ok((state["Running"] == false).then(|| state["ExitCode"].as_i64()).flatten())
        })
    }

    /// Pulls the plug of `wan`.
    ///
    /// # Errors
    /// When it is not plugged in.
    pub fn cut_uplink(&self) -> Result<()> {
        docker(["network", "disconnect", &self.wan, &self.container]).map(drop)
    }

    /// Plugs `wan` in again.
    ///
    /// # Errors
    /// When it is plugged in.
    pub fn restore_uplink(&self) -> Result<()> {
        docker(["network", "connect", &self.wan, &self.container]).map(drop)
    }

    /// Pulls the plug of `lan`.
    ///
    /// # Errors
    /// When it is not plugged in.
    pub fn cut_lan(&self) -> Result<()> {
        docker(["network", "disconnect", &self.lan, &self.container]).map(drop)
    }

    /// Plugs `lan` in again.
    ///
    /// # Errors
    /// When it is plugged in.
    pub fn restore_lan(&self) -> Result<()> {
        docker(["network", "connect", &self.lan, &self.container]).map(drop)
    }

    /// The device's key, as its containers carry it. Asked once.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn key(&self) -> Result<String> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let status = self.status()?;
        let key = status["device"].as_str().with_context(|| format!("no key in {status}"))?;
        Ok(self.key.get_or_init(|| key.to_owned()).clone())
    }

    /// What the engine says of the container of a module, `workload/module`.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn module(&self, module: &str) -> Result<Value> {
        let ids = self.modules(module)?;
        let [id] = ids.as_slice() else {
            bail!("containers of {module} on {}: {ids:?}", self.name);
        };
        engine::inspect(id)
    }

    /// Identifiers of all containers of a module, `workload/module`, running or not. One that has ended and gave its name to
    /// the next while it is being removed is none of them.
    ///
    /// # Errors
    /// When the daemon or the engine does not answer.
    pub fn modules(&self, module: &str) -> Result<Vec<String>> {
        let key = self.key()?;
        let (mine, this) = (format!("label=wayside.device={key}"), format!("label=wayside.module={module}"));
        let format = ["--format", "{{.ID}} {{.Names}}"];
        let list = ["ps", "--all", "--no-trunc", "--filter", &mine, "--filter", &this];
        let listed = docker([list.as_slice(), &format].concat())?;
        let containers = listed.lines().filter_map(|line| line.split_once(' '));
        let present = containers.filter(|(_, name)| {
            ![".leaving-", ".coming-"].iter().any(|on_its_way| name.contains(on_its_way))
        });
        Ok(present.map(|(id, _)| id.to_owned()).collect())
    }

    /// Waits until the container of a module runs. Returns what the engine says of it.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_running(&self, module: &str) -> Result<Value> {
        let what = format!("{module} on {} to run", self.name);
        until(&what, Duration::from_secs(60), || {
            let container = self.module(module)?;
            Ok((container["State"]["Running"] == true).then_some(container))
        })
    }

    /// Waits until no container of a module is left.
    ///
    /// # Errors
    /// When there still is one after half a minute.
    pub fn wait_gone(&self, module: &str) -> Result<()> {
        let what = format!("{module} on {} to be removed", self.name);
        until(&what, Duration::from_secs(30), || Ok(self.modules(module)?.is_empty().then_some(())))
    }

    /// Copies a file out of or into the host, as `docker cp` does.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        docker(["cp", from, to]).map(drop)
    }
}
