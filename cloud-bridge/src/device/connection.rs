//! One connection while it stands: commands become frames, frames become events.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::{sync::mpsc, time::timeout};
use wayside_actors::{
    device::io::Uplink as Command,
    frame::{ToCloud, ToDevice},
};

use super::client::{Event, Stopped};
use super::dial::Link;
use crate::{
    transport::{CLOSED, CLOSED_BY_DEVICE},
    wire::{Frame, MAX_FRAME_BYTES, read_frame},
};

/// A cloud that takes nothing for this long, though its side of the connection is alive, is left.
const STUCK: Duration = Duration::from_secs(30);

/// For what was written to arrive before the connection is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs until either side ends it. Gives the reason.
pub(super) async fn run(
    link: Link,
    commands: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<Event>,
) -> String {
    let Link { endpoint, connection, mut to_cloud, mut from_cloud } = link;
    let closing = AtomicBool::new(false);
    let reason = tokio::select! {
        reason = read(&mut from_cloud, &connection, events) => reason,
        reason = write(&mut to_cloud, &connection, commands, &closing) => reason,
    };
    // The cloud may answer our end with its own before we see that ours arrived.
    let reason = if closing.into_inner() { "closed by this device".into() } else { reason };
    connection.close(CLOSED, CLOSED_BY_DEVICE);
    // Lets the last packet leave; what is still unanswered then is given up.
    let _ = timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
    reason
}

async fn read(stream: &mut RecvStream, connection: &Connection, events: &mpsc::Sender<Event>) -> String {
    loop {
        match read_frame::<ToDevice>(stream, MAX_FRAME_BYTES).await {
            Ok(Some(frame)) => {
                tracing::trace!(?frame, "from cloud");
                if events.send(Event::Frame(frame)).await.is_err() {
                    return Stopped.to_string();
                }
            }
            Ok(None) => {
                // Why comes with the end of the connection, which follows.
                let _ = timeout(DRAIN, connection.closed()).await;
                return end_of(connection, "the cloud ended the conversation");
            }
            Err(error) => {
                let reason = error.to_string();
                if error.is_of_the_peer() {
                    // The cloud hears it, so that whoever looks there knows.
                    let told =
                        format!("the cloud said what this device cannot read ({reason}): upgrade the device");
                    connection.close(CLOSED, told.as_bytes());
                    if events.send(Event::Unreadable { reason: reason.clone() }).await.is_err() {
                        return Stopped.to_string();
                    }
                    return reason;
                }
                return end_of(connection, &reason);
            }
        }
    }
}

async fn write(
    stream: &mut SendStream,
    connection: &Connection,
    commands: &mut mpsc::Receiver<Command>,
    closing: &AtomicBool,
) -> String {
    loop {
        let written = match commands.recv().await {
            Some(Command::Connect) => continue,
            Some(Command::Send(frame)) => send(stream, connection, vec![frame]).await,
            Some(Command::Together(frames)) => send(stream, connection, frames).await,
            None | Some(Command::Close) => {
                closing.store(true, Ordering::Relaxed);
                let _ = stream.finish();
                let _ = timeout(DRAIN, stream.stopped()).await;
                return String::new();
            }
        };
        if let Err(reason) = written {
            return reason;
        }
    }
}

/// The error is why the connection is at its end.
async fn send(stream: &mut SendStream, connection: &Connection, frames: Vec<ToCloud>) -> Result<(), String> {
    for frame in frames {
        tracing::trace!(?frame, "to cloud");
        let bytes = frame.encode().map_err(|error| {
            tracing::error!(%error, "a frame for the cloud was not sent");
            error.to_string()
        })?;
        match timeout(STUCK, stream.write_chunk(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(end_of(connection, &error.to_string())),
            Err(_) => return Err(format!("the cloud took nothing for {} s", STUCK.as_secs())),
        }
    }
    Ok(())
}

/// Why the connection ended, or `otherwise` when it is still there.
fn end_of(connection: &Connection, otherwise: &str) -> String {
    match connection.close_reason() {
        None => otherwise.into(),
        Some(ConnectionError::ApplicationClosed(close)) => {
            format!("the cloud closed the connection: {}", String::from_utf8_lossy(&close.reason))
        }
        Some(ConnectionError::TimedOut) => "the connection to the cloud fell silent".into(),
        Some(ConnectionError::Reset) => "the cloud was started anew".into(),
        Some(error) => error.to_string(),
    }
}
