//! Bytes from a client, in whatever pieces they come, cut into packets.

use bytes::{Buf as _, BytesMut};
use mqtt_protocol_core::mqtt::{
    common::Cursor,
    connection::{PacketBuildResult, PacketBuilder, RawPacket},
};

use super::{
    fault::Fault,
    window::{MAX_CONNECT_BYTES, MAX_PACKET_BYTES},
};

/// What was read and is no whole packet yet.
pub(super) struct Framing {
    /// Takes what is read.
    pub(super) buffer: BytesMut,
    builder: PacketBuilder,
}

impl Framing {
    /// For a client that has not shown a password: its packets are small.
    pub(super) fn new() -> Self {
        let builder = PacketBuilder::with_maximum_packet_size(limit(MAX_CONNECT_BYTES));
        Self { buffer: BytesMut::new(), builder }
    }

    /// The client has shown its password.
    pub(super) fn admit(&mut self) {
        self.builder.set_maximum_packet_size(limit(MAX_PACKET_BYTES));
    }

    /// The next packet of what has been read.
    pub(super) fn next(&mut self) -> Result<Option<RawPacket>, Fault> {
        let mut cursor = Cursor::new(&self.buffer[..]);
        let built = self.builder.feed(&mut cursor);
        let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        self.buffer.advance(used.min(self.buffer.len()));
        match built {
            PacketBuildResult::Complete(raw) => Ok(Some(raw)),
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(error) => Err(error.into()),
        }
    }
}

fn limit(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
