//! What devices of a site say to each other, as bytes. Pure: no session, no clock.
//!
//! Every payload begins with [`VERSION`]; what it is follows from the key it came on (see [`crate::keys`]).
//! Limits are checked before anything is allocated.

use bytes::Bytes;
use wayside_actors::{
    frame::Desired,
    message::{Batch, Confirm, MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES},
};
use wayside_config::limits::{SEALED_BYTES, TOPIC_BYTES, WORKLOADS};

pub use crate::cursor::DecodeError;
use crate::{
    cursor::{Cursor, put_bytes, put_text, within},
    packed::{put_messages, take_messages},
};

/// The version of these formats.
pub const VERSION: u8 = 1;

/// The largest encoded batch: a full one, or one message of the largest kind, with names.
pub const BATCH_BYTES: usize = MAX_BATCH_BYTES + MAX_PAYLOAD_BYTES + 1024 * (TOPIC_BYTES + 128);

/// The largest encoded offer of desired state. More than one device's releases in practice.
pub const OFFER_BYTES: usize = 8 << 20;

/// The largest encoded confirmation.
pub const CONFIRM_BYTES: usize = 256;

/// Bytes of `workload/route` at most.
const ROUTE_BYTES: usize = 127;

/// A batch as bytes.
#[must_use]
pub fn encode_batch(batch: &Batch) -> Vec<u8> {
    let payload: usize = batch.messages.iter().map(|message| message.payload.len() + 16).sum();
    let mut out = Vec::with_capacity(payload + 256);
    out.push(VERSION);
    put_text(&mut out, &batch.route);
    out.extend(batch.epoch.to_be_bytes());
    out.extend(batch.after.to_be_bytes());
    out.extend(batch.first_seq.to_be_bytes());
    put_messages(&mut out, &batch.messages);
    out
}

/// The batch that `bytes` are. Payloads share their memory.
///
/// # Errors
/// See [`DecodeError`]; also when sequence numbers make no sense.
pub fn decode_batch(bytes: Bytes) -> Result<Batch, DecodeError> {
    within(bytes.len(), BATCH_BYTES, "batch")?;
    let mut cursor = Cursor::new(bytes);
    cursor.version(VERSION)?;
    let route = cursor.text(ROUTE_BYTES, "route")?;
    let epoch = cursor.u64("epoch")?;
    let after = cursor.u64("after")?;
    let first_seq = cursor.u64("first_seq")?;
    let messages = take_messages(&mut cursor)?;
    cursor.end()?;
    if after >= first_seq || first_seq.checked_add(messages.len() as u64).is_none() {
        return Err(DecodeError::Malformed("first_seq"));
    }
    Ok(Batch { route, epoch, after, first_seq, messages })
}

/// A confirmation as bytes.
#[must_use]
pub fn encode_confirm(confirm: &Confirm) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_text(&mut out, &confirm.route);
    out.extend(confirm.epoch.to_be_bytes());
    out.extend(confirm.upto.to_be_bytes());
    out
}

/// The confirmation that `bytes` are.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_confirm(bytes: Bytes) -> Result<Confirm, DecodeError> {
    within(bytes.len(), CONFIRM_BYTES, "confirm")?;
    let mut cursor = Cursor::new(bytes);
    cursor.version(VERSION)?;
    let confirm = Confirm {
        route: cursor.text(ROUTE_BYTES, "route")?,
        epoch: cursor.u64("epoch")?,
        upto: cursor.u64("upto")?,
    };
    cursor.end()?;
    Ok(confirm)
}

/// An offer of desired state as bytes.
#[must_use]
pub fn encode_offer(desired: &Desired) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_bytes(&mut out, &desired.assignment);
    out.extend((desired.releases.len() as u16).to_be_bytes());
    for release in &desired.releases {
        put_bytes(&mut out, release);
    }
    out
}

/// The offer that `bytes` are.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_offer(bytes: Bytes) -> Result<Desired, DecodeError> {
    within(bytes.len(), OFFER_BYTES, "offer")?;
    let mut cursor = Cursor::new(bytes);
    cursor.version(VERSION)?;
    let assignment = cursor.bytes(SEALED_BYTES, "assignment")?;
    let count = usize::from(cursor.u16("releases")?);
    within(count, WORKLOADS, "releases")?;
    let releases = (0..count).map(|_| cursor.bytes(SEALED_BYTES, "release")).collect::<Result<_, _>>()?;
    cursor.end()?;
    Ok(Desired { assignment, releases })
}
