//! An operator's way onto a LAN: finds the devices, asks one of them. Used by the command line.
//!
//! Blocking, for a plain thread: never call it on an actix or current-thread runtime.

use std::{
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};

use wayside_config::{identity::DeviceId, limits::REPLY_BYTES};
use zenoh::{
    Session, Wait,
    handlers::FifoChannelHandler,
    query::{ConsolidationMode, QueryTarget, Reply},
};

use crate::{circle::Circle, keys, session::client_config};

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
    /// Reaches a device of the circle within about a second: one at these addresses or, where there are none, one that it finds.
    ///
    /// # Errors
    /// [`ClientError::Nobody`].
    pub fn open(circle: Circle, scouting: SocketAddrV4, connect: &[SocketAddr]) -> Result<Self, ClientError> {
        let nobody = |error: zenoh::Error| ClientError::Nobody(error.to_string());
        let session = zenoh::open(client_config(circle.name(), scouting, connect).map_err(nobody)?)
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
