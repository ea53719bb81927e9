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
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{LobbySettings, Shared, places::Places};

/// A question, at most: a chain of roots, a full list of what is revoked, and the grants of many devices.
pub const DOOR_BYTES: usize = 3 << 20;

/// An answer, at most: a word.
const ANSWER_BYTES: usize = 64 << 10;

/// Until a visitor says how long its question is, and until the whole of it was answered.
const FIRST_WORD: Duration = Duration::from_secs(2);
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
    shared: Arc<Shared>,
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
            tokio::spawn(serve(listener, shared, allowed, handed));
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
    shared: Arc<Shared>,
    allowed: watch::Receiver<BTreeSet<Ipv4Addr>>,
    handed: mpsc::Sender<Delivery>,
) {
    let places = Places::default();
    loop {
        tokio::select! {
            () = handed.closed() => return,
            came = listener.accept() => match came {
                Ok((stream, SocketAddr::V4(from))) => {
                    let is_lan = stream.local_addr().is_ok_and(|local| match local.ip() {
                        IpAddr::V4(local) => allowed.borrow().contains(&local),
                        IpAddr::V6(_) => false,
                    });
                    if !is_lan {
                        continue;
                    }
                    let is_members = shared.book().is_members(*from.ip());
                    let Some(place) = places.take(*from.ip(), is_members) else { continue };
                    let handed = handed.clone();
                    tokio::spawn(async move {
                        if let Ok(Err(error)) = timeout(VISIT, visit(stream, handed)).await {
                            tracing::debug!(%error, "a visitor of the lobby was not served");
                        }
                        drop(place);
                    });
                }
                // It listens on IPv4 alone.
                Ok((_, SocketAddr::V6(_))) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

async fn visit(mut stream: TcpStream, handed: mpsc::Sender<Delivery>) -> io::Result<()> {
    let mut length = [0; 4];
    timeout(FIRST_WORD, stream.read_exact(&mut length)).await.map_err(io::Error::from)??;
    let length = checked(length, DOOR_BYTES)?;
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

/// Hands `question` to the device at one of these addresses, and waits for its answer: at most ten seconds for each, however slowly it
/// answers. Blocking.
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
    let end = Instant::now() + VISIT;
    let mut stream = StdTcpStream::connect_timeout(address, Duration::from_secs(2))?;
    let framed = framed(question);
    let mut rest = framed.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        let written = stream.write(rest)?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
    }
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some((length, body)) = answer.split_first_chunk::<4>()
            && body.len() >= checked(*length, ANSWER_BYTES)?
        {
            return Ok(body.to_vec());
        }
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend(part.iter().take(count)),
        }
    }
}

/// How much time is left; more than none.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn checked(length: [u8; 4], limit: usize) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length > limit { Err(io::Error::other(format!("{length} bytes are too many"))) } else { Ok(length) }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], bytes].concat()
}
