//! The listener as the device sees it: bind, events out, commands in, close.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
    sync::{Semaphore, mpsc},
};
use tracing::{debug, info, warn};
use wayside_actors::{
    device::io::Mqtt,
    queue::{Endpoint, Queue},
};
use wayside_config::workload::ModuleId;

use super::{
    counts::Misdeed,
    entrance,
    event::MqttEvent,
    hub::{Audience, Hub},
    session::{Marks, Session},
    settings::{Authenticator, Settings},
    tls::Tls,
};

/// How long accepting pauses when the system has no file descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(200);

/// Connections that may wait to be accepted: who finds no room there tries again a second later.
const BACKLOG: u32 = 1024;

/// The MQTT listener. Commands never wait; they may come from any thread. Dropping it begins
/// what [`close`](Self::close) does and does not wait.
pub struct Listener {
    hub: Arc<Hub>,
    addresses: Vec<SocketAddr>,
    leaves: Arc<Semaphore>,
}

/// Where somebody is listened for.
pub(super) struct Place {
    pub(super) audience: Audience,
    pub(super) tls: Option<Tls>,
    /// How many more may connect to places of this kind.
    connections: Arc<Semaphore>,
}

/// The listener cannot begin.
#[derive(Debug, Error)]
#[error("cannot listen for MQTT on {address}: {source}; free the port, or set another in the settings")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl Listener {
    /// Listens for modules on all `addresses` (port 0 for any free one) and serves on the given Tokio runtime.
    /// Nobody may connect before [`Mqtt::Clients`] says who.
    ///
    /// `marks` are the store's marks (those that are no sessions are left out): a client whose session was
    /// kept finds it again. The events must be received as long as the listener lives.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub fn bind(
        addresses: &[SocketAddr],
        settings: Settings,
        authenticator: Arc<dyn Authenticator>,
        marks: impl IntoIterator<Item = (String, Vec<u8>)>,
        runtime: &Handle,
    ) -> Result<(Self, mpsc::Receiver<MqttEvent>), BindError> {
        let _context = runtime.enter();
        let sockets = addresses
            .iter()
            .map(|address| listen(*address).map_err(|source| BindError { address: *address, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let sessions = sessions(marks);
        info!(?addresses, kept_sessions = sessions.len(), "listening for MQTT");
        let connections = |settings: &Settings| Arc::new(Semaphore::new(settings.max_connections));
        let (modules, leaves) = (connections(&settings), connections(&settings));
        let (hub, events) = Hub::new(settings, authenticator, sessions, runtime.clone());
        let hub = Arc::new(hub);
        let place = Arc::new(Place { audience: Audience::Modules, tls: None, connections: modules });
        for socket in sockets {
            hub.tasks.spawn(accept(hub.clone(), socket, Arc::clone(&place)));
        }
        Ok((Self { hub, addresses, leaves }, events))
    }

    /// Listens for leaf devices on one more address, and says which it is.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn listen_for_leaves(&self, address: SocketAddr, tls: Option<Tls>) -> Result<SocketAddr, BindError> {
        let failed = |source| BindError { address, source };
        let _context = self.hub.runtime.enter();
        let socket = listen(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        info!(address = %bound, tls = tls.is_some(), "listening for leaf devices");
        let connections = Arc::clone(&self.leaves);
        let place = Arc::new(Place { audience: Audience::Leaves, tls, connections });
        self.hub.tasks.spawn(accept(self.hub.clone(), socket, place));
        Ok(bound)
    }

    /// Where it listens for modules, with the ports that it got.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Carries out a command of the device's machines.
    pub fn perform(&self, command: Mqtt) {
        let hub = &self.hub;
        match command {
            Mqtt::Accept { tickets } => hub.accept(&tickets),
            Mqtt::Deny { ticket } => hub.with_ticket(ticket, |session| session.deny(ticket)),
            Mqtt::Refuse { ticket, reason } => {
                hub.with_ticket(ticket, |session| session.refuse(ticket, reason));
            }
            Mqtt::Deliver { queue, first_seq, messages } => {
                if let Some(module) = module_of(&queue) {
                    let messages = hub.parcels(messages, &module);
                    hub.with_module(&module, |session| session.deliver(queue, first_seq, messages));
                }
            }
            Mqtt::Forward { queue, message } => {
                if let Some(module) = module_of(&queue) {
                    for parcel in hub.parcels(vec![message], &module) {
                        hub.with_module(&module, |session| session.forward(queue.route.clone(), parcel));
                    }
                }
            }
            Mqtt::Retained { module, messages } => {
                let parcels = hub.parcels(messages, &module);
                hub.with_module(&module, |session| session.retained(parcels));
            }
            Mqtt::Forget(queue) => {
                if let Some(module) = module_of(&queue) {
                    hub.with_module(&module, |session| session.forget(&queue));
                }
            }
            Mqtt::Call { call, module, method, body } => {
                hub.with_module(&module, |session| session.call(call, &method, body));
            }
            Mqtt::Desired { module, body } => hub.with_module(&module, |session| session.desired(body)),
            Mqtt::Withdraw { call, module } => hub.with_module(&module, |session| session.withdraw(call)),
            Mqtt::AskUp { module } => hub.with_module(&module, Session::tell_online),
            Mqtt::Names(names) => hub.set_names(names),
            Mqtt::Clients(clients) => hub.set_clients(clients),
            Mqtt::Pause => hub.pause(),
        }
    }

    /// Stops accepting and reading, waits (bounded by the settings) until what clients sent is answered, tells
    /// them that the device stops, and closes. Wills are not published: the modules live on. Events
    /// must still be received and answered meanwhile.
    pub async fn close(&self) {
        self.hub.closing.cancel();
        self.hub.tasks.close();
        let limit = self.hub.settings.drain_timeout + self.hub.settings.write_timeout;
        if tokio::time::timeout(limit, self.hub.tasks.wait()).await.is_err() {
            warn!("MQTT connections did not end in time");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.closing.cancel();
    }
}

/// Queues that lead elsewhere are none of the listener's.
fn module_of(queue: &Queue) -> Option<ModuleId> {
    match &queue.to {
        Endpoint::Module(module) => Some(module.clone()),
        Endpoint::Device(_) | Endpoint::Cloud => None,
    }
}

/// The sessions that marks tell of: the other way round of `router::session_mark` and `router::flights_mark`.
fn sessions(marks: impl IntoIterator<Item = (String, Vec<u8>)>) -> BTreeMap<ModuleId, Marks> {
    let mut sessions = BTreeMap::<ModuleId, Marks>::new();
    for (key, value) in marks {
        let Some((kind, Ok(module))) = key.split_once('/').map(|(kind, name)| (kind, name.parse())) else {
            continue;
        };
        match kind {
            "session" => sessions.entry(module).or_default().session = Some(value),
            "flights" => sessions.entry(module).or_default().flights = Some(value),
            _ => {}
        }
    }
    sessions
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So a restart finds its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(hub: Arc<Hub>, socket: TcpListener, place: Arc<Place>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = hub.closing.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an MQTT connection: trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // However many come at once, those that are here have their turn between any two.
        tokio::task::yield_now().await;
        let permit = Arc::clone(&place.connections).try_acquire_owned();
        let stranger = hub.door.enter(peer.ip(), hub.settings.max_strangers);
        let (Ok(permit), Some(stranger)) = (permit, stranger) else {
            hub.settings.counts.add(Misdeed::TurnedAway);
            debug!(%peer, "too many MQTT connections, or too many of this address without a password");
            continue;
        };
        let serving = entrance::serve(hub.clone(), stream, peer, stranger, Arc::clone(&place));
        hub.tasks.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use wayside_actors::device::router::{flights_mark, session_mark};

    use super::*;

    #[test]
    fn sessions_are_told_from_other_marks() {
        let module: ModuleId = "plant/sensor".parse().unwrap();
        let others = ["qos2/plant/sensor/7", "session/plant", "floor"].map(ToOwned::to_owned);
        let marks = others.into_iter().chain([session_mark(&module), flights_mark(&module)]);
        let marks = sessions(marks.map(|key| (key.clone(), key.into_bytes())));
        let expected = Marks {
            session: Some(session_mark(&module).into_bytes()),
            flights: Some(flights_mark(&module).into_bytes()),
        };
        assert_eq!(marks, BTreeMap::from([(module, expected)]));
    }
}
