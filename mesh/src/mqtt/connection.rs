//! One TCP connection: moves bytes and events and keeps time. What they mean is the session's matter.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::{sleep, sleep_until, timeout},
};
use tracing::{debug, info};
use wayside_config::workload::ModuleId;

use super::{
    decode::{self, NotConnect},
    door::Stranger,
    encode::Encoder,
    fault::{Fault, Refusal},
    framing::Framing,
    hub::{Hub, Slot},
    link::End,
    packet::{Connect, Version},
    session::{Polled, Session},
};

/// Room made for one read.
const READ_BYTES: usize = 8 << 10;
/// How long a client that is disconnected for a reason may take to read that reason.
const LINGER: Duration = Duration::from_millis(500);
/// Stands for "no limit" in a timer.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Serves a connection to its end.
pub(super) async fn serve(hub: Arc<Hub>, stream: TcpStream, peer: SocketAddr) {
    let Some(stranger) = hub.door.enter(peer.ip(), hub.settings.max_strangers) else {
        debug!(%peer, "too many connections of this address without a password");
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "MQTT connection broke");
        return;
    }
    let (read, mut write) = stream.into_split();
    let mut reader = Reader { read, framing: Framing::new() };
    let greeting = tokio::select! {
        greeting = timeout(hub.settings.connect_timeout, greet(&hub, &mut reader, peer.ip())) => greeting,
        () = hub.closing.cancelled() => return,
    };
    match greeting {
        Ok(Ok((module, connect))) => {
            attend(&hub, module, connect, stranger, reader, write, peer).await;
        }
        Ok(Err(Stop::Refused(encoder, refusal, delay))) => {
            info!(%peer, %refusal, "MQTT client turned away");
            sleep(delay).await;
            let mut out = BytesMut::new();
            encoder.refusal(&refusal, &mut out);
            finish(&mut reader, &mut write, &mut out, LINGER, true).await;
        }
        Ok(Err(Stop::Fault(fault))) => debug!(%peer, %fault, "not an MQTT client"),
        Ok(Err(Stop::Lost(error))) => debug!(%peer, %error, "MQTT connection broke"),
        Err(_) => debug!(%peer, "no CONNECT in time"),
    }
}

/// Why a connection goes no further than its CONNECT.
enum Stop {
    Refused(Encoder, Refusal, Duration),
    Fault(Fault),
    Lost(io::Error),
}

async fn greet(hub: &Hub, reader: &mut Reader, address: IpAddr) -> Result<(ModuleId, Connect), Stop> {
    let raw = loop {
        match reader.framing.next() {
            Ok(Some(raw)) => break raw,
            Ok(None) => reader.fill().await.map_err(Stop::Lost)?,
            Err(fault) => return Err(Stop::Fault(fault)),
        }
    };
    let connect = decode::connect(&raw).map_err(|error| match error {
        NotConnect::Fault(fault) => Stop::Fault(fault),
        NotConnect::Refused(version, refusal) => {
            Stop::Refused(Encoder { version, reasons: false }, refusal, Duration::ZERO)
        }
    })?;
    let encoder = Encoder { version: connect.version, reasons: connect.reasons };
    let Some(module) = hub.authenticate(&connect) else {
        let delay = hub.door.failed(address, Instant::now());
        return Err(Stop::Refused(encoder, Refusal::Credentials, delay));
    };
    hub.door.succeeded(address);
    Session::admit(&connect).map_err(|refusal| Stop::Refused(encoder, refusal, Duration::ZERO))?;
    Ok((module, connect))
}

/// Looks after a session until the connection ends.
async fn attend(
    hub: &Hub,
    module: ModuleId,
    connect: Connect,
    stranger: Stranger,
    mut reader: Reader,
    mut write: OwnedWriteHalf,
    peer: SocketAddr,
) {
    let encoder = Encoder { version: connect.version, reasons: connect.reasons };
    let keep_alive = match connect.keep_alive_s {
        0 => FOREVER,
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    let client_id = connect.client_id.clone();
    let Some((slot, link, wake)) = hub.connect(&module, connect) else { return };
    drop(stranger);
    info!(%module, %peer, client_id, version = ?encoder.version, "MQTT client here");
    reader.framing.admit();
    let mut out = BytesMut::new();
    let mut attendant =
        Attendant { hub, slot: &slot, link, wake: &wake, version: encoder.version, keep_alive };
    let parting = attendant.run(&mut reader, &mut write, &mut out).await;
    let (wait, linger) = match parting {
        Parting::Lost(error) => {
            info!(%module, %peer, %error, "MQTT connection lost");
            (Duration::ZERO, false)
        }
        Parting::End(End::Disconnected) => (LINGER, false),
        Parting::End(End::Refused(refusal)) => {
            info!(%module, %peer, %refusal, "MQTT client turned away");
            (LINGER, true)
        }
        Parting::End(End::Fault(fault)) => {
            info!(%module, %peer, %fault, "MQTT client disconnected");
            (LINGER, true)
        }
        Parting::TakenOver => {
            info!(%module, %peer, "MQTT client taken over by another connection");
            encoder.disconnect(&Fault::TakenOver, &mut out);
            (LINGER, true)
        }
    };
    slot.lock().session.lost(link, hub.now_ms());
    hub.tell_all(&slot).await;
    if !wait.is_zero() {
        finish(&mut reader, &mut write, &mut out, wait, linger).await;
    }
}

/// Why a connection that had a session ends.
enum Parting {
    End(End),
    TakenOver,
    Lost(io::Error),
}

struct Attendant<'a> {
    hub: &'a Hub,
    slot: &'a Slot,
    link: u64,
    wake: &'a Notify,
    version: Version,
    keep_alive: Duration,
}

