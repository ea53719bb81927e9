//! Where a device is handed what admits it: one question of bounded size over TCP, and its answer. Neither is secret, and
//! the question proves itself.
//!
//! ```text
//! question = length (4 bytes, big-endian) bytes        answer = likewise
//! ```

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as StdTcpStream},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

use super::LobbySettings;

/// A question or an answer: a chain of roots, a full list of what is revoked, and the grants of a site.
pub const DOOR_BYTES: usize = 12 << 20;

/// Who is let in at a time, and for how long.
const VISITORS: usize = 4;
const VISIT: Duration = Duration::from_secs(10);

/// What somebody hands to this device.
#[derive(Debug)]
pub struct Delivery {
    /// At most [`DOOR_BYTES`].
    pub question: Vec<u8>,
    /// Where the answer goes; dropped when there is none.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// Opens the door, on the lobby's port where that is free. Gives the port; 0 when there is none.
pub(super) async fn open(
    settings: &LobbySettings,
    allowed: watch::Receiver<BTreeSet<Ipv4Addr>>,
    handed: mpsc::Sender<Delivery>,
) -> u16 {
    let at = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let listener = match TcpListener::bind(at(settings.group.port())).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await,
    };
    let listening = listener.and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    match listening {
        Ok((port, listener)) => {
            tokio::spawn(serve(listener, allowed, handed));
            port
        }
        Err(error) => {
            tracing::error!(%error, "this device cannot be handed grants on the LAN: no TCP port");
            0
        }
    }
}

async fn serve(
    listener: TcpListener,
    allowed: watch::Receiver<BTreeSet<Ipv4Addr>>,
    handed: mpsc::Sender<Delivery>,
) {
    let places = Arc::new(Semaphore::new(VISITORS));
    loop {
        tokio::select! {
            () = handed.closed() => return,
            came = listener.accept() => match came {
                Ok((stream, _)) => {
                    let is_lan = stream.local_addr().is_ok_and(|local| match local.ip() {
                        IpAddr::V4(local) => allowed.borrow().contains(&local),
                        IpAddr::V6(_) => false,
                    });
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    if !is_lan {
                        continue;
                    }
                    let handed = handed.clone();
                    tokio::spawn(async move {
                        if let Ok(Err(error)) = timeout(VISIT, visit(stream, handed)).await {
                            tracing::debug!(%error, "a visitor of the lobby was not served");
                        }
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

async fn visit(mut stream: TcpStream, handed: mpsc::Sender<Delivery>) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = checked(length)?;
    let mut question = Vec::new();
    // Memory grows with what arrives, not with what a length claims.
    (&mut stream).take(length as u64).read_to_end(&mut question).await?;
    if question.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (answer, answered) = oneshot::channel();
    handed.try_send(Delivery { question, answer }).map_err(io::Error::other)?;
    let answer = answered.await.map_err(io::Error::other)?;
    stream.write_all(&framed(&answer)).await?;
    stream.shutdown().await
}

/// Hands `question` to the device at one of these addresses, and waits for its answer. Blocking.
///
/// # Errors
/// The last that was met.
pub fn hand(addresses: &[SocketAddr], question: &[u8]) -> io::Result<Vec<u8>> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match hand_to(address, question) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn hand_to(address: &SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = StdTcpStream::connect_timeout(address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(VISIT))?;
    stream.set_write_timeout(Some(VISIT))?;
    stream.write_all(&framed(question))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = checked(length)?;
    let mut answer = Vec::new();
    stream.take(length as u64).read_to_end(&mut answer)?;
    if answer.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length > DOOR_BYTES {
        Err(io::Error::other(format!("{length} bytes are too many")))
    } else {
        Ok(length)
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], bytes].concat()
}
