//! Reaches the cloud: resolves its name and shakes hands, each time from a new socket, so that a
//! changed address of either side is no obstacle.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::{net::lookup_host, time::timeout};

use super::client::CloudAddress;
use crate::{
    tls::{SERVER_NAME, TlsError},
    transport,
};

/// For one address; a name with several is tried address by address.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// For the name to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// A connection with its one stream.
pub(super) struct Link {
    /// Owns the socket.
    pub(super) endpoint: Endpoint,
    /// The connection.
    pub(super) connection: Connection,
    /// To the cloud.
    pub(super) to_cloud: SendStream,
    /// From the cloud.
    pub(super) from_cloud: RecvStream,
}

/// Why the cloud was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The name has no address.
    #[error("the cloud's name {0} could not be resolved: {1}; check the name and this device's DNS")]
    Resolve(String, io::Error),
    /// No socket.
    #[error("no UDP socket could be opened: {0}")]
    Socket(io::Error),
    /// Not a usable address.
    #[error("{0} cannot be dialled: {1}")]
    Address(SocketAddr, ConnectError),
    /// Nobody answers.
    #[error("{0} does not answer; check that the cloud runs and that UDP reaches it")]
    Silent(SocketAddr),
    /// The answer is not the cloud's.
    #[error("{0} did not prove the cloud's key; check the join link, or who answers there: {1}")]
    WrongKey(SocketAddr, ConnectionError),
    /// It said no, or something else failed.
    #[error("{0} could not be connected to: {1}")]
    Handshake(SocketAddr, ConnectionError),
}

/// Knows where the cloud is and how to prove who is who.
pub(super) struct Dialer {
    cloud: CloudAddress,
    config: ClientConfig,
}

impl Dialer {
    pub(super) fn new(cloud: CloudAddress, tls: rustls::ClientConfig) -> Result<Self, TlsError> {
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| TlsError::new(&error))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport::device()));
        Ok(Self { cloud, config })
    }

    /// Connects to the first address that answers and opens the stream.
    pub(super) async fn dial(&self) -> Result<Link, DialError> {
        let mut last = None;
        for address in self.resolve().await? {
            match self.dial_address(address).await {
                Ok(link) => return Ok(link),
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| DialError::Resolve(self.cloud.host.clone(), io::ErrorKind::NotFound.into())))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        let failed = |error| DialError::Resolve(self.cloud.host.clone(), error);
        let lookup = lookup_host((self.cloud.host.as_str(), self.cloud.port));
        let found = timeout(RESOLVE, lookup).await.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        Ok(found.map_err(failed)?.take(MAX_ADDRESSES).collect())
    }

    async fn dial_address(&self, address: SocketAddr) -> Result<Link, DialError> {
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoint = Endpoint::client(SocketAddr::new(any, 0)).map_err(DialError::Socket)?;
        let connecting = endpoint
            .connect_with(self.config.clone(), address, SERVER_NAME)
            .map_err(|error| DialError::Address(address, error))?;
        let connection = match timeout(HANDSHAKE, connecting).await {
            Err(_) | Ok(Err(ConnectionError::TimedOut)) => return Err(DialError::Silent(address)),
            Ok(Err(error)) => return Err(refused(address, error)),
            Ok(Ok(connection)) => connection,
        };
        let opened =
            timeout(HANDSHAKE, connection.open_bi()).await.map_err(|_| DialError::Silent(address))?;
        let (to_cloud, from_cloud) = opened.map_err(|error| DialError::Handshake(address, error))?;
        Ok(Link { endpoint, connection, to_cloud, from_cloud })
    }
}

fn refused(address: SocketAddr, error: ConnectionError) -> DialError {
    // The verifier's refusal shows as the TLS alert that it led to.
    if let ConnectionError::TransportError(transport) = &error
        && transport.reason.contains("invalid peer certificate")
    {
        return DialError::WrongKey(address, error);
    }
    DialError::Handshake(address, error)
}
