//! Keeps one Zenoh session open: opens it, again when the host's addresses change or when it fails inside, without
//! multicast when there is none, and names what is wrong meanwhile.

use std::{
    net::{SocketAddrV4, TcpListener, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::spawn_blocking,
    time::timeout,
};
use wayside_actors::device::membership::Role;
use zenoh::{Session, liveliness::LivelinessToken};

use super::{
    MeshSettings,
    addresses::{Address, lan_addresses},
    config::Opening,
    inbox::{Inbox, Routers},
    outbox::Outbox,
    pulse::{Failures, Pulse, feel},
};
use crate::{
    event::{EventSender, MeshEvent},
    keys,
};

/// How often the host's addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a client looks whether it has its router still: one that found it by looking around does not look again.
const LOOK_FOR_ROUTER: Duration = Duration::from_millis(500);

/// How soon opening is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How often the session is asked whether it lives, when nothing makes one doubt it.
const FEEL_EVERY: Duration = Duration::from_secs(10);

/// For a session to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(12);

/// How long a session without multicast is kept before it is tried again.
const RETRY_MULTICAST: Duration = Duration::from_secs(30);

pub(super) struct Keeper {
    pub(super) settings: MeshSettings,
    pub(super) events: EventSender,
    pub(super) outbox: Outbox,
    pub(super) closing: Arc<Notify>,
    /// Where the open session listens.
    pub(super) listening: watch::Sender<Vec<SocketAddrV4>>,
    /// How to take part.
    pub(super) role: watch::Receiver<Role>,
    /// Whether to take part at all.
    pub(super) takes_part: watch::Receiver<bool>,
    /// Who routes for others.
    pub(super) routers: Routers,
    /// Sessions that failed.
    pub(super) failures: Failures,
    /// What was told to be wrong.
    pub(super) problem: Option<String>,
}

/// Why a session is not kept.
enum End {
    /// The mesh is closed.
    Closed,
    /// It is to be opened anew, at once.
    Anew,
    /// It does not live any more.
    Failed(String),
}

/// An open session and what it was opened for.
struct Opened {
    session: Session,
    inbox: Inbox,
    role: Role,
    /// What is not well with it.
    trouble: Option<String>,
    /// Withdrawn when dropped.
    tokens: Vec<LivelinessToken>,
    listen: Vec<SocketAddrV4>,
    addresses: Vec<Address>,
    multicast: bool,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        loop {
            if !*self.takes_part.borrow_and_update() {
                self.tell(None);
                tokio::select! {
                    () = self.closing.notified() => return,
                    () = told(&mut self.takes_part) => {}
                }
                continue;
            }
            let role = *self.role.borrow_and_update();
            let wait = match self.open(role).await {
                Ok(opened) => {
                    let end = self.keep(&opened).await;
                    self.outbox.use_session(None);
                    self.listening.send_replace(Vec::new());
                    let wait = match &end {
                        End::Closed | End::Anew => Duration::ZERO,
                        End::Failed(reason) => {
                            tracing::error!(reason, "the mesh session failed inside; opening the mesh again");
                            self.failures.add(reason.clone())
                        }
                    };
                    if !wait.is_zero() {
                        self.tell(self.failures.problem());
                    }
                    opened.close().await;
                    if matches!(end, End::Closed) {
                        return;
                    }
                    wait
                }
                Err(trouble) => {
                    self.tell(Some(trouble));
                    RETRY_AFTER
                }
            };
            tokio::select! {
                () = self.closing.notified() => return,
                () = told(&mut self.role) => {}
                () = told(&mut self.takes_part) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Opens a session, if need be without scouting, or gives why there is none.
    async fn open(&self, role: Role) -> Result<Opened, String> {
        let addresses = self.addresses();
        let listen: Vec<SocketAddrV4> = if self.settings.listen.is_empty() {
            addresses.iter().map(|address| with_port(SocketAddrV4::new(address.ip, 0))).collect()
        } else {
            self.settings.listen.iter().copied().map(with_port).collect()
        };
        if listen.is_empty() {
            return Err(
                "no network: this host has no IPv4 address on a LAN; connect it, or set `mesh.listen`".into(),
            );
        }
        let mut trouble = None;
        if let Some(group) = self.settings.scouting {
            match self.open_as(role, &listen, &addresses, Some(group)).await {
                Ok(opened) => return Ok(opened),
                Err(error) if role == Role::Client => {
                    return Err(format!("no router of this site answers: {error}; it is looked for again"));
                }
                Err(error) => {
                    trouble = Some(format!(
                        "no multicast: {error}; neighbours are not found until it works: check the firewall for UDP {group}, \
                         or name devices in `mesh.connect`"
                    ));
                }
            }
        }
        // Who cannot look around cannot find routers, nor be found as one.
        match self.open_as(Role::Peer, &listen, &addresses, None).await {
            Ok(opened) => Ok(Opened { trouble, ..opened }),
            Err(error) => Err(format!("the mesh cannot listen on {listen:?}: {error}; check `mesh.listen`")),
        }
    }

    async fn open_as(
        &self,
        role: Role,
        listen: &[SocketAddrV4],
        addresses: &[Address],
        scouting: Option<SocketAddrV4>,
    ) -> zenoh::Result<Opened> {
        if let Some(group) = scouting {
            listen.iter().try_for_each(|address| can_multicast(group, *address))?;
        }
        let (circle, connect) = (self.settings.circle.name(), &self.settings.connect);
        let opening = Opening { circle, role, listen, connect, scouting };
        let session = zenoh::open(opening.config()?).await?;
        let inbox = Inbox {
            device: self.settings.key.device(),
            pairs: self.outbox.pairs(),
            events: self.events.clone(),
            counters: self.outbox.live_counters(),
            lost: self.settings.lost.clone(),
            alive: Arc::default(),
            routers: Arc::clone(&self.routers),
        };
        let tokens = self.declare(role, &session, &inbox).await?;
        let listen: &[SocketAddrV4] = if role == Role::Client { &[] } else { listen };
        self.outbox.use_session(Some(session.clone()));
        self.listening.send_replace(listen.to_vec());
        tracing::info!(session = %session.zid(), ?role, ?listen, scouting = scouting.is_some(), "mesh is open");
        Ok(Opened {
            session,
            inbox,
            role,
            trouble: None,
            tokens,
            listen: listen.to_vec(),
            addresses: addresses.to_vec(),
            multicast: scouting.is_some(),
        })
    }

    async fn declare(
        &self,
        role: Role,
        session: &Session,
        inbox: &Inbox,
    ) -> zenoh::Result<Vec<LivelinessToken>> {
        let device = &self.settings.key.device();
        let [arrivals, tokens, routers, questions] = std::array::from_fn(|_| inbox.clone());
        session
            .declare_subscriber(keys::inbox(device))
            .callback(move |sample| arrivals.arrived(&sample))
            .background()
            .await?;
        session
            .declare_queryable(keys::control(device))
            .callback(move |query| questions.asked(query))
            .background()
            .await?;
        session
            .liveliness()
            .declare_subscriber(keys::ALIVE)
            .history(true)
            .callback(move |sample| tokens.token(&sample))
            .background()
            .await?;
        session
            .liveliness()
            .declare_subscriber(keys::ROUTES)
            .history(true)
            .callback(move |sample| routers.routes(&sample))
            .background()
            .await?;
        let mut tokens = Vec::new();
        if role == Role::Router {
            tokens.push(session.liveliness().declare_token(keys::routes(device)).await?);
        }
        tokens.push(session.liveliness().declare_token(keys::alive(device, &self.settings.name)).await?);
        Ok(tokens)
    }

    /// Waits until the session cannot be kept.
    async fn keep(&mut self, opened: &Opened) -> End {
        let (opened_at, mut before) = (Instant::now(), opened.addresses.clone());
        let (mut felt_at, mut is_late) = (Instant::now(), false);
        loop {
            self.failures.lived(opened_at.elapsed());
            self.tell(opened.trouble.clone().or_else(|| self.failures.problem()));
            let is_doubted = tokio::select! {
                () = self.closing.notified() => return End::Closed,
                () = told(&mut self.role) => {
                    tracing::info!("the site has another use for this device; opening the mesh again");
                    return End::Anew;
                }
                () = told(&mut self.takes_part) => return End::Anew,
                () = self.outbox.doubts() => true,
                () = tokio::time::sleep(if opened.role == Role::Client { LOOK_FOR_ROUTER } else { LOOK_EVERY }) => false,
            };
            if is_doubted || felt_at.elapsed() >= FEEL_EVERY {
                let key = keys::alive(&self.settings.key.device(), &self.settings.name);
                let pulse = tokio::select! {
                    () = self.closing.notified() => return End::Closed,
                    pulse = feel(opened.session.clone(), key) => pulse,
                };
                match pulse {
                    Pulse::Beats => is_late = false,
                    Pulse::Late if is_late => return End::Failed("it answers nothing".into()),
                    Pulse::Late => is_late = true,
                    Pulse::None(reason) => return End::Failed(reason),
                }
                felt_at = Instant::now();
            }
            if opened.role == Role::Client && opened.session.info().routers_zid().await.count() == 0 {
                tracing::info!("this device's router is gone; looking for another");
                return End::Anew;
            }
            // An address that went away may carry links: without this they would be missed only when their
            // lease ends, and come back only with the next scouting. Seen twice, for one that has just come
            // up may still be excluded.
            let now = self.addresses();
            if now != opened.addresses && now == before {
                tracing::info!("this host's addresses have changed; opening the mesh again");
                return End::Anew;
            }
            before = now;
            if let Some(group) = self.settings.scouting
                && !opened.multicast
                && opened_at.elapsed() > RETRY_MULTICAST
                && opened.listen.iter().all(|address| can_multicast(group, *address).is_ok())
            {
                tracing::info!("trying multicast again; opening the mesh again");
                return End::Anew;
            }
        }
    }

    fn addresses(&self) -> Vec<Address> {
        if self.settings.listen.is_empty() { lan_addresses(&self.settings.exclude.all()) } else { Vec::new() }
    }

    fn tell(&mut self, now: Option<String>) {
        if self.problem != now {
            if let Some(problem) = &now {
                tracing::warn!(problem, "the mesh does not work whole");
            }
            self.events.life(MeshEvent::Problem(now.clone()));
            self.problem = now;
        }
    }
}

impl Opened {
    /// Closes the session in whatever state it is. One that failed inside may panic: what is left of it is then left
    /// alone, a few megabytes, for a panic while another is under way would end the program.
    async fn close(self) {
        let Self { session, inbox, tokens, .. } = self;
        let (runtime, closed) = (Handle::current(), session.clone());
        let closing = spawn_blocking(move || runtime.block_on(async { closed.close().await }));
        match timeout(CLOSE_WITHIN, closing).await {
            Ok(Ok(Ok(()))) => drop((tokens, session)),
            failed => {
                tracing::warn!(?failed, "a mesh session did not close");
                std::mem::forget((tokens, session));
            }
        }
        inbox.end();
    }
}

/// Resolves when the device is to take part otherwise.
async fn told<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        // Nobody can tell any more: the mesh is being closed.
        std::future::pending().await
    }
}

/// A free port where none is named: Zenoh would take one and not tell which. Should another program take it first, opening
/// fails and is tried again with another.
fn with_port(address: SocketAddrV4) -> SocketAddrV4 {
    if address.port() != 0 {
        return address;
    }
    let found = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    SocketAddrV4::new(*address.ip(), found.map_or(0, |found| found.port()))
}

/// Whether the group can be joined on this address. Zenoh fails as a whole when it cannot.
fn can_multicast(group: SocketAddrV4, on: SocketAddrV4) -> zenoh::Result<()> {
    let socket = UdpSocket::bind((*on.ip(), 0))?;
    socket.join_multicast_v4(group.ip(), on.ip())?;
    Ok(())
}
