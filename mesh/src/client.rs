//! An operator's way onto a LAN: finds the devices, asks one of them. Used by the command line.
//!
//! Blocking, for a plain thread: never call it on an actix or current-thread runtime.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, SocketAddrV4, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use wayside_config::{identity::DeviceId, limits::REPLY_BYTES};
use zenoh::{
    Session, Wait,
    handlers::FifoChannelHandler,
    query::{ConsolidationMode, QueryTarget, Reply},
};

use crate::{circle::Circle, keys, session::client_config};

/// For an address to take a connection.
const REACH: Duration = Duration::from_secs(2);

/// For others, once one has.
const REACH_OTHERS: Duration = Duration::from_millis(100);

/// A light session.
#[derive(Debug)]
pub struct Client {
    session: Session,
    /// There as long as the session.
    _circle: Circle,
}

/// Why a device on the LAN could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody was there.
    #[error(
        "no device answers on this LAN: {0}; is `wayside up` running on one, and does the network carry multicast?"
    )]
    Nobody(String),
    /// None of the addresses that devices tell takes a connection.
    #[error(
        "nothing listens at {}, where devices of this LAN say to be: they have just gone, or a firewall is between",
        .0.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    )]
    Closed(Vec<SocketAddr>),
    /// The device that was asked did not answer in time.
    #[error("device {} does not answer: it is off, not on this LAN, or does not obey the key that signed", .0.short())]
    NoAnswer(DeviceId),
    /// The session failed.
    #[error("asking on the mesh failed: {0}")]
    Failed(String),
}

/// A device that is on the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveDevice {
    /// Its name.
    pub name: String,
    /// Its key.
    pub device: DeviceId,
}

impl Client {
    /// Reaches a device of the circle within some seconds: one at these addresses, each tried by a thread of its own, or, where
    /// there are none, one that it finds.
    ///
    /// # Errors
    /// [`ClientError::Closed`] where none of the addresses takes a connection, [`ClientError::Nobody`] where none takes this key.
    pub fn open(circle: Circle, scouting: SocketAddrV4, connect: &[SocketAddr]) -> Result<Self, ClientError> {
        let nobody = |error: zenoh::Error| ClientError::Nobody(error.to_string());
        let open = reachable(connect);
        if open.is_empty() && !connect.is_empty() {
            return Err(ClientError::Closed(connect.to_vec()));
        }
        let session = zenoh::open(client_config(circle.name(), scouting, &open).map_err(nobody)?)
            .wait()
            .map_err(nobody)?;
        Ok(Self { session, _circle: circle })
    }

    /// All devices on the mesh of the device that was found, by name.
    ///
    /// # Errors
    /// [`ClientError::Failed`].
    pub fn devices(&self) -> Result<Vec<LiveDevice>, ClientError> {
        let replies = self
            .session
            .liveliness()
            .get(keys::ALIVE)
            .timeout(Duration::from_secs(1))
            .wait()
            .map_err(|error| ClientError::Failed(error.to_string()))?;
        let mut devices: Vec<LiveDevice> = replies
            .iter()
            .filter_map(|reply| keys::parse_alive(reply.result().ok()?.key_expr().as_str()))
            .map(|(device, name)| LiveDevice { name, device })
            .collect();
        devices.sort_unstable();
        devices.dedup();
        Ok(devices)
    }

    /// Hands a sealed request to a device, which may take `patience` to answer.
    ///
    /// Everyone who listens in the device's place is asked as well and every answer is passed on, so that
    /// whoever answers in its name cannot keep its own answer away.
    ///
    /// # Errors
    /// [`ClientError::Failed`].
    pub fn ask(
        &self,
        device: &DeviceId,
        sealed: Vec<u8>,
        patience: Duration,
    ) -> Result<Answers, ClientError> {
        let replies = self
            .session
            .get(keys::control(device))
            .payload(sealed)
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .timeout(patience)
            .wait()
            .map_err(|error| ClientError::Failed(error.to_string()))?;
        Ok(Answers { device: *device, replies })
    }
}

/// Answers on their way. Who sent them is not known yet.
#[derive(Debug)]
pub struct Answers {
    device: DeviceId,
    replies: FifoChannelHandler<Reply>,
}

impl Answers {
    /// Waits for the first answer that `take` takes.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] when none came in time.
    pub fn first<T>(self, mut take: impl FnMut(Vec<u8>) -> Option<T>) -> Result<T, ClientError> {
        let mut answers = self.replies.iter().filter_map(|reply| {
            let sample = reply.into_result().ok()?;
            (sample.payload().len() <= REPLY_BYTES).then(|| sample.payload().to_bytes().into_owned())
        });
        answers.find_map(&mut take).ok_or(ClientError::NoAnswer(self.device))
    }
}

/// Those of the addresses that take a connection, in their order. Zenoh tries one after the other, and one of a network that
/// this host is not on may answer nothing: it would use up the time of those that would.
fn reachable(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (found, reached) = mpsc::channel();
    for (place, address) in addresses.iter().copied().enumerate() {
        let found = found.clone();
        thread::spawn(move || {
            if TcpStream::connect_timeout(&address, REACH).is_ok() {
                // Nobody waits for the late ones.
                let _ = found.send(place);
            }
        });
    }
    drop(found);
    let mut open = BTreeSet::new();
    let mut until = Instant::now() + REACH;
    while let Ok(place) = reached.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if open.is_empty() {
            until = until.min(Instant::now() + REACH_OTHERS);
        }
        open.insert(place);
    }
    open.into_iter().filter_map(|place| addresses.get(place).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn addresses_that_answer_nothing_hold_nobody_up() {
        let [open, also_open, closed] = [(), (), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [open_at, also_open_at, closed_at] =
            [&open, &also_open, &closed].map(|listener| listener.local_addr().unwrap());
        drop(closed);
        let (_full, full_at) = socket_that_answers_nothing();
        let begun = Instant::now();
        let addresses = [full_at, closed_at, also_open_at, full_at, open_at, full_at];
        assert_eq!(reachable(&addresses), [also_open_at, open_at]);
        assert!(begun.elapsed() < REACH / 2, "{:?}", begun.elapsed());
        assert_eq!(reachable(&[closed_at]), []);
        assert_eq!(reachable(&[]), []);
        assert_eq!(reachable(&[full_at]), []);
    }

    /// Where a listener's queue is full: as behind a firewall that drops what comes. And what keeps it so.
    fn socket_that_answers_nothing() -> ((Socket, Vec<TcpStream>), SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue of a listener is never full");
        }
        ((listener, waiting), at)
    }
}
