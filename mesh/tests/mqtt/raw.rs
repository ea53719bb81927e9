//! A client that sends any bytes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::device::PASSWORD;

pub struct Raw<S = TcpStream>(pub S);

impl Raw {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    /// Connects with this protocol level, and expects to be let in with an empty session.
    pub fn connected(address: SocketAddr, level: u8) -> Self {
        let mut raw = Self::open(address);
        raw.send(&connect(level, PASSWORD));
        let connack = raw.packet().unwrap();
        assert_eq!(connack[0], 0x20);
        assert!(connack[2..].starts_with(&[0, 0]), "{connack:x?}");
        raw
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut byte = [0];
        let is_silent = self.0.peek(&mut byte).is_err();
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        is_silent
    }
}

impl<S: Read + Write> Raw<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        // The listener may close in the middle of it: what it said first is what counts.
        let _sent_or_closed = self.0.write_all(bytes);
    }

    /// The next packet; `None` when the listener closes.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 2];
        self.0.read_exact(&mut packet).ok()?;
        assert!(packet[1] < 0x80, "a long packet: {packet:x?}");
        let mut body = vec![0; usize::from(packet[1])];
        self.0.read_exact(&mut body).ok()?;
        packet.extend(body);
        Some(packet)
    }
}

/// A CONNECT of `plant/detector` with a clean session.
pub fn connect(level: u8, password: &str) -> Vec<u8> {
    connect_as(level, "plant/detector", password)
}

/// The same of anybody.
pub fn connect_as(level: u8, user: &str, password: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([level, 0b1100_0010, 0, 60]);
    if level == 5 {
        body.push(0);
    }
    for text in ["raw", user, password] {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

/// A CONNECT of `plant/detector` that finds its session again.
pub fn connect_lasting(level: u8, password: &str) -> Vec<u8> {
    let mut packet = connect(level, password);
    packet[9] = 0b1100_0000;
    packet
}

/// A QoS 1 PUBLISH to `t`, of 3.1.1.
pub fn publish(id: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x32, u8::try_from(5 + payload.len()).unwrap(), 0, 1, b't', 0, id];
    packet.extend(payload);
    packet
}
