//! The container engine over its API: runs what machines ask for, tells what happens to containers.
//!
//! An adapter: it decides nothing but the order of the engine's own calls.

mod budget;
mod coming;
mod create;
mod credentials;
mod digest;
mod errors;
mod health;
mod images;
mod link;
mod logs;
mod making;
mod names;
mod previous;
mod running;
pub(crate) mod timestamp;
mod usage;
mod watch;
mod work;

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bollard::Docker;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch as latest},
};
use wayside_actors::device::{io, wiring};
use wayside_config::{privilege::Policy, workload::ModuleId};

pub use self::credentials::Credentials;
pub(crate) use self::digest::{Asking, by_digest};
use self::{coming::Coming, running::Running};
use crate::{secrets::Secrets, state::Identity};

/// Events that wait for the actors; when it is full the engine's stream waits.
const EVENTS: usize = 256;

/// Before the engine's first word.
const NOT_YET: &str = "the container engine has not answered yet";

/// What every container of this device gets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose containers they are.
    pub identity: Identity,
    /// The device's name, for its modules.
    pub name: String,
    /// Port of the MQTT listener.
    pub mqtt_port: u16,
    /// Their passwords.
    pub credentials: Arc<Credentials>,
    /// The state directory: where the engine keeps its images cannot be seen, its disk is taken for theirs.
    pub state: PathBuf,
    /// What they may have beyond what every container has.
    pub policy: Policy,
    /// What they have as files in memory.
    pub secrets: Arc<Secrets>,
}

/// A handle on the engine's tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<io::Engine>,
}

/// An engine that answers, and how its containers reach the daemon.
#[derive(Clone, Debug)]
pub struct Ready {
    docker: Docker,
    /// For people.
    pub version: String,
    /// Where modules find the MQTT listener.
    pub broker: Broker,
    /// The network of the device's modules.
    network: String,
    /// What a module may hold that names no limit, in bytes; `None` where the engine can set none.
    module_memory: Option<i64>,
    /// Which folders of the host the daemon's own container sees, and where; `None` where the daemon runs on the host.
    own_mounts: Option<Vec<(PathBuf, PathBuf)>>,
}

/// Where the MQTT listener is, as modules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// The daemon runs on the host: it listens on the gateway of the modules' network.
    Gateway(Ipv4Addr),
    /// The daemon is a container: it listens on its own address in that network.
    Container(Ipv4Addr),
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    ready: latest::Sender<Result<Ready, String>>,
    events: mpsc::Sender<wiring::Event>,
    /// A list was asked for and has not begun.
    list_waits: AtomicBool,
    running: Running,
    coming: Coming,
}

impl Broker {
    /// The address to listen on.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Gateway(address) | Self::Container(address) => address,
        }
    }
}

impl Engine {
    /// Starts the tasks on `runtime`. They look for an engine, and keep looking.
    #[must_use]
    pub fn start(runtime: &Handle, settings: Settings) -> (Self, mpsc::Receiver<wiring::Event>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let ready = latest::Sender::new(Err(NOT_YET.into()));
        let (list_waits, running) = (AtomicBool::new(false), Running::default());
        let coming = Coming::default();
        let shared = Arc::new(Shared { settings, ready, events, list_waits, running, coming });
        // Without a bound of its own, for it has one by who asks: a module's machine waits for each answer
        // before it asks again, the reconciler asks for the removal of each orphan once a list, and one list waits
        // at most. So it holds a few commands for each container of this device, and each is taken at once.
        let (commands, taken) = mpsc::unbounded_channel();
        runtime.spawn(watch::run(Arc::clone(&shared)));
        runtime.spawn(work::run(Arc::clone(&shared), taken));
        runtime.spawn(usage::run(Arc::clone(&shared)));
        (Self { shared, commands }, receiver)
    }

    /// An engine whose commands somebody else takes.
    #[cfg(test)]
    pub(crate) fn taken(settings: Settings) -> (Self, mpsc::UnboundedReceiver<io::Engine>) {
        let (events, _) = mpsc::channel(EVENTS);
        let ready = latest::Sender::new(Err(NOT_YET.into()));
        let (commands, taken) = mpsc::unbounded_channel();
        let (list_waits, running) = (AtomicBool::new(false), Running::default());
        let coming = Coming::default();
        let shared = Shared { settings, ready, events, list_waits, running, coming };
        (Self { shared: Arc::new(shared), commands }, taken)
    }

