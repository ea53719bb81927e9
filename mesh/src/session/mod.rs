//! The device's place on the mesh: a Zenoh session that is kept open whatever the network does.

mod addresses;
mod config;
mod inbox;
mod keeper;
mod outbox;
mod pulse;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::{SocketAddr, SocketAddrV4},
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};
use wayside_actors::{
    device::membership::Role,
    frame::Desired,
    message::{Batch, Confirm, Message},
    queue::Queue,
};
use wayside_config::identity::DeviceId;

pub use self::addresses::Excluded;
pub(crate) use self::addresses::{all_addresses, lan_ips};
pub(crate) use self::config::client_config;
pub use self::outbox::MeshCounters;
use self::outbox::{Outbox, Outgoing};
use crate::{
    circle::Circle,
    event::{self, MeshEvents},
    lost::Lost,
    pair::OwnKey,
};

/// How this device takes part.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// Whose links it takes. Clones are the same circle, and may change it while the mesh is open.
    pub circle: Circle,
    /// Whether it takes part from the beginning: see [`Mesh::take_part`].
    pub takes_part: bool,
    /// Its key, which is its name to all others.
    pub key: OwnKey,
    /// Its name, for people.
    pub name: String,
    /// Where to listen. Empty: a free port on every IPv4 address of this host, except loopback,
    /// the engine's bridges and what [`Self::exclude`] names.
    pub listen: Vec<SocketAddrV4>,
    /// Devices to dial besides those that are found.
    pub connect: Vec<SocketAddr>,
    /// Addresses of this host that are not the LAN: module networks. Clones share what is added later.
    pub exclude: Excluded,
    /// Where devices look for each other; `None` to look for nobody.
    pub scouting: Option<SocketAddrV4>,
    /// Counts the messages of best-effort routes that are not sent, or not taken. Clones share it.
    pub lost: Lost,
}

impl MeshSettings {
    /// What holds without configuration, for a device that takes part.
    #[must_use]
    pub fn new(circle: Circle, key: OwnKey, name: impl Into<String>) -> Self {
        Self {
            circle,
            takes_part: true,
            key,
            name: name.into(),
            listen: Vec::new(),
            connect: Vec::new(),
            exclude: Excluded::default(),
            scouting: Some(SCOUTING),
            lost: Lost::default(),
        }
    }
}

/// Zenoh's own multicast group and port.
pub const SCOUTING: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(224, 0, 0, 224), 7446);

/// The mesh could not be started at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the mesh's threads: {0}; free memory or raise the limit of processes")]
pub struct MeshError(#[from] std::io::Error);

/// A handle to the mesh. Cheap to clone; none of its methods blocks.
#[derive(Clone, Debug)]
pub struct Mesh {
    outbox: Outbox,
    closing: Arc<Notify>,
    role: watch::Sender<Role>,
    takes_part: watch::Sender<bool>,
    routers: inbox::Routers,
    closed: watch::Receiver<bool>,
    listening: watch::Receiver<Vec<SocketAddrV4>>,
}

impl Mesh {
    /// Starts the mesh on threads of its own: Zenoh does not live on a current-thread runtime such as
    /// actix's. Returns at once; whatever keeps it from working comes as [`crate::event::MeshEvent::Problem`]
    /// and is tried again.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn open(settings: MeshSettings) -> Result<(Self, MeshEvents), MeshError> {
        let (events, receiver) = event::channel();
        let closing = Arc::new(Notify::new());
        let (closed_sender, closed) = watch::channel(false);
        let (listening_sender, listening) = watch::channel(Vec::new());
        let role = watch::Sender::new(Role::Peer);
        let takes_part = watch::Sender::new(settings.takes_part);
        let routers = inbox::Routers::default();
        let outbox = Outbox::start(settings.key.clone(), settings.lost.clone())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mesh")
            .enable_all()
            .build()?;
        let (keeper_outbox, keeper_closing) = (outbox.clone(), closing.clone());
        let (keeper_role, keeper_routers) = (role.subscribe(), Arc::clone(&routers));
        let keeper_takes_part = takes_part.subscribe();
        std::thread::Builder::new().name("mesh-keeper".into()).spawn(move || {
            let told = events.clone();
            let keeper = keeper::Keeper {
                settings,
                events,
                failures: pulse::Failures::default(),
                problem: None,
                outbox: keeper_outbox,
                closing: keeper_closing,
                listening: listening_sender,
                role: keeper_role,
                takes_part: keeper_takes_part,
                routers: keeper_routers,
            };
            if let Err(error) = runtime.block_on(async { tokio::spawn(keeper.run()).await }) {
                tracing::error!(%error, "the mesh has ended");
                let problem =
                    format!("the mesh has ended ({error}): restart the daemon, and please report this");
                told.life(event::MeshEvent::Problem(Some(problem)));
            }
            closed_sender.send_replace(true);
        })?;
        Ok((Self { outbox, closing, role, takes_part, routers, closed, listening }, receiver))
    }

    /// Sends messages. `false` when they were dropped, for the link is slower than its senders: the
    /// delivery sends them again.
    pub fn send(&self, to: DeviceId, batch: Batch) -> bool {
        self.outbox.push(Outgoing::Batch(to, batch))
    }

    /// Sends a message of the best-effort route that `queue` names. `false` when it is lost, and counted: nobody sends it again.
    pub fn forward(&self, to: DeviceId, queue: Queue, message: Message) -> bool {
        self.outbox.push(Outgoing::Live(to, queue, message))
    }

    /// Confirms messages. `false` as in [`Self::send`].
    pub fn confirm(&self, to: DeviceId, confirm: Confirm) -> bool {
        self.outbox.push(Outgoing::Confirm(to, confirm))
    }

    /// Hands a device what operators signed for it. `false` as in [`Self::send`]; nobody confirms it.
    pub fn hand(&self, to: DeviceId, desired: Desired) -> bool {
        self.outbox.push(Outgoing::Desired(to, desired))
    }

    /// Takes part like this from now on. A change opens the session anew: what is under way is lost, and deliveries
    /// send it again.
    pub fn take_role(&self, role: Role) {
        self.role.send_if_modified(|before| std::mem::replace(before, role) != role);
    }

    /// Whether it takes part at all from now on: a device that nobody has admitted, or that is admitted no more, listens
    /// nowhere and looks for nobody.
    pub fn take_part(&self, takes_part: bool) {
        self.takes_part.send_if_modified(|before| std::mem::replace(before, takes_part) != takes_part);
    }

    /// How this device takes part, or is about to.
    #[must_use]
    pub fn role(&self) -> Role {
        *self.role.borrow()
    }

    /// The devices that route for others, as far as this one sees.
    #[must_use]
    pub fn routers(&self) -> BTreeSet<DeviceId> {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was sent, received and dropped since the start.
    #[must_use]
    pub fn counters(&self) -> MeshCounters {
        self.outbox.counters()
    }

    /// Where neighbours reach this device now; empty while the session is not open.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddrV4> {
        self.listening.borrow().clone()
    }

    /// The same, and when that changes.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Vec<SocketAddrV4>> {
        self.listening.clone()
    }

    /// Withdraws this device's token and closes its links, for at most two seconds.
    pub async fn close(&self) {
        self.closing.notify_one();
        let mut closed = self.closed.clone();
        let _ = tokio::time::timeout(Duration::from_secs(2), closed.wait_for(|closed| *closed)).await;
    }
}

type OutgoingSender = mpsc::Sender<(usize, Outgoing)>;
