//! A client that subscribes, acknowledges, and looks at what it gets.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    Client,
    latency::now_ns,
    packet::{self, CONNACK, PUBLISH, Packets, SUBACK},
};

pub(crate) struct Subscriber {
    stream: TcpStream,
    packets: Packets<TcpStream>,
}

/// What a subscriber saw.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) distinct: u64,
    pub(crate) doubled: u64,
    pub(crate) misordered: u64,
    pub(crate) last: Option<Instant>,
    pub(crate) latencies_us: Vec<u32>,
}

/// What came of one publisher.
#[derive(Clone)]
struct Seen {
    /// After the highest.
    next: u64,
    numbers: Vec<bool>,
}

impl Subscriber {
    pub(crate) fn connect(
        address: SocketAddr,
        number: usize,
        client: &Client,
        qos: u8,
        patience: Duration,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let client_id = format!("load-subscriber-{number}");
        stream.write_all(&packet::connect(&client_id, &client.user, &client.password))?;
        let mut packets = Packets::new(stream.try_clone()?);
        let connack = packets.expect(CONNACK).context("no CONNACK")?;
        if connack.get(1) != Some(&0) {
            bail!("the broker refused the connection, code {:?}", connack.get(1));
        }
        stream.write_all(&packet::subscribe(&client.topic, qos))?;
        let suback = packets.expect(SUBACK).context("no SUBACK")?;
        if suback.get(2) != Some(&qos) {
            bail!("the broker granted {:?} for the filter {}", suback.get(2), client.topic);
        }
        Ok(Self { stream, packets })
    }

    /// Takes messages until all of `publishers` times `share` are there, or none comes any more.
    pub(crate) fn start(self, publishers: u64, share: u64) -> JoinHandle<Result<Got>> {
        thread::spawn(move || self.run(publishers, share))
    }

    fn run(mut self, publishers: u64, share: u64) -> Result<Got> {
        let mut got = Got::default();
        let one = Seen { next: 0, numbers: vec![false; usize::try_from(share)?] };
        let mut seen = vec![one; usize::try_from(publishers)?];
        let mut acks = Vec::new();
        while got.distinct < publishers * share {
            let now = now_ns();
            while let Some((first, body)) = self.packets.here() {
                if first >> 4 != PUBLISH {
                    continue;
                }
                let (id, payload) = packet::published(first, body).context("a malformed PUBLISH")?;
                if let Some(id) = id {
                    packet::puback(id, &mut acks);
                }
                got.count(payload, now, &mut seen).context("a message of somebody else")?;
            }
            if !acks.is_empty() {
                got.last = Some(Instant::now());
                self.stream.write_all(&acks).context("acknowledging")?;
                acks.clear();
            } else if got.distinct > 0 {
                got.last.get_or_insert_with(Instant::now);
            }
            if got.distinct < publishers * share {
                match self.packets.fill() {
                    Ok(()) => got.last = Some(Instant::now()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("reading"),
                }
            }
        }
        Ok(got)
    }
}

impl Got {
    fn count(&mut self, payload: &[u8], now_ns: u64, seen: &mut [Seen]) -> Option<()> {
        let number = |at: usize| Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        let (sent_ns, publisher, number) = (number(0)?, number(8)?, number(16)?);
        let seen = seen.get_mut(usize::try_from(publisher).ok()?)?;
        let mark = seen.numbers.get_mut(usize::try_from(number).ok()?)?;
        self.latencies_us.push(u32::try_from(now_ns.saturating_sub(sent_ns) / 1000).unwrap_or(u32::MAX));
        if std::mem::replace(mark, true) {
            self.doubled += 1;
            return Some(());
        }
        self.distinct += 1;
        self.misordered += u64::from(number < seen.next);
        seen.next = seen.next.max(number + 1);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(publisher: u64, number: u64) -> Vec<u8> {
        [0, publisher, number].iter().flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn what_comes_twice_or_late_is_counted_and_what_is_foreign_is_refused() {
        let (mut got, mut seen) = (Got::default(), vec![Seen { next: 0, numbers: vec![false; 4] }; 2]);
        for (publisher, number) in [(0, 0), (1, 0), (0, 1), (0, 1), (1, 3), (1, 2)] {
            assert!(got.count(&payload(publisher, number), 5_000, &mut seen).is_some());
        }
        assert_eq!((got.distinct, got.doubled, got.misordered), (5, 1, 1));
        assert!(got.count(&payload(2, 0), 0, &mut seen).is_none());
        assert!(got.count(&payload(0, 4), 0, &mut seen).is_none());
        assert!(got.count(b"short", 0, &mut seen).is_none());
    }
}
