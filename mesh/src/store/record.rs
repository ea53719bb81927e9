//! What lies in a segment, byte for byte. Every value carries a checksum over its key and itself.
//!
//! | key | value |
//! |---|---|
//! | `e` | format, epoch, count of commits, next queue number, end of the log, commit that was packed last |
//! | `q` queue u32 | the queue's name, acknowledged and last number, its newest extent |
//! | `x` queue u32 | its older extents, some of them acknowledged since |
//! | `m` name | a mark |
//! | `s` number u32 | what one commit staged: messages, unless they were packed since |
//! | `d` queue u32, first number u64 | where consecutive messages lie in the log |
//!
//! Version 1 had the messages themselves under `d`, and no log; it is read.

use bytes::Bytes;
use wayside_actors::{
    message::Message,
    queue::{Endpoint, Queue},
};
use wayside_config::{identity::PublicKey, workload::ModuleId};

use super::index::Extent;
use crate::{
    cursor::{Cursor, DecodeError, put_text, within},
    packed::{put_messages, take_messages},
};

/// Of these records.
const FORMAT: u8 = 2;
const FORMAT_WITHOUT_LOG: u8 = 1;

/// Of a queue's or a module's name; their rules allow less.
const NAME_BYTES: usize = 256;

/// Extents of one queue at most: one a segment, and those that were moved.
const EXTENTS: usize = 1 << 20;

/// The key of [`Meta`]. A segment without it was never finished.
pub(super) const META: &[u8] = b"e";

/// What a segment says of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) epoch: u64,
    pub(super) commits: u64,
    pub(super) next_queue: u32,
    /// How much of the log there is.
    pub(super) log_end: u64,
    /// What this commit and those before it staged is in the log, or needed no more.
    pub(super) packed: u64,
}

/// What a segment says of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueRecord {
    pub(super) queue: Queue,
    pub(super) acked: u64,
    pub(super) last: u64,
    pub(super) tail: Option<Extent>,
}

pub(super) fn queue_key(number: u32) -> Vec<u8> {
    [b"q".as_slice(), &number.to_be_bytes()].concat()
}

pub(super) fn extents_key(number: u32) -> Vec<u8> {
    [b"x".as_slice(), &number.to_be_bytes()].concat()
}

pub(super) fn mark_key(name: &str) -> Vec<u8> {
    [b"m", name.as_bytes()].concat()
}

pub(super) fn entry_key(number: u32, first: u64) -> Vec<u8> {
    [b"d".as_slice(), &number.to_be_bytes(), &first.to_be_bytes()].concat()
}

pub(super) fn staged_key(slot: u32) -> Vec<u8> {
    [b"s".as_slice(), &slot.to_be_bytes()].concat()
}

/// The queue and the first number that an entry's key names.
pub(super) fn parse_entry_key(key: &[u8]) -> Option<(u32, u64)> {
    let (number, first) = key.strip_prefix(b"d")?.split_at_checked(4)?;
    Some((u32::from_be_bytes(number.try_into().ok()?), u64::from_be_bytes(first.try_into().ok()?)))
}

/// The number at the end of a `q`, `x` or `s` key.
pub(super) fn parse_number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// Puts the checksum before `body`.
pub(super) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    [&checksum(key, body).to_be_bytes(), body].concat()
}

/// The body of a value whose checksum holds.
pub(super) fn unseal(key: &[u8], value: &[u8]) -> Result<Bytes, DecodeError> {
    let (stored, body) = value.split_at_checked(4).ok_or(DecodeError::Truncated("checksum"))?;
    if stored != checksum(key, body).to_be_bytes() {
        return Err(DecodeError::Malformed("checksum"));
    }
    Ok(Bytes::copy_from_slice(body))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

pub(super) fn encode_meta(meta: &Meta) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend(meta.epoch.to_be_bytes());
    out.extend(meta.commits.to_be_bytes());
    out.extend(meta.next_queue.to_be_bytes());
    out.extend(meta.log_end.to_be_bytes());
    out.extend(meta.packed.to_be_bytes());
    out
}

pub(super) fn decode_meta(body: Bytes) -> Result<Meta, DecodeError> {
    let has_log = body.first() != Some(&FORMAT_WITHOUT_LOG);
    let mut cursor = Cursor::new(body);
    cursor.version(if has_log { FORMAT } else { FORMAT_WITHOUT_LOG })?;
    let mut meta = Meta {
        epoch: cursor.u64("epoch")?,
        commits: cursor.u64("commits")?,
        next_queue: cursor.u32("next_queue")?,
        log_end: 0,
        packed: 0,
    };
    if has_log {
        meta.log_end = cursor.u64("log_end")?;
        meta.packed = cursor.u64("packed")?;
    }
    cursor.end()?;
    Ok(meta)
}