    /// What modules may have beyond what every container has.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.settings.policy
    }

    /// The secrets of its modules.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.shared.settings.secrets
    }

    /// Gives a command; its answer comes as an event. A list that is asked for while another waits has that one's
    /// answer: it begins later, and so sees all that this one would.
    pub fn command(&self, command: io::Engine) {
        if command == io::Engine::List && self.shared.list_waits.swap(true, Ordering::AcqRel) {
            return;
        }
        // An error means that the process is ending.
        let _ = self.commands.send(command);
    }

    /// The engine as it is now, and when that changes. The error says what is wrong and what to do.
    #[must_use]
    pub fn ready(&self) -> latest::Receiver<Result<Ready, String>> {
        self.shared.ready.subscribe()
    }

    /// The engine's first word: that it is there, or what is wrong.
    pub async fn first(&self) -> Result<Ready, String> {
        let mut ready = self.ready();
        let spoken = ready.wait_for(|ready| ready.as_ref().err().is_none_or(|problem| problem != NOT_YET));
        spoken.await.map_or_else(|_| Err(NOT_YET.into()), |ready| ready.clone())
    }

    /// The last lines that a module wrote, oldest first, each after its RFC 3339 time and a space.
    /// At most `tail` lines (and 10,000, and 1 MiB), from `since_ms` of the wall clock on.
    ///
    /// # Errors
    /// In words, with what to do.
    pub async fn logs(&self, module: &ModuleId, tail: u32, since_ms: u64) -> Result<String, String> {
        logs::read(&self.shared, module, tail, since_ms).await
    }

    /// The modules of which there is something in [`Self::previous_logs`], as `workload/module`. Reads the disk.
    #[must_use]
    pub fn with_previous_logs(&self) -> Vec<String> {
        previous::modules(&self.shared.settings.state)
    }

    /// What the container before the present one of a module wrote last, in lines as [`Self::logs`] gives them: at most `tail` (and
    /// 1,000, and 64 KiB). Reads the disk.
    ///
    /// # Errors
    /// When nothing of it is kept.
    pub fn previous_logs(&self, module: &ModuleId, tail: u32) -> std::io::Result<String> {
        previous::read(&self.shared.settings.state, module, tail)
    }

    /// Stops all containers of this device, each within its grace.
    pub async fn stop_all(&self) {
        work::stop_all(&self.shared).await;
    }
}

impl Shared {
    fn engine(&self) -> Result<Ready, String> {
        self.ready.borrow().clone()
    }

    fn now(&self, ready: Result<Ready, String>) {
        self.ready.send_modify(|before| *before = ready);
    }

    /// From now on a list may miss what happens: another one is worth asking for.
    fn begin_list(&self) {
        self.list_waits.store(false, Ordering::Release);
    }

    async fn tell(&self, event: wiring::Event) {
        // An error means that the process is ending.
        let _ = self.events.send(event).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateFolder;

    #[test]
    fn one_list_waits_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFolder::open(folder.path()).unwrap());
        let identity = Identity::load(&state).unwrap().0;
        let secrets = Arc::new(Secrets::load(&identity, folder.path(), state).0);
        let (engine, mut taken) = Engine::taken(Settings {
            identity,
            name: "ewr".into(),
            mqtt_port: 1883,
            credentials: Arc::default(),
            state: folder.path().to_owned(),
            policy: Policy::default(),
            secrets,
        });
        let remove = io::Engine::RemoveOrphan { container: "c1".into() };
        for command in [io::Engine::List, io::Engine::List, remove.clone(), io::Engine::List] {
            engine.command(command);
        }
        assert_eq!((taken.try_recv(), taken.try_recv()), (Ok(io::Engine::List), Ok(remove)));
        assert!(taken.try_recv().is_err());
        engine.shared.begin_list();
        engine.command(io::Engine::List);
        assert_eq!(taken.try_recv(), Ok(io::Engine::List));
    }
}
