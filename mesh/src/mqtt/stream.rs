//! The bytes of one connection, whether or not TLS is around them.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::framing::Framing;

/// Room made for one read.
const READ_BYTES: usize = 8 << 10;
/// How long a client that is disconnected for a reason may take to read that reason.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Bytes from a client, cut into packets.
pub(super) struct Reader<R> {
    read: R,
    pub(super) framing: Framing,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, framing: Framing::new() }
    }

    /// Reads more. Nothing is lost if it is dropped while it waits.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        let buffer = &mut self.framing.buffer;
        buffer.reserve(READ_BYTES);
        match self.read.read_buf(buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the client")),
            _ => Ok(()),
        }
    }
}

/// Bytes to a client.
pub(super) struct Writer<W> {
    write: W,
    /// Whether all that was written is on its way: TLS may hold some of it.
    pub(super) is_flushed: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) const fn new(write: W) -> Self {
        Self { write, is_flushed: true }
    }

    /// Writes some of `out`. Nothing is lost if it is dropped while it waits.
    pub(super) async fn push(&mut self, out: &mut BytesMut) -> io::Result<()> {
        self.is_flushed = false;
        if !out.is_empty() {
            self.write.write_buf(out).await?;
        }
        self.write.flush().await?;
        self.is_flushed = true;
        Ok(())
    }
}

/// Writes the last bytes. With `linger`, waits for the client to close: closing with bytes unread would
/// have the system throw away what was just written.
pub(super) async fn finish<R, W>(
    reader: &mut Reader<R>,
    writer: &mut Writer<W>,
    out: &mut BytesMut,
    wait: Duration,
    linger: bool,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let last_words = async {
        writer.write.write_all_buf(out).await?;
        writer.write.shutdown().await?;
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
