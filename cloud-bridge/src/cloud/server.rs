//! Takes connections of devices, and carries frames between them and their sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::ArbiterHandle;
use quinn::{Connection, ConnectionError, Endpoint, Incoming, RecvStream, SendStream};
use tokio::{
    sync::{Notify, mpsc, oneshot},
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
    entrance::{Entrance, Place, Seat},
    hub::{Hub, Outgoing, Session},
    shell::SessionShell,
};
use crate::{
    tls,
    transport::{self, CLOSED, CLOSED_BY_DEVICE},
    wire::{MAX_FRAME_BYTES, MAX_HELLO_BYTES, read_frame},
};

/// For the handshake and for the device to open its stream.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// From then to the Welcome.
const ADMISSION: Duration = Duration::from_secs(10);

/// Frames that wait for a slow device.
const OUTBOX: usize = 64;

/// A device that takes nothing for this long is left.
const STUCK: Duration = Duration::from_secs(30);

/// For what was written to arrive before a connection is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// A conversation that went on for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// What accepting needs.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) hub: Arc<Hub>,
    /// Starts the sessions' actors.
    pub(super) host: Arc<Host>,
    /// Where they run.
    pub(super) arbiter: ArbiterHandle,
    /// Who may in.
    pub(super) entrance: Arc<Entrance>,
}

impl Server {
    /// Accepts until the endpoint is closed.
    pub(super) async fn run(self, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let from = incoming.remote_address().ip();
            if !incoming.remote_address_validated() && self.entrance.wants_proof(from) {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a retry was not sent");
                }
                continue;
            }
            match self.entrance.handshake(from) {
                Some(place) => {
                    tokio::spawn(self.clone().serve(incoming, place));
                }
                None => incoming.refuse(),
            }
        }
    }

    async fn serve(self, incoming: Incoming, place: Place) {
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
        let Some(device) = tls::peer_key(&connection) else {
            return connection.close(CLOSED, b"no Ed25519 key was shown");
        };
        let is_known = self.hub.view.device(&device).is_some();
        let seat = match self.entrance.seat(is_known, from.ip()) {
            Ok(seat) => seat,
            Err(reason) => return connection.close(CLOSED, reason.as_bytes()),
        };
        drop(place);
        tracing::debug!(%from, device = %device.short(), is_known, "connected");
        if let Err(reason) = self.converse(device, seat, &connection, to_device, from_device).await {
            tracing::error!(device = %device.short(), reason, "a session could not begin");
            connection.close(CLOSED, b"the cloud cannot serve this device now");
        }
    }

    /// Opens the device's session and carries its frames until the connection ends.
    async fn converse(
        &self,
        device: DeviceId,
        seat: Seat,
        connection: &Connection,
        to_device: SendStream,
        mut from_device: RecvStream,
    ) -> Result<(), String> {
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let welcomed = Arc::new(Notify::new());
        let address = self.open(device, connection, outbox, Arc::clone(&welcomed)).await?;
        tokio::spawn(write(to_device, connection.clone(), outgoing));
        let admission = timeout(ADMISSION, admit(&mut from_device, &address, &welcomed, connection));
        let admitted = tokio::select! {
            admitted = admission => admitted.unwrap_or_else(|_| Err("it was not admitted in time".into())),
            error = connection.closed() => Err(error.to_string()),
        };
        let seat = admitted.and_then(|()| self.entrance.admit(seat).map_err(str::to_owned));
        let reason = match &seat {
            Err(reason) => reason.clone(),
            Ok(_) => {
                connection.set_receive_window(transport::RECEIVE);
                let since = Instant::now();
                let reason = read(&mut from_device, &address, connection).await;
                let is_ours = matches!(connection.close_reason(), Some(ConnectionError::LocallyClosed));
                if since.elapsed() >= GOOD && !is_ours {
                    self.hub.served(device);
                }
                if let Some(ConnectionError::ApplicationClosed(close)) = connection.close_reason()
                    && close.reason != CLOSED_BY_DEVICE
                {
                    self.hub.say_once(device, &String::from_utf8_lossy(&close.reason));
                }
                reason
            }
        };
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
        welcomed: Arc<Notify>,
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
            welcomed,
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

/// Carries the `Hello`. Nothing that follows it is read before the Welcome is sent.
async fn admit(
    stream: &mut RecvStream,
    address: &Address<Event>,
    welcomed: &Notify,
    connection: &Connection,
) -> Result<(), String> {
    pass_on(stream, MAX_HELLO_BYTES, address, connection).await?;
    welcomed.notified().await;
    Ok(())
}

/// Carries frames. Gives the reason why there are no more.
async fn read(stream: &mut RecvStream, address: &Address<Event>, connection: &Connection) -> String {
    loop {
        if let Err(reason) = pass_on(stream, MAX_FRAME_BYTES, address, connection).await {
            return reason;
        }
    }
}

async fn pass_on(
    stream: &mut RecvStream,
    limit: usize,
    address: &Address<Event>,
    connection: &Connection,
) -> Result<(), String> {
    let frame = match read_frame::<ToCloud>(stream, limit).await {
        Ok(frame) => frame.ok_or("the device ended the conversation")?,
        Err(error) => {
            let reason = error.to_string();
            if error.is_of_the_peer() {
                // The session says so to the device and closes. An error means that it has ended.
                let _ = address.send(Event::Unreadable { reason: reason.clone() }, 0).await;
                let _ = timeout(2 * DRAIN, connection.closed()).await;
            }
            return Err(reason);
        }
    };
    let bytes = payload_bytes(&frame);
    let event = Event::Frame { frame: Box::new(frame), wall_ms: wall_ms() };
    address.send(event, bytes).await.map_err(|error| match error {
        SendError::Busy | SendError::Exited => "the session ended".to_owned(),
    })
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
        ToCloud::Twin(_, twin) => twin.cost_bytes(),
        ToCloud::TwinRefused { reason, .. } => reason.len() + 64,
        ToCloud::TwinNames(modules) => {
            modules.iter().map(|module| module.workload.len() + module.module.len() + 48).sum()
        }
        ToCloud::Answer(answer) => answer.result.as_ref().map_or_else(String::len, String::len),
        ToCloud::Report(report) => report.cost_bytes(),
        ToCloud::Clock { .. } => 0,
        // At most MAX_HELLO_BYTES, and one of its own a connection.
        ToCloud::Hello(_) => MAX_HELLO_BYTES,
    }
}
