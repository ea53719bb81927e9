//! The few packets of MQTT 3.1.1 that a load needs, as bytes.

use std::io::{self, Read};

use wayside_simulations::mqtt::{packet, put};

pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBACK: u8 = 9;

/// A CONNECT with a clean session.
pub(crate) fn connect(client_id: &str, user: &str, password: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    let is_known = !user.is_empty();
    body.push(if is_known { 0b1100_0010 } else { 0b10 });
    body.extend([0, 0]);
    put(&mut body, client_id);
    if is_known {
        put(&mut body, user);
        put(&mut body, password);
    }
    packet(0x10, &body)
}

/// A SUBSCRIBE to one filter.
pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    put(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// A PUBLISH, its length before its payload being `payload_at`.
pub(crate) fn publish(topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(payload.len() + topic.len() + 4);
    put(&mut body, topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

/// Adds a PUBACK.
pub(crate) fn puback(packet_id: u16, out: &mut Vec<u8>) {
    out.extend([0x40, 2]);
    out.extend(packet_id.to_be_bytes());
}

/// Packets as they come out of a connection.
pub(crate) struct Packets<R> {
    from: R,
    buffer: Vec<u8>,
    /// What of the buffer is not taken yet.
    begin: usize,
    end: usize,
}

impl<R: Read> Packets<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: vec![0; 256 << 10], begin: 0, end: 0 }
    }

    /// The next packet, if it is here already: its first byte and its body.
    pub(crate) fn here(&mut self) -> Option<(u8, &[u8])> {
        let bytes = self.buffer.get(self.begin..self.end)?;
        let first = *bytes.first()?;
        let (mut length, mut at) = (0usize, 1);
        loop {
            let byte = *bytes.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = self.begin + at..self.begin + at + length;
        if body.end > self.end {
            return None;
        }
        self.begin = body.end;
        self.buffer.get(body).map(|body| (first, body))
    }

    /// Reads more.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.from.read(&mut self.buffer[self.end..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection")),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Waits for a packet of this kind, which must be the next. Its body.
    pub(crate) fn expect(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        loop {
            if let Some((first, body)) = self.here() {
                return match first >> 4 == kind {
                    true => Ok(body.to_vec()),
                    false => Err(io::Error::other(format!("packet {} came, {kind} was due", first >> 4))),
                };
            }
            self.fill()?;
        }
    }
}

/// Packet identifier and payload of a PUBLISH.
pub(crate) fn published(first: u8, body: &[u8]) -> Option<(Option<u16>, &[u8])> {
    let topic = usize::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
    let rest = body.get(2 + topic..)?;
    match first >> 1 & 3 {
        0 => Some((None, rest)),
        _ => Some((Some(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_as_it_was_written_in_whatever_pieces_it_comes() {
        let payload = vec![7; 300];
        let bytes = publish("a/b", 1, 513, &payload);
        struct Dribble<'a>(&'a [u8]);
        impl Read for Dribble<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(3);
                to[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let mut packets = Packets::new(Dribble(&bytes));
        let body = packets.expect(PUBLISH).unwrap();
        assert_eq!(published(bytes[0], &body), Some((Some(513), &payload[..])));
    }
}
