//! The uplink as the device's uplink machine commands it. Decides nothing: when to connect, and when
//! to try again, is the machine's business.

use ed25519_dalek::SigningKey;
use tokio::{runtime::Handle, sync::mpsc};
use wayside_actors::{device::io::Uplink as Command, frame::ToDevice};
use wayside_config::identity::PublicKey;

use super::{connection, dial};
use crate::tls::{self, TlsError};

/// Depth of the two channels. Large enough that neither side waits for the other's wake-up, small
/// enough that 64 batches of at most 1 MiB are the most that memory holds of an uplink that is stuck.
pub const QUEUE: usize = 64;

/// Where the cloud is and who it is, as the join link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudAddress {
    /// Name or IP address (an IPv6 address without brackets).
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// The only key that is accepted there.
    pub key: PublicKey,
}

/// What the uplink tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection stands, and the cloud has proven its key.
    Connected,
    /// The connection could not be made or ended, by [`Command::Close`] too. Exactly one follows each
    /// [`Command::Connect`], after the last frame.
    Lost {
        /// In words, with what to do where something can be done.
        reason: String,
    },
    /// A frame came.
    Frame(ToDevice),
    /// Something came that is no frame of this version; `Lost` follows.
    Unreadable {
        /// In words.
        reason: String,
    },
}

/// The uplink's task has ended: the runtime is shutting down, or nobody takes its events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the uplink has stopped")]
pub struct Stopped;

/// A handle on the uplink's task. The task ends, and closes the connection, when the last clone of the
/// handle or the receiver of the events is dropped.
#[derive(Clone, Debug)]
pub struct UplinkClient {
    commands: mpsc::Sender<Command>,
}

impl UplinkClient {
    /// Starts the task on `runtime`, which must be a multi-thread one. Nothing is dialled before
    /// [`Command::Connect`].
    ///
    /// # Errors
    /// When TLS does not take the device's key.
    pub fn start(
        runtime: &Handle,
        cloud: CloudAddress,
        device: &SigningKey,
    ) -> Result<(Self, mpsc::Receiver<Event>), TlsError> {
        let tls = tls::client_config(device, cloud.key)?;
        let dialer = dial::Dialer::new(cloud, tls)?;
        let (commands, taken) = mpsc::channel(QUEUE);
        let (told, events) = mpsc::channel(QUEUE);
        runtime.spawn(run(dialer, taken, told));
        Ok((Self { commands }, events))
    }

    /// Gives a command. Waits while the queue is full: a frame is not taken faster than the connection
    /// carries it. A `Send` without a connection is dropped, as is a `Connect` with one.
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn command(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}

async fn run(dialer: dial::Dialer, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    loop {
        match commands.recv().await {
            None => return,
            Some(Command::Close | Command::Send(_) | Command::Together(_)) => {}
            Some(Command::Connect) => {
                let reason = connect(&dialer, &mut commands, &events).await;
                tracing::debug!(%reason, "uplink ended");
                if events.send(Event::Lost { reason }).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// One connection from beginning to end. Gives the reason why it ended.
async fn connect(
    dialer: &dial::Dialer,
    commands: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<Event>,
) -> String {
    let link = tokio::select! {
        dialled = dialer.dial() => match dialled {
            Ok(link) => link,
            Err(error) => return error.to_string(),
        },
        () = closed(commands) => return "closed before it was connected".into(),
    };
    if events.send(Event::Connected).await.is_err() {
        return Stopped.to_string();
    }
    connection::run(link, commands, events).await
}

/// Returns at a `Close`, or when nobody gives commands any more.
async fn closed(commands: &mut mpsc::Receiver<Command>) {
    loop {
        match commands.recv().await {
            None | Some(Command::Close) => return,
            Some(Command::Connect | Command::Send(_) | Command::Together(_)) => {}
        }
    }
}
