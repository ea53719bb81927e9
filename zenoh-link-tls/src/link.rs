//! One link.

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::TlsStream;
use zenoh_link_commons::{LinkAuthId, LinkUnicastTrait, get_ip_interface_names};
use zenoh_protocol::{
    core::{Locator, Priority},
    transport::BatchSize,
};
use zenoh_result::{ZResult, zerror};

use crate::{TLS_LOCATOR_PREFIX, circle::Place};

/// A link with a key of the circle, until that is taken out of it.
pub struct LinkUnicastTls {
    reading: Mutex<ReadHalf<TlsStream<TcpStream>>>,
    writing: Mutex<WriteHalf<TlsStream<TcpStream>>>,
    place: Place,
    from: (SocketAddr, Locator),
    to: Locator,
    mtu: BatchSize,
    auth: LinkAuthId,
}

impl LinkUnicastTls {
    pub(crate) fn new(stream: TlsStream<TcpStream>, key: &[u8; 32], place: Place) -> ZResult<Self> {
        let socket = stream.get_ref().0;
        let (from, to) = (socket.local_addr()?, socket.peer_addr()?);
        // Messages wait for nobody.
        socket.set_nodelay(true)?;
        let mtu = mtu(socket);
        let locator = |address: SocketAddr| Locator::new(TLS_LOCATOR_PREFIX, address.to_string(), "");
        let (reading, writing) = split(stream);
        let auth = LinkAuthId::Tls(Some(key.iter().map(|byte| format!("{byte:02x}")).collect()));
        Ok(Self {
            reading: Mutex::new(reading),
            writing: Mutex::new(writing),
            place,
            from: (from, locator(from)?),
            to: locator(to)?,
            mtu,
            auth,
        })
    }

    async fn unless_expelled<T>(&self, io: impl Future<Output = std::io::Result<T>>) -> ZResult<T> {
        tokio::select! {
            biased;
            () = self.place.expelled.cancelled() => Err(zerror!("{self:?} ends: the key is out of the circle").into()),
            done = io => done.map_err(|error| zerror!("{self:?}: {error}").into()),
        }
    }
}

/// As large as Zenoh's own: what fills whole segments, as far as its 16 bits reach.
fn mtu(socket: &TcpStream) -> BatchSize {
    const HEADER: u32 = 40;
    let most = u32::from(BatchSize::MAX) - HEADER;
    let half = socket2::SockRef::from(socket).tcp_mss().map_or(most, |segment| (segment / 2).max(1));
    let whole = (most / half).max(1) * half;
    BatchSize::try_from(whole.min(most)).unwrap_or(BatchSize::MAX)
}

#[async_trait]
impl LinkUnicastTrait for LinkUnicastTls {
    fn get_mtu(&self) -> BatchSize {
        self.mtu
    }

    fn get_src(&self) -> &Locator {
        &self.from.1
    }

    fn get_dst(&self) -> &Locator {
        &self.to
    }

    fn is_reliable(&self) -> bool {
        true
    }

    fn is_streamed(&self) -> bool {
        true
    }

    fn get_interface_names(&self) -> Vec<String> {
        get_ip_interface_names(&self.from.0)
    }

    fn get_auth_id(&self) -> &LinkAuthId {
        &self.auth
    }

    async fn write(&self, buffer: &[u8], priority: Option<Priority>) -> ZResult<usize> {
        self.write_all(buffer, priority).await.map(|()| buffer.len())
    }

    async fn write_all(&self, buffer: &[u8], _priority: Option<Priority>) -> ZResult<()> {
        let mut writing = self.writing.lock().await;
        self.unless_expelled(async {
            writing.write_all(buffer).await?;
            // TLS may hold back what the socket had no room for.
            writing.flush().await
        })
        .await
    }

    async fn read(&self, buffer: &mut [u8], _priority: Option<Priority>) -> ZResult<usize> {
        let mut reading = self.reading.lock().await;
        self.unless_expelled(reading.read(buffer)).await
    }

    async fn read_exact(&self, buffer: &mut [u8], _priority: Option<Priority>) -> ZResult<()> {
        let mut reading = self.reading.lock().await;
        self.unless_expelled(reading.read_exact(buffer)).await.map(|_| ())
    }

    async fn close(&self) -> ZResult<()> {
        let mut writing = self.writing.lock().await;
        Ok(writing.shutdown().await?)
    }
}

impl fmt::Debug for LinkUnicastTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the link {} => {}", self.from.0, self.to)
    }
}