impl Attendant<'_> {
    async fn run(&mut self, reader: &mut Reader, write: &mut OwnedWriteHalf, out: &mut BytesMut) -> Parting {
        let closing = self.hub.closing.cancelled();
        tokio::pin!(closing);
        let (mut heard, mut written) = (Instant::now(), Instant::now());
        let mut drain_until = None;
        loop {
            let polled = self.slot.lock().session.poll(self.link, out);
            let has_told = self.hub.tell_some(self.slot);
            let may_read = match polled {
                Polled::Open { read } => read && has_told && drain_until.is_none(),
                Polled::Closing(end) => return Parting::End(end),
                Polled::TakenOver => return Parting::TakenOver,
            };
            if may_read {
                let received = reader
                    .framing
                    .next()
                    .and_then(|raw| raw.map(|raw| decode::packet(self.version, &raw)).transpose());
                match received {
                    Ok(Some(packet)) => {
                        self.slot.lock().session.receive(self.link, packet);
                        continue;
                    }
                    Ok(None) => {}
                    Err(fault) => {
                        self.slot.lock().session.fail(self.link, fault);
                        continue;
                    }
                }
            }
            if drain_until.is_some() && self.slot.lock().session.is_drained(self.link) {
                self.slot.lock().session.evict(Fault::Stopping);
                continue;
            }
            let now = Instant::now();
            if !may_read {
                // It is not the client that is silent.
                heard = now;
            }
            if out.is_empty() {
                written = now;
            }
            let silent_at = heard + self.keep_alive;
            let stuck_at = written + self.hub.settings.write_timeout;
            let drained_at = drain_until.unwrap_or(now + FOREVER);
            tokio::select! {
                filled = reader.fill(), if may_read => match filled {
                    Ok(()) => heard = Instant::now(),
                    Err(error) => return Parting::Lost(error),
                },
                count = write.write_buf(out), if !out.is_empty() => match count {
                    Ok(_) => written = Instant::now(),
                    Err(error) => return Parting::Lost(error),
                },
                permit = self.hub.events.reserve(), if !has_told => match permit {
                    Ok(permit) => self.slot.lock().tell(permit),
                    // Nobody listens to the events: the device is gone.
                    Err(_) => self.slot.lock().session.evict(Fault::Stopping),
                },
                () = self.wake.notified() => {}
                () = &mut closing, if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + self.hub.settings.drain_timeout);
                }
                () = sleep_until(silent_at.into()) => {
                    self.slot.lock().session.fail(self.link, Fault::KeepAlive);
                }
                () = sleep_until(stuck_at.into()), if !out.is_empty() => {
                    return Parting::Lost(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client does not take what is sent",
                    ));
                }
                () = sleep_until(drained_at.into()), if drain_until.is_some() => {
                    self.slot.lock().session.evict(Fault::Stopping);
                }
            }
        }
    }
}

/// Bytes from a client, cut into packets.
struct Reader {
    read: OwnedReadHalf,
    framing: Framing,
}

impl Reader {
    /// Reads more. Nothing is lost if it is dropped while it waits.
    async fn fill(&mut self) -> io::Result<()> {
        let buffer = &mut self.framing.buffer;
        buffer.reserve(READ_BYTES);
        match self.read.read_buf(buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the client")),
            _ => Ok(()),
        }
    }
}

/// Writes the last bytes. With `linger`, waits for the client to close: closing with bytes unread would
/// have the system throw away what was just written.
async fn finish(
    reader: &mut Reader,
    write: &mut OwnedWriteHalf,
    out: &mut BytesMut,
    wait: Duration,
    linger: bool,
) {
    let last_words = async {
        write.write_all_buf(out).await?;
        write.shutdown().await?;
        if linger {
            loop {
                reader.framing.buffer.clear();
                reader.fill().await?;
            }
        }
        Ok::<_, io::Error>(())
    };
    // Whoever does not listen any more misses it.
    let _heard_or_not = timeout(wait, last_words).await;
}
