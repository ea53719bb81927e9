//! Takes connections of devices, and carries frames between them and their sessions.

use std::{sync::Arc, time::Duration};

use actix::ArbiterHandle;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use wayside_actors::{
    cloud::session::{Event, Session as Machine},
    frame::ToCloud,
};
use wayside_config::identity::DeviceId;
use wayside_host::{Address, Host, SendError};

use super::{
    clock::wall_ms,
    hub::{Hub, Outgoing, Session},
    shell::SessionShell,
};
use crate::{
    tls,
    transport::CLOSED,
    wire::{MAX_FRAME_BYTES, MAX_HELLO_BYTES, read_frame},
};

/// For the handshake, and again for the device to open its stream.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes at the same time above which a client first has to show that its address is its own.
const UNVALIDATED: usize = 64;

/// Handshakes at the same time; more are turned away and come again.
const HANDSHAKES: usize = 1024;

/// Frames that wait for a slow device.
const OUTBOX: usize = 64;

/// A device that takes nothing for this long is left.
const STUCK: Duration = Duration::from_secs(30);

/// For what was written to arrive before a connection is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// What accepting needs.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) hub: Arc<Hub>,
    /// Starts the sessions' actors.
    pub(super) host: Arc<Host>,
    /// Where they run.
    pub(super) arbiter: ArbiterHandle,
    /// How many connections there may be.
    pub(super) connections: Arc<Semaphore>,
}

impl Server {
    /// Accepts until the endpoint is closed.
    pub(super) async fn run(self, endpoint: Endpoint) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        while let Some(incoming) = endpoint.accept().await {
            let busy = HANDSHAKES - handshakes.available_permits();
            if busy > UNVALIDATED && !incoming.remote_address_validated() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a retry was not sent");
                }
                continue;
            }
            let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
                tracing::warn!(from = %incoming.remote_address(), "all connections are taken: refused");
                incoming.refuse();
                continue;
            };
            tokio::spawn(self.clone().serve(incoming, handshake, place));
        }
    }

    async fn serve(self, incoming: Incoming, handshake: OwnedSemaphorePermit, place: OwnedSemaphorePermit) {
        let from = incoming.remote_address();
        let shaken = timeout(HANDSHAKE, async {
            let connection = incoming.await?;
            let streams = connection.accept_bi().await?;
            Ok::<_, quinn::ConnectionError>((connection, streams))
        });
        let (connection, (to_device, from_device)) = match shaken.await {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "a handshake failed"),
            Err(_) => return tracing::debug!(%from, "a handshake took too long"),
        };
        drop(handshake);
        let Some(device) = tls::peer_key(&connection) else {
            return connection.close(CLOSED, b"no Ed25519 key was shown");
        };
        tracing::debug!(%from, device = %device.short(), "connected");
        if let Err(reason) = self.converse(device, &connection, to_device, from_device).await {
            tracing::error!(device = %device.short(), reason, "a session could not begin");
            connection.close(CLOSED, b"the cloud cannot serve this device now");
        }
        drop(place);
    }

    /// Opens the device's session and carries its frames until the connection ends.
    async fn converse(
        &self,
        device: DeviceId,
        connection: &Connection,
        to_device: SendStream,
        mut from_device: RecvStream,
    ) -> Result<(), String> {
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let address = self.open(device, connection, outbox).await?;
        tokio::spawn(write(to_device, connection.clone(), outgoing));
        let reason = read(&mut from_device, &address).await;
        let reason = connection.close_reason().map_or(reason, |error| error.to_string());
        tracing::debug!(device = %device.short(), reason, "disconnected");
        connection.close(CLOSED, reason.as_bytes());
        // The session may have ended by another way.
        let _ = address.send(Event::Closed, 0).await;
        Ok(())
    }

    /// Ends the device's older session, waits until all it led to is stored, and begins a new one.
    async fn open(
        &self,
        device: DeviceId,
        connection: &Connection,
        outbox: mpsc::Sender<Outgoing>,
    ) -> Result<Address<Event>, String> {
        let _gate = self.hub.gate(&device).await;
        if let Some(older) = self.hub.session(&device) {
            older.connection.close(CLOSED, b"the device connected again");
            // An error means that it has ended already.
            let _ = older.address.tell(Event::Closed);
            older.address.end().await;
            self.hub.leave(&device, older.number);
        }
        let store = self.hub.store.clone();
        let windows = tokio::task::spawn_blocking(move || store.windows(&device))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let number = self.hub.number();
        let shell = SessionShell {
            hub: Arc::clone(&self.hub),
            device,
            number,
            outbox,
            connection: connection.clone(),
        };
        let address = self.spawn(device, shell).await?;
        let session = Session { number, address: address.clone(), connection: connection.clone() };
        self.hub.enter(device, session);
        address.send(Event::Opened { windows }, 0).await.map_err(|error| error.to_string())?;
        Ok(address)
    }

    async fn spawn(&self, device: DeviceId, shell: SessionShell) -> Result<Address<Event>, String> {
        let (host, (started, address)) = (Arc::clone(&self.host), oneshot::channel());
        self.arbiter.spawn_fn(move || {
            // Nobody waits any more when the service is ending.
            let _ = started.send(host.spawn::<Machine, _>(format!("session {}", device.short()), shell));
        });
        address.await.map_err(|_| "the service is stopping".to_owned())
    }
}

async fn read(stream: &mut RecvStream, address: &Address<Event>) -> String {
    let mut limit = MAX_HELLO_BYTES;
    loop {
        let frame = match read_frame::<ToCloud>(stream, limit).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "the device ended the conversation".into(),
            Err(error) => return error.to_string(),
        };
        limit = MAX_FRAME_BYTES;
        let bytes = payload_bytes(&frame);
        let event = Event::Frame { frame: Box::new(frame), wall_ms: wall_ms() };
        match address.send(event, bytes).await {
            Ok(()) => {}
            Err(SendError::Busy | SendError::Exited) => return "the session ended".into(),
        }
    }
}

async fn write(mut stream: SendStream, connection: Connection, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some(next) = outgoing.recv().await {
        match next {
            Outgoing::Frame(bytes) => match timeout(STUCK, stream.write_chunk(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return connection.close(CLOSED, b"the device took nothing for too long"),
            },
            Outgoing::Close(reason) => {
                // What cannot arrive any more needs no error.
                let _ = stream.finish();
                let _ = timeout(DRAIN, stream.stopped()).await;
                return connection.close(CLOSED, reason.as_bytes());
            }
        }
    }
}

fn payload_bytes(frame: &ToCloud) -> usize {
    match frame {
        ToCloud::Batch(batch) => {
            batch.messages.iter().map(wayside_actors::message::Message::cost_bytes).sum()
        }
        ToCloud::Answer(answer) => answer.result.as_ref().map_or_else(String::len, String::len),
        ToCloud::Hello(_) | ToCloud::Report(_) => 0,
    }
}
