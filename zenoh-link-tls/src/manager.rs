//! Dials and listens.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::sync::CancellationToken;
use zenoh_link_commons::{
    LinkManagerUnicastTrait, LinkUnicast, LinkUnicastTrait, ListenersUnicastIP, NewLinkChannelSender,
    tcp::{TcpSocketConfig, get_tcp_addrs},
};
use zenoh_protocol::core::{EndPoint, Locator};
use zenoh_result::{ZResult, zerror};

use crate::{CIRCLE, Circle, LinkUnicastTls, tls::proven};

/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Handshakes at a time: with strangers, too.
const HANDSHAKES: usize = 64;

/// How long nobody is taken after the system gave no socket.
const PAUSE: Duration = Duration::from_millis(100);

/// The links of one session.
pub struct LinkManagerUnicastTls {
    found: NewLinkChannelSender,
    listeners: ListenersUnicastIP,
}

impl LinkManagerUnicastTls {
    /// Links that others dial go to `found`.
    #[must_use]
    pub fn new(found: NewLinkChannelSender) -> Self {
        Self { found, listeners: ListenersUnicastIP::new() }
    }
}

fn circle(endpoint: &EndPoint) -> ZResult<Circle> {
    let config = endpoint.config();
    let name = config.get(CIRCLE).ok_or_else(|| zerror!("{endpoint} names no circle"))?;
    Circle::of_name(name).ok_or_else(|| zerror!("the circle {name} is gone").into())
}

async fn address(endpoint: &EndPoint) -> ZResult<SocketAddr> {
    let first = get_tcp_addrs(endpoint.address()).await?.next();
    first.ok_or_else(|| zerror!("{endpoint} is no address").into())
}

fn link(circle: &Circle, stream: TlsStream<TcpStream>) -> ZResult<LinkUnicast> {
    let key = proven(stream.get_ref().1.peer_certificates()).ok_or_else(|| zerror!("no key was proven"))?;
    let place = circle.enter(key).ok_or_else(|| zerror!("the key is out of the circle"))?;
    let link = LinkUnicastTls::new(stream, &key, place)?;
    Ok(LinkUnicast::from(Arc::new(link) as Arc<dyn LinkUnicastTrait>))
}

#[async_trait]
impl LinkManagerUnicastTrait for LinkManagerUnicastTls {
    async fn new_link(&self, endpoint: EndPoint) -> ZResult<LinkUnicast> {
        let circle = circle(&endpoint)?;
        let addresses = get_tcp_addrs(endpoint.address()).await?;
        let socket = TcpSocketConfig::new(None, None, None, None, None);
        let (stream, _, to) = socket.new_link_first_reachable(addresses).await?;
        let dialed = TlsConnector::from(circle.client()).connect(ServerName::from(to.ip()), stream);
        let dialed =
            timeout(HANDSHAKE, dialed).await.map_err(|_| zerror!("{to} does not finish the handshake"))?;
        let stream = dialed.map_err(|error| zerror!("{to}: {error}"))?;
        link(&circle, TlsStream::Client(stream))
    }

    async fn new_listener(&self, endpoint: EndPoint) -> ZResult<Locator> {
        let circle = circle(&endpoint)?;
        let socket = TcpSocketConfig::new(None, None, None, None, None);
        let (listener, local) = socket.new_listener(&address(&endpoint).await?)?;
        let endpoint =
            EndPoint::new(endpoint.protocol(), local.to_string(), endpoint.metadata(), endpoint.config())?;
        let locator = endpoint.to_locator();
        let token = self.listeners.token.child_token();
        let task = listen(listener, circle, token.clone(), self.found.clone());
        self.listeners.add_listener(endpoint, local, task, token).await?;
        Ok(locator)
    }

    async fn del_listener(&self, endpoint: &EndPoint) -> ZResult<()> {
        self.listeners.del_listener(address(endpoint).await?).await
    }

    async fn get_listeners(&self) -> Vec<EndPoint> {
        self.listeners.get_endpoints()
    }

    async fn get_locators(&self) -> Vec<Locator> {
        self.listeners.get_locators()
    }

    async fn get_locators_noloopback(&self) -> Vec<Locator> {
        self.listeners.get_locators_noloopback()
    }
}

/// Takes whoever comes until the listener is taken down. Each shakes hands on its own, so that one who is slow holds nobody up.
async fn listen(
    listener: TcpListener,
    circle: Circle,
    end: CancellationToken,
    found: NewLinkChannelSender,
) -> ZResult<()> {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let came = tokio::select! {
            () = end.cancelled() => return Ok(()),
            came = listener.accept() => came,
        };
        let (stream, from) = match came {
            Ok(came) => came,
            Err(error) => {
                tracing::warn!(%error, "the mesh cannot take a link; raise the limit of open files");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(%from, "too many handshakes at a time");
            continue;
        };
        let (circle, found) = (circle.clone(), found.clone());
        tokio::spawn(async move {
            let accepted = timeout(HANDSHAKE, TlsAcceptor::from(circle.server()).accept(stream)).await;
            drop(place);
            let taken = match accepted {
                Ok(Ok(stream)) => link(&circle, TlsStream::Server(stream)),
                Ok(Err(error)) => Err(error.into()),
                Err(late) => Err(late.into()),
            };
            match taken {
                Ok(link) => {
                    // An error means that the session is closed.
                    let _ = found.send_async(link).await;
                }
                Err(error) => tracing::debug!(%from, %error, "a link was not taken"),
            }
        });
    }
}

impl fmt::Debug for LinkManagerUnicastTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkManagerUnicastTls").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
