//! The bytes of the conversation between a device and the cloud.
//!
//! ```text
//! frame   = length (u32, big-endian) body
//! body    = CBOR array [kind, field, ...]        at most MAX_FRAME_BYTES
//! ```
//!
//! Fields stand in a fixed order and are integers, byte strings, texts, booleans, null or arrays of
//! those. Every text and every list has a limit by name; what is over is refused. A receiver skips fields after the ones it knows: a newer peer may add some. It refuses a
//! kind that it does not know, for it cannot know what it would miss; so a new kind is a new protocol version. Of a `Hello` of a
//! version that is not spoken here only the version is read, so that the answer can say which one is. A batch of messages may be
//! packed (see `wire/packed.rs`); its limit holds before and after.

#[cfg(any(test, fuzzing))]
pub mod hostile;
mod packed;
mod to_cloud;
mod to_device;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use wayside_actors::message::{
    Batch, Confirm, MAX_BATCH_MESSAGES, MAX_PAYLOAD_BYTES, MAX_PROPERTIES, MAX_PROPERTY_BYTES, Message,
};
use wayside_config::{identity::PublicKey, limits::TOPIC_BYTES};

use crate::codec::{CodecError, Decoder, Encoder, MAX_FIELDS};

/// The largest body of a frame.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// The largest body of the first frame, which comes from someone who is not admitted yet.
pub const MAX_HELLO_BYTES: usize = 64 << 10;

/// The longest name: of a device, module, route or queue.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A frame is larger than it may be; nothing of it was read.
    #[error("a frame of {bytes} bytes is larger than the {limit} that are allowed")]
    TooLarge {
        /// Its body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A kind that this version does not know.
    #[error("a frame of unknown kind {0}, which is of a newer version")]
    UnknownKind(u64),
    /// The body is not what its kind says.
    #[error("a {kind} frame cannot be read: {source}")]
    Malformed {
        /// Which kind.
        kind: &'static str,
        /// Why.
        source: CodecError,
    },
    /// The stream ended inside a frame or could not be read.
    #[error("the connection ended inside a frame: {0}")]
    Io(#[from] std::io::Error),
}

impl WireError {
    /// Whether the peer said it so, and would again: it is of another version, or broken.
    #[must_use]
    pub const fn is_of_the_peer(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::UnknownKind(_) | Self::Malformed { .. } => true,
            Self::Io(_) => false,
        }
    }
}

/// A type that travels as frames.
pub trait Frame: Sized {
    /// The frame's bytes, its length before them.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] when the body is over [`MAX_FRAME_BYTES`].
    fn encode(&self) -> Result<Bytes, WireError>;

    /// Reads a frame's body, which unpacks to at most `limit` bytes.
    ///
    /// # Errors
    /// When the kind is unknown or the body is not what its kind says.
    fn decode_within(body: Bytes, limit: usize) -> Result<Self, WireError>;

    /// Reads a frame's body.
    ///
    /// # Errors
    /// As [`Self::decode_within`].
    fn decode(body: Bytes) -> Result<Self, WireError> {
        Self::decode_within(body, MAX_FRAME_BYTES)
    }
}

/// Reads the next frame, of at most `limit` bytes packed and unpacked; `None` when the stream ended before one began.
///
/// Memory grows with what arrives, not with what a length claims.
///
/// # Errors
/// See [`WireError`]; after one the stream is of no use.
pub async fn read_frame<F: Frame>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<F>, WireError> {
    let mut head = [0; 4];
    let first = stream.read(&mut head).await?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[first..]).await?;
    let bytes = u32::from_be_bytes(head) as usize;
    if bytes > limit {
        return Err(WireError::TooLarge { bytes, limit });
    }
    let mut body = BytesMut::with_capacity(bytes.min(16 << 10));
    let mut stream = stream.take(bytes as u64);
    while stream.read_buf(&mut body).await? > 0 {}
    if body.len() < bytes {
        return Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    F::decode_within(body.freeze(), limit).map(Some)
}

