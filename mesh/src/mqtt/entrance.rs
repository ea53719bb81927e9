//! How a connection begins: who it is, or why it is turned away.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};
use wayside_config::leaf::Fingerprint;

use super::{
    connection::attend,
    counts::Misdeed,
    decode::{self, NotConnect},
    door::Stranger,
    encode::Encoder,
    fault::{Fault, Refusal},
    hub::{Audience, Hub, Proven},
    listener::Place,
    packet::Connect,
    session::Session,
    stream::{LINGER, Reader, Writer, finish},
    tls::Tls,
};

/// Serves a connection to its end.
pub(super) async fn serve(
    hub: Arc<Hub>,
    stream: TcpStream,
    peer: SocketAddr,
    stranger: Stranger,
    place: Arc<Place>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "MQTT connection broke");
        return;
    }
    let guest = Guest { peer, audience: place.audience, certificate: None, stranger };
    match &place.tls {
        None => {
            let (read, write) = stream.into_split();
            converse(&hub, read, write, guest).await;
        }
        // Apart, for what it needs is larger and most connections do not.
        Some(tls) => Box::pin(encrypted(&hub, tls, stream, guest)).await,
    }
}

/// Who is at the other end, as far as is known.
pub(super) struct Guest {
    pub(super) peer: SocketAddr,
    audience: Audience,
    /// What it has shown and has the key of.
    certificate: Option<Fingerprint>,
    pub(super) stranger: Stranger,
}

async fn encrypted(hub: &Arc<Hub>, tls: &Tls, stream: TcpStream, mut guest: Guest) {
    let peer = guest.peer;
    let accepting = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
    let accepted = tokio::select! {
        accepted = timeout(hub.settings.connect_timeout, accepting) => accepted,
        () = hub.closing.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            guest.certificate = shown.map(|certificate| Fingerprint::of(certificate));
            let (read, write) = split(stream);
            converse(hub, read, write, guest).await;
        }
        Ok(Err(error)) => {
            hub.settings.counts.add(Misdeed::Malformed);
            debug!(%peer, %error, "no TLS with a leaf device");
        }
        Err(_) => {
            hub.settings.counts.add(Misdeed::Silent);
            debug!(%peer, "no TLS in time");
        }
    }
}

async fn converse<R, W>(hub: &Arc<Hub>, read: R, write: W, guest: Guest)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let peer = guest.peer;
    let mut reader = Reader::new(read);
    let mut writer = Writer::new(write);
    let greeting = tokio::select! {
        greeting = timeout(hub.settings.connect_timeout, greet(&mut reader)) => greeting,
        () = hub.closing.cancelled() => return,
    };
    let counts = &hub.settings.counts;
    let admitted = match greeting {
        Ok(Ok(connect)) => admit(hub, connect, &guest).await,
        Ok(Err(stop)) => Err(stop),
        Err(_) => {
            counts.add(Misdeed::Silent);
            return debug!(%peer, "no CONNECT in time");
        }
    };
    match admitted {
        Ok((client, connect)) => attend(hub, client, connect, guest, reader, writer).await,
        Err(Stop::Refused(encoder, refusal, delay)) => {
            info!(%peer, %refusal, "MQTT client turned away");
            sleep(delay).await;
            let mut out = BytesMut::new();
            encoder.refusal(&refusal, &mut out);
            finish(&mut reader, &mut writer, &mut out, LINGER, true).await;
        }
        Err(Stop::Fault(fault)) => {
            counts.ended(&fault);
            debug!(%peer, %fault, "not an MQTT client");
        }
        Err(Stop::Lost(error)) => debug!(%peer, %error, "MQTT connection broke"),
    }
}

/// Why a connection goes no further than its CONNECT.
enum Stop {
    Refused(Encoder, Refusal, Duration),
    Fault(Fault),
    Lost(io::Error),
}

/// Reads the CONNECT.
async fn greet<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Connect, Stop> {
    let raw = loop {
        match reader.framing.next() {
            Ok(Some(raw)) => break raw,
            Ok(None) => reader.fill().await.map_err(Stop::Lost)?,
            Err(fault) => return Err(Stop::Fault(fault)),
        }
    };
    decode::connect(&raw).map_err(|error| match error {
        NotConnect::Fault(fault) => Stop::Fault(fault),
        NotConnect::Refused(version, refusal) => {
            Stop::Refused(Encoder { version, reasons: false }, refusal, Duration::ZERO)
        }
    })
}

/// Finds out who it is.
async fn admit(hub: &Hub, connect: Connect, guest: &Guest) -> Result<(Proven, Connect), Stop> {
    let encoder = Encoder { version: connect.version, reasons: connect.reasons };
    let address = guest.peer.ip();
    let Some(client) = hub.authenticate(&connect, guest.audience, guest.certificate).await else {
        hub.settings.counts.add(Misdeed::WrongPassword);
        let delay = hub.door.failed(address, Instant::now());
        return Err(Stop::Refused(encoder, Refusal::Credentials, delay));
    };
    hub.door.succeeded(address);
    Session::admit(&connect).map_err(|refusal| Stop::Refused(encoder, refusal, Duration::ZERO))?;
    Ok((client, connect))
}
