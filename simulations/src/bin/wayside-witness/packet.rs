//! Packets of MQTT 3.1.1 as a client with a lasting session at QoS 2 needs them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Result, bail};
use wayside_simulations::mqtt::{packet, put};

use crate::Shared;

pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBACK: u8 = 9;

/// How long a read may wait before the client looks around.
const LOOK: Duration = Duration::from_millis(5);

/// How long a broker may take to answer a CONNECT. One that is killed meanwhile breaks the connection.
const GREETING: Duration = Duration::from_secs(10);

/// A connection, and what has been read of the next packet.
pub(crate) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The broker knows the session of before.
    pub(crate) is_resumed: bool,
}

/// A packet of the broker: its type and flags, and its body.
pub(crate) type Packet = (u8, Vec<u8>);

impl Link {
    /// Connects and greets. An error of the connection is worth another try; a refusal is not.
    pub(crate) fn open(
        shared: &Shared,
        client: &str,
        user: &str,
        password: &str,
    ) -> Result<io::Result<Self>> {
        let mut body = b"\0\x04MQTT\x04\xc0\0\x3c".to_vec();
        [client, user, password].iter().for_each(|text| put(&mut body, text));
        let opened = || -> io::Result<(Self, Packet)> {
            let stream = TcpStream::connect_timeout(&shared.address, GREETING)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(GREETING))?;
            stream.set_read_timeout(Some(GREETING))?;
            let mut link = Self { stream, buffer: Vec::new(), is_resumed: false };
            link.send(&packet(0x10, &body))?;
            loop {
                if let Some(packet) = link.next()? {
                    link.stream.set_read_timeout(Some(LOOK))?;
                    return Ok((link, packet));
                }
            }
        };
        match opened() {
            Err(error) => Ok(Err(error)),
            Ok((mut link, (first, body))) => match (first >> 4, body.as_slice()) {
                (CONNACK, [present, 0]) => {
                    link.is_resumed = *present == 1;
                    Ok(Ok(link))
                }
                // The daemon is up and does not know its workload yet.
                (CONNACK, [_, 3..=5]) => Ok(Err(io::ErrorKind::ConnectionRefused.into())),
                other => bail!("the broker answers CONNECT with {other:?}"),
            },
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next packet, if one comes soon.
    pub(crate) fn next(&mut self) -> io::Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.take() {
                return Ok(Some(packet));
            }
            let mut part = [0; 16 << 10];
            match self.stream.read(&mut part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&part[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> Option<Packet> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *self.buffer.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 || at > 4 {
                break;
            }
        }
        let body = self.buffer.get(at..at + length)?.to_vec();
        let first = *self.buffer.first()?;
        self.buffer.drain(..at + length);
        Some((first, body))
    }
}

/// A packet that is nothing but an identifier.
pub(crate) fn reply(kind: u8, id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &id.to_be_bytes())
}

/// The identifier that such a packet, or a SUBACK, begins with.
pub(crate) fn identifier(body: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(body.get(..2)?.try_into().ok()?))
}

/// A PUBLISH at QoS 2 of a number.
pub(crate) fn publish(topic: &str, id: u16, is_again: bool, number: u64) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, topic);
    body.extend(id.to_be_bytes());
    body.extend(number.to_be_bytes());
    packet(if is_again { 0x3c } else { 0x34 }, &body)
}

/// Identifier and number of such a PUBLISH.
pub(crate) fn published(body: &[u8]) -> Option<(u16, u64)> {
    let topic = usize::from(identifier(body)?);
    let rest = body.get(2 + topic..)?;
    Some((identifier(rest)?, u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)))
}

/// A SUBSCRIBE at QoS 2.
pub(crate) fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    put(&mut body, filter);
    body.push(2);
    packet(0x82, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_as_it_was_written() {
        let bytes = publish("a/b", 7, false, 1 << 40);
        assert_eq!((bytes[0], published(&bytes[2..])), (0x34, Some((7, 1 << 40))));
        assert_eq!(reply(PUBREL, 7), [0x62, 2, 0, 7]);
    }
}