/// Puts the length before a body that `write` makes of `kind` and `fields` fields.
fn framed(kind: u64, fields: usize, write: impl FnOnce(&mut Encoder)) -> Result<Bytes, WireError> {
    let mut encoder = Encoder::appending_to(vec![0; 4]);
    encoder.array(1 + fields);
    encoder.uint(kind);
    write(&mut encoder);
    let mut out = encoder.into_bytes();
    let bytes = out.len() - 4;
    if bytes > MAX_FRAME_BYTES {
        return Err(WireError::TooLarge { bytes, limit: MAX_FRAME_BYTES });
    }
    out[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
    Ok(out.into())
}

/// Reads a body: its kind and how many fields follow go to `read`, which reads them all.
fn unframed<T>(
    body: Bytes,
    read: impl FnOnce(u64, u64, &mut Decoder) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let malformed = |source| WireError::Malformed { kind: "protocol", source };
    let mut decoder = Decoder::new(body);
    let count = decoder.array(MAX_FIELDS, "a frame").map_err(malformed)?;
    let (kind, fields) = match count {
        0 => return Err(malformed(CodecError::MissingFields { record: "frame", found: 0, expected: 1 })),
        1.. => (decoder.uint().map_err(malformed)?, count - 1),
    };
    let value = read(kind, fields, &mut decoder)?;
    decoder.finish().map_err(malformed)?;
    Ok(value)
}

/// As much of a text for people as the other side takes.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// Writes a key.
pub(crate) fn put_key(encoder: &mut Encoder, key: &PublicKey) {
    encoder.bytes(key.as_bytes());
}

/// Reads a key.
pub(crate) fn key(decoder: &mut Decoder) -> Result<PublicKey, CodecError> {
    decoder.array_of_bytes("a key of 32 bytes").map(PublicKey::from_bytes)
}

/// Writes a message: `[origin, source, topic, payload, accepted_ms, [[name, value], ...]]`.
pub(crate) fn put_message(encoder: &mut Encoder, message: &Message) {
    encoder.array(6);
    put_key(encoder, &message.origin);
    encoder.text(&message.source);
    encoder.text(&message.topic);
    encoder.bytes(&message.payload);
    encoder.uint(message.accepted_ms);
    encoder.array(message.properties.len());
    for (name, value) in &message.properties {
        encoder.array(2);
        encoder.text(name);
        encoder.text(value);
    }
}

/// Reads a message.
pub(crate) fn message(decoder: &mut Decoder) -> Result<Message, CodecError> {
    decoder.record("message", 6, |d| {
        Ok(Message {
            origin: key(d)?,
            source: d.text(MAX_NAME_BYTES, "a module's name")?.into(),
            topic: d.text(TOPIC_BYTES, "a topic")?.into(),
            payload: d.bytes(MAX_PAYLOAD_BYTES, "a payload")?,
            accepted_ms: d.uint()?,
            properties: d.list(MAX_PROPERTIES, "the number of properties", property)?,
        })
    })
}

fn property(decoder: &mut Decoder) -> Result<(String, String), CodecError> {
    decoder.record("property", 2, |d| {
        Ok((
            d.text(MAX_PROPERTY_BYTES, "a property's name")?,
            d.text(MAX_PROPERTY_BYTES, "a property's value")?,
        ))
    })
}

fn put_batch(encoder: &mut Encoder, batch: &Batch) {
    encoder.text(&batch.route);
    encoder.uint(batch.epoch);
    encoder.uint(batch.after);
    encoder.uint(batch.first_seq);
    encoder.array(batch.messages.len());
    batch.messages.iter().for_each(|message| put_message(encoder, message));
}

fn batch(decoder: &mut Decoder) -> Result<Batch, CodecError> {
    Ok(Batch {
        route: decoder.text(MAX_NAME_BYTES, "a route")?,
        epoch: decoder.uint()?,
        after: decoder.uint()?,
        first_seq: decoder.uint()?,
        messages: decoder.list(MAX_BATCH_MESSAGES, "a batch of messages", message)?,
    })
}

fn put_confirm(encoder: &mut Encoder, confirm: &Confirm) {
    encoder.text(&confirm.route);
    encoder.uint(confirm.epoch);
    encoder.uint(confirm.upto);
}

fn confirm(decoder: &mut Decoder) -> Result<Confirm, CodecError> {
    Ok(Confirm {
        route: decoder.text(MAX_NAME_BYTES, "a route")?,
        epoch: decoder.uint()?,
        upto: decoder.uint()?,
    })
}

#[cfg(test)]
mod tests;
