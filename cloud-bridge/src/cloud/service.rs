//! The service from start to stop.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{Endpoint, ServerConfig, TokioRuntime, crypto::rustls::QuicServerConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use wayside_actors::cloud::fleet::{self, Fleet};
use wayside_config::join::JoinLink;
use wayside_host::{Clock, Host};

use super::{
    api,
    entrance::Entrance,
    hub::Hub,
    links::Links,
    options::Options,
    server::Server,
    shell::FleetShell,
    state::{State, StateError},
    store::{Store, StoreError},
    view::View,
};
use crate::{
    tls::{self, TlsError},
    transport::{self, CLOSED},
};

/// For sessions to store what they hold, and for closing words to reach devices.
const STOP: Duration = Duration::from_secs(5);

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {source}; {hint}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// Why not.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The system lacks something.
    #[error("the service cannot start: {0}")]
    System(io::Error),
    /// The fleet's machine was given up.
    #[error("the fleet failed too often: {0}; what is stored is safe, start the service again")]
    Fleet(String),
}

/// Runs the service until it is told to stop or cannot go on. `started` hears how to use it.
///
/// # Errors
/// See [`ServiceError`].
pub fn run(options: &Options, started: impl FnOnce(&Links)) -> Result<(), ServiceError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("io")
        .build()
        .map_err(ServiceError::System)?;
    let result = actix::System::new().block_on(serve(options, runtime.handle(), started));
    runtime.shutdown_timeout(STOP);
    result
}

async fn serve(
    options: &Options,
    runtime: &tokio::runtime::Handle,
    started: impl FnOnce(&Links),
) -> Result<(), ServiceError> {
    let state = State::open(&options.state_folder(), options.pinned())?;
    let (endpoint, listener) = {
        let _entered = runtime.enter();
        (bind_endpoint(options.listen, &state)?, bind_api(options.api)?)
    };
    let store = Store::open(&state.store(), &state.damaged(), options.keep_bytes)?;
    let (listen, api) =
        (endpoint.local_addr().unwrap_or(options.listen), listener.local_addr().unwrap_or(options.api));
    let links = Links {
        page: format!("http://{}/", reachable(api)),
        token: state.api_token().to_owned(),
        join: join_link(options, &state, listen),
        state: state.folder().to_owned(),
    };
    state.keep_links(&links.whole())?;
    if let Some(problem) = state.fleet_problem() {
        tracing::error!("{problem}");
    }
    let view = View::new(store.devices()?);
    for ((device, module), record) in store.twins()? {
        view.put_twin(device, module, Some(Box::new(record)));
    }
    let hub = Arc::new(Hub::new(state, store.clone(), view, store.releases()?));

    let (host, clock) = {
        let clock = Clock::start();
        (Arc::new(Host::new(clock)), clock)
    };
    let (failed, mut fleet_failed) = mpsc::unbounded_channel();
    let fleet = host.spawn::<Fleet, _>("fleet", FleetShell { hub: Arc::clone(&hub), clock, failed });
    // The fleet has just been started, so it takes this.
    let _ = fleet.tell(fleet::Event::Started);
    hub.set_fleet(fleet.clone());

    let entrance = Arc::new(Entrance::new(options.max_devices as usize));
    let server = Server {
        hub: Arc::clone(&hub),
        host,
        arbiter: actix::Arbiter::current(),
        entrance: Arc::clone(&entrance),
    };
    runtime.spawn(server.run(endpoint.clone()));
    runtime.spawn(tick(Arc::clone(&hub), entrance));
    let (stop_api, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn(api::serve(listener, Arc::clone(&hub), stopped));
    tracing::info!(%listen, %api, key = %hub.state.public_key(), "the cloud is up");
    started(&links);

    let ended = tokio::select! {
        signal = stop_signal() => signal.map_err(ServiceError::System),
        error = store_failed(&store) => Err(error.into()),
        Some(reason) = fleet_failed.recv() => Err(ServiceError::Fleet(reason)),
    };
    tracing::info!("stopping");
    drop(stop_api);
    if timeout(STOP, stop(&hub, &endpoint)).await.is_err() {
        tracing::warn!("some sessions did not end in time; devices send again what was not confirmed");
    }
    fleet.end().await;
    serving.abort();
    tracing::info!("stopped");
    ended
}

/// Ends all sessions; what they have taken is stored before.
async fn stop(hub: &Hub, endpoint: &Endpoint) {
    endpoint.set_server_config(None);
    let sessions = hub.sessions();
    for session in &sessions {
        session.connection.close(CLOSED, b"the cloud is stopping");
    }
    for session in sessions {
        session.address.end().await;
    }
    endpoint.close(CLOSED, b"the cloud is stopping");
    endpoint.wait_idle().await;
}

async fn stop_signal() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Resolves when nothing can be stored any more.
async fn store_failed(store: &Store) -> StoreError {
    let mut status = store.status();
    let failed = status.wait_for(|status| status.failed.is_some()).await;
    failed.ok().and_then(|status| status.failed.clone()).unwrap_or(StoreError::Closed)
}

/// Once a second, how fast messages come and whether somebody was turned away.
async fn tick(hub: Arc<Hub>, entrance: Arc<Entrance>) {
    let status = hub.store.status();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        hub.view.tick(&status.borrow().stored);
        let turned_away = entrance.take_turned_away();
        if turned_away > 0 {
            tracing::warn!(
                turned_away,
                "connections were turned away: all places, or those of their address, were taken"
            );
        }
    }
}

fn bind_endpoint(address: SocketAddr, state: &State) -> Result<Endpoint, ServiceError> {
    let crypto = QuicServerConfig::try_from(tls::server_config(state.key())?)
        .map_err(|error| TlsError::new(&error))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport::cloud()));
    let socket = UdpSocket::bind(address).map_err(|error| listen_error(address, "devices, UDP", error))?;
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(transport::endpoint(state.key()), Some(config), socket, runtime)
        .map_err(ServiceError::System)
}

fn bind_api(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener =
        std::net::TcpListener::bind(address).map_err(|error| listen_error(address, "API, TCP", error))?;
    listener.set_nonblocking(true).map_err(ServiceError::System)?;
    TcpListener::from_std(listener).map_err(ServiceError::System)
}

fn listen_error(address: SocketAddr, what: &'static str, source: io::Error) -> ServiceError {
    let hint = if source.kind() == io::ErrorKind::AddrInUse {
        "something else listens there: stop it, or choose another port"
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 need root: choose a higher one"
    } else {
        "choose an address that this machine has"
    };
    ServiceError::Listen { address, what, source, hint }
}

/// The address by which this machine reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}

fn join_link(options: &Options, state: &State, listen: SocketAddr) -> JoinLink {
    let host = options.advertise.clone().unwrap_or_else(|| {
        let ip = if listen.ip().is_unspecified() { own_address() } else { listen.ip() };
        ip.to_string()
    });
    let token = Some(state.join_token().to_owned());
    JoinLink { host, port: listen.port(), key: state.public_key(), token }
}

/// The address from which this machine would reach others. Nothing is sent for that.
fn own_address() -> IpAddr {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
