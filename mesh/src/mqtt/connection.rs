//! One connection: moves bytes and events and keeps time. What they mean is the session's matter.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::sleep_until,
};
use tracing::info;

use super::{
    counts::Misdeed,
    decode,
    encode::Encoder,
    entrance::Guest,
    fault::Fault,
    hub::{Hub, Proven, Slot},
    link::End,
    packet::{Connect, Version},
    session::Polled,
    stream::{LINGER, Reader, Writer, finish},
};

/// The most packets that a session takes at once: others wait for it meanwhile.
const AT_ONCE: usize = 64;
/// Stands for "no limit" in a timer.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Looks after a session until the connection ends.
pub(super) async fn attend<R, W>(
    hub: &Arc<Hub>,
    proven: Proven,
    connect: Connect,
    guest: Guest,
    mut reader: Reader<R>,
    mut writer: Writer<W>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Guest { peer, stranger, .. } = guest;
    let encoder = Encoder { version: connect.version, reasons: connect.reasons };
    let keep_alive = match connect.server_keep_alive().unwrap_or(connect.keep_alive_s) {
        0 => FOREVER,
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    let client_id = connect.client_id.clone();
    let Some((slot, link, wake)) = hub.connect(&proven, connect) else { return };
    let module = proven.client;
    drop(stranger);
    let _present = hub.settings.counts.client();
    info!(%module, %peer, client_id, version = ?encoder.version, "MQTT client here");
    reader.framing.admit();
    let mut out = BytesMut::new();
    let mut attendant =
        Attendant { hub, slot: &slot, link, wake: &wake, version: encoder.version, keep_alive };
    let parting = attendant.run(&mut reader, &mut writer, &mut out).await;
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
            hub.settings.counts.ended(&fault);
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
    hub.await_will(&slot);
    if !wait.is_zero() {
        finish(&mut reader, &mut writer, &mut out, wait, linger).await;
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
    /// Brings the session packets that have been read, as far as it takes them now. False if there is none.
    fn receive<R>(&self, reader: &mut Reader<R>) -> bool {
        let session = &mut self.slot.lock().session;
        for taken in 0..AT_ONCE {
            if taken > 0 && !session.may_receive(self.link) {
                return true;
            }
            let raw = reader.framing.next();
            match raw.and_then(|raw| raw.map(|raw| decode::packet(self.version, &raw)).transpose()) {
                Ok(Some(packet)) => session.receive(self.link, packet),
                Ok(None) => return taken > 0,
                Err(fault) => {
                    session.fail(self.link, fault);
                    return true;
                }
            }
        }
        true
    }

    async fn run<R, W>(
        &mut self,
        reader: &mut Reader<R>,
        writer: &mut Writer<W>,
        out: &mut BytesMut,
    ) -> Parting
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let closing = self.hub.closing.cancelled();
        tokio::pin!(closing);
        let mut heard = Instant::now();
        // Since when something waits to be written, or since when the client took some of it.
        let mut waiting = None;
        let mut drain_until = None;
        loop {
            let polled = self.slot.lock().session.poll(self.link, out);
            let has_told = self.hub.tell_some(self.slot);
            let may_read = match polled {
                Polled::Open { read } => read && has_told && drain_until.is_none(),
                Polled::Closing(end) => return Parting::End(end),
                Polled::TakenOver => return Parting::TakenOver,
            };
            if may_read && self.receive(reader) {
                continue;
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
            let is_written = out.is_empty() && writer.is_flushed;
            let waits_since = if is_written { None } else { Some(waiting.unwrap_or(now)) };
            waiting = waits_since;
            let silent_at = heard + self.keep_alive;
            let stuck_at = waits_since.unwrap_or(now) + self.hub.settings.write_timeout;
            let drained_at = drain_until.unwrap_or(now + FOREVER);
            tokio::select! {
                filled = reader.fill(), if may_read => match filled {
                    Ok(()) => heard = Instant::now(),
                    Err(error) => return Parting::Lost(error),
                },
                pushed = writer.push(out), if !is_written => match pushed {
                    Ok(()) => waiting = Some(Instant::now()),
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
                () = sleep_until(stuck_at.into()), if !is_written => {
                    self.hub.settings.counts.add(Misdeed::NotReading);
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