pub(super) fn encode_queue(record: &QueueRecord) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, &record.queue.route);
    match &record.queue.to {
        Endpoint::Module(module) => {
            out.push(0);
            put_text(&mut out, &module.workload);
            put_text(&mut out, &module.module);
        }
        Endpoint::Device(device) => {
            out.push(1);
            out.extend(device.as_bytes());
        }
        Endpoint::Cloud => out.push(2),
    }
    out.extend(record.acked.to_be_bytes());
    out.extend(record.last.to_be_bytes());
    out.extend(encode_extents(record.tail.iter()));
    out
}

pub(super) fn decode_queue(body: Bytes) -> Result<QueueRecord, DecodeError> {
    let mut cursor = Cursor::new(body);
    let route = cursor.text(NAME_BYTES, "route")?;
    let to = match cursor.u8("endpoint")? {
        0 => Endpoint::Module(ModuleId::new(
            cursor.text(NAME_BYTES, "workload")?,
            cursor.text(NAME_BYTES, "module")?,
        )),
        1 => Endpoint::Device(PublicKey::from_bytes(cursor.array("device")?)),
        2 => Endpoint::Cloud,
        _ => return Err(DecodeError::Malformed("endpoint")),
    };
    let (acked, last) = (cursor.u64("acked")?, cursor.u64("last")?);
    let tail = take_extents(&mut cursor)?.pop();
    cursor.end()?;
    if acked > last || tail.as_ref().is_some_and(|tail| tail.last > last) {
        return Err(DecodeError::Malformed("acked"));
    }
    Ok(QueueRecord { queue: Queue::new(route, to), acked, last, tail })
}

pub(super) fn encode_extents<'a>(extents: impl ExactSizeIterator<Item = &'a Extent>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + extents.len() * 32);
    out.extend((extents.len() as u32).to_be_bytes());
    for extent in extents {
        out.extend(extent.segment.to_be_bytes());
        out.extend(extent.first.to_be_bytes());
        out.extend(extent.last.to_be_bytes());
        out.extend(extent.bytes.to_be_bytes());
    }
    out
}

pub(super) fn decode_extents(body: Bytes) -> Result<Vec<Extent>, DecodeError> {
    let mut cursor = Cursor::new(body);
    let extents = take_extents(&mut cursor)?;
    cursor.end()?;
    Ok(extents)
}

fn take_extents(cursor: &mut Cursor) -> Result<Vec<Extent>, DecodeError> {
    let count = cursor.u32("extents")? as usize;
    within(count, EXTENTS, "extents")?;
    let mut extents: Vec<Extent> = Vec::new();
    for _ in 0..count {
        let extent = Extent {
            segment: cursor.u64("segment")?,
            first: cursor.u64("first")?,
            last: cursor.u64("last")?,
            bytes: cursor.u64("bytes")?,
        };
        if extent.first > extent.last || extents.last().is_some_and(|before| before.last >= extent.first) {
            return Err(DecodeError::Malformed("extents"));
        }
        extents.push(extent);
    }
    Ok(extents)
}

pub(super) fn encode_messages<'a>(messages: impl ExactSizeIterator<Item = &'a Message> + Clone) -> Vec<u8> {
    let mut out = Vec::new();
    put_messages(&mut out, messages);
    out
}

pub(super) fn decode_messages(body: Bytes) -> Result<Vec<Message>, DecodeError> {
    let mut cursor = Cursor::new(body);
    let messages = take_messages(&mut cursor)?;
    cursor.end()?;
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> QueueRecord {
        QueueRecord {
            queue: Queue::new("w/r", Endpoint::Device(PublicKey::from_bytes([7; 32]))),
            acked: 3,
            last: 9,
            tail: Some(Extent { segment: 1, first: 2, last: 9, bytes: 800 }),
        }
    }

    #[test]
    fn a_store_without_a_log_is_read() {
        let meta = Meta { epoch: 7, commits: 3, next_queue: 2, log_end: 9, packed: 3 };
        let mut body = encode_meta(&meta);
        assert_eq!(decode_meta(body.clone().into()), Ok(meta));
        body.truncate(21);
        body[0] = 1;
        assert_eq!(decode_meta(body.clone().into()), Ok(Meta { log_end: 0, packed: 0, ..meta }));
        body[0] = 3;
        assert!(decode_meta(body.into()).is_err());
    }

    #[test]
    fn records_come_back() {
        let record = record();
        let key = queue_key(5);
        let value = seal(&key, &encode_queue(&record));
        assert_eq!(decode_queue(unseal(&key, &value).unwrap()), Ok(record));
        assert_eq!(parse_number(&key), Some(5));
        assert_eq!(parse_entry_key(&entry_key(5, 77)), Some((5, 77)));
    }

    #[test]
    fn a_changed_or_misplaced_value_is_refused() {
        let value = seal(&queue_key(5), &encode_queue(&record()));
        assert_eq!(unseal(&queue_key(6), &value), Err(DecodeError::Malformed("checksum")));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 4;
            assert!(unseal(&queue_key(5), &changed).is_err(), "byte {at}");
        }
    }
}
