//! An operator's look into the lobby, from a machine that may have no daemon. Blocking.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use wayside_config::hello::{PACKET_BYTES, Packet, WHO, claimed_sender, open};

use super::{Heard, book::Book, socket::GroupSocket};
use crate::session::all_addresses;

/// Between two questions: one may be lost.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Who says to be there within so long. When somebody is, nobody is waited for that stays silent for half a second.
///
/// # Errors
/// When there is no socket.
pub fn look(group: SocketAddrV4, within: Duration) -> io::Result<Vec<Heard>> {
    const QUIET: Duration = Duration::from_millis(500);
    let begun = Instant::now();
    let now_ms = || begun.elapsed().as_millis() as u64;
    let mut socket = GroupSocket::open(group)?;
    socket.join(&all_addresses().into_iter().collect());
    let receiver = socket.receiver()?;
    let (mut book, mut packet) = (Book::default(), vec![0; PACKET_BYTES + 1]);
    let (mut ask_at, mut new_at) = (begun, None::<Instant>);
    while begun.elapsed() < within && new_at.is_none_or(|at| at.elapsed() < QUIET) {
        if Instant::now() >= ask_at {
            socket.say(&WHO, &[]);
            ask_at += ASK_EVERY;
        }
        let wait = ask_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        receiver.set_read_timeout(Some(wait))?;
        let Ok((length, SocketAddr::V4(from))) = receiver.recv_from(&mut packet) else { continue };
        let bytes = packet.get(..length).unwrap_or_default();
        let Some(sender) = claimed_sender(bytes) else { continue };
        if book.admits(&sender, *from.ip(), now_ms())
            && let Ok(Packet::Hello { hello, grant }) = open(bytes)
            && book.hear(*hello, grant, *from.ip(), now_ms()).is_some()
        {
            new_at = Some(Instant::now());
        }
    }
    Ok(book.heard(now_ms()))
}
