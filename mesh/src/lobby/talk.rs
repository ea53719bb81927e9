//! A device's part of the conversation: says its hello now and then, and hears those of others.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use wayside_config::hello::{ADDRESSES, Hello, PACKET_BYTES, Packet, claimed_sender, open};

use super::{Heard, LobbySettings, Saying, Shared, door, lock, socket::GroupSocket};
use crate::session::lan_ips;

/// Between two hellos when nothing changes. One that is not heard three times is gone.
const EVERY: Duration = Duration::from_secs(5);

/// Between two hellos when things change or somebody asks, so that nobody makes a device say more.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// How often the host's addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How soon it is tried again when there is no socket.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until nobody is left to hear.
pub(super) async fn run(
    settings: LobbySettings,
    shared: Arc<Shared>,
    mut said: watch::Receiver<Saying>,
    news: mpsc::Sender<Heard>,
    handed: mpsc::Sender<door::Delivery>,
) {
    let (open_on, allowed) = watch::channel(BTreeSet::new());
    let port = door::open(&settings, Arc::clone(&shared), allowed, handed).await;
    let mut run = Run { settings, shared, news, port, run: getrandom::u64().unwrap_or_default(), number: 0 };
    loop {
        let socket = GroupSocket::open(run.settings.group)
            .and_then(|socket| Ok((UdpSocket::from_std(nonblocking(socket.receiver()?)?)?, socket)));
        let ended = match socket {
            Ok((receiver, socket)) => run.talk(socket, &receiver, &mut said, &open_on).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        let group = run.settings.group;
        run.problem(Some(format!(
            "nobody can be heard before admission: no socket for UDP {group}: {error}; free the port, or admit devices through a cloud"
        )));
        tokio::time::sleep(RETRY).await;
    }
}

fn nonblocking(socket: StdUdpSocket) -> io::Result<StdUdpSocket> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Run {
    settings: LobbySettings,
    shared: Arc<Shared>,
    news: mpsc::Sender<Heard>,
    port: u16,
    run: u64,
    number: u64,
}

impl Run {
    /// Until nobody says anything any more, or the socket fails.
    async fn talk(
        &mut self,
        mut socket: GroupSocket,
        receiver: &UdpSocket,
        said: &mut watch::Receiver<Saying>,
        open_on: &watch::Sender<BTreeSet<Ipv4Addr>>,
    ) -> io::Result<()> {
        let mut packet = vec![0; PACKET_BYTES + 1];
        let (mut look_at, mut say_at) = (Instant::now(), Instant::now());
        let mut said_at = None::<Instant>;
        loop {
            tokio::select! {
                changed = said.changed() => match changed {
                    Ok(()) => say_at = soon(said_at),
                    Err(_) => return Ok(()),
                },
                () = sleep_until(look_at) => {
                    let addresses = self.addresses();
                    open_on.send_if_modified(|before| std::mem::replace(before, addresses.clone()) != addresses);
                    socket.join(&addresses);
                    self.problem((!socket.is_joined()).then(|| format!(
                        "nobody can be heard before admission: no multicast; check the firewall for UDP {}, or admit devices through a cloud",
                        self.settings.group
                    )));
                    look_at = Instant::now() + LOOK_EVERY;
                }
                () = sleep_until(say_at) => {
                    let saying = said.borrow_and_update().clone();
                    self.say(&socket, saying);
                    said_at = Some(Instant::now());
                    say_at = Instant::now() + EVERY;
                }
                received = receiver.recv_from(&mut packet) => {
                    let (length, from) = received?;
                    if let (Some(bytes), SocketAddr::V4(from)) = (packet.get(..length), from)
                        && self.hear(bytes, *from.ip())
                    {
                        say_at = say_at.min(soon(said_at));
                    }
                }
            }
        }
    }

    fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        if self.settings.listen.is_empty() {
            lan_ips(&self.settings.exclude)
        } else {
            self.settings.listen.iter().copied().collect()
        }
    }

    fn say(&mut self, socket: &GroupSocket, saying: Saying) {
        self.number += 1;
        let Saying { name, labels, fleet, root, revocation, assigned, grant, mut mesh, proof } = saying;
        mesh.truncate(ADDRESSES);
        let (device, run, number, port) = (self.settings.signer.key(), self.run, self.number, self.port);
        let hello =
            Hello { device, run, number, name, labels, fleet, root, revocation, assigned, port, mesh, proof };
        match hello.seal(&*self.settings.signer, grant.as_deref()) {
            Ok(packet) => socket.say(&packet, &self.settings.connect),
            Err(error) => tracing::error!(%error, "this device cannot say who it is"),
        }
    }

    /// Takes a packet in. `true` when it asks who is there.
    fn hear(&self, packet: &[u8], from: Ipv4Addr) -> bool {
        let now_ms = self.shared.now_ms();
        let Some(sender) = claimed_sender(packet) else { return matches!(open(packet), Ok(Packet::Who)) };
        if !self.shared.book().admits(&sender, from, now_ms) {
            return false;
        }
        match open(packet) {
            Ok(Packet::Hello { hello, grant }) => {
                let heard = self.shared.book().hear(*hello, grant, from, now_ms);
                // This device's own come back to it; they are news when another one has its key.
                if let Some(heard) = heard.filter(|heard| self.shared.is_news(heard)) {
                    // Who finds no room is told of with its next change; what it said is in the book.
                    let _ = self.news.try_send(heard);
                }
            }
            Ok(Packet::Who) => return true,
            Err(error) => tracing::debug!(%from, %error, "a packet of the lobby was not taken"),
        }
        false
    }

    fn problem(&self, problem: Option<String>) {
        *lock(&self.shared.problem) = problem;
    }
}

/// When to say it, as soon as may be.
fn soon(said_at: Option<Instant>) -> Instant {
    said_at.map_or_else(Instant::now, |at| at + AT_MOST_EVERY)
}
