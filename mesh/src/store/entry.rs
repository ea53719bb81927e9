//! What messages become on the disk: packs in the log, each named by an entry, and before that what is staged.

use bytes::Bytes;
use wayside_actors::message::Message;

use super::record;
use crate::cursor::{Cursor, DecodeError, put_bytes, within};

/// Messages of one pack at most, and their cost. A reader reads a pack as a whole.
const PACK_MESSAGES: usize = 256;
const PACK_BYTES: usize = 16 << 10;

/// Of a staged record.
const STAGED_BYTES: usize = 1 << 20;
const STAGED_QUEUES: usize = 1 << 16;

/// Begins an entry that names a place in the log; an entry that holds its messages begins with how many there are.
const IN_LOG: u8 = 0xff;

/// Where a pack lies in its segment's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) len: u32,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The messages themselves, as stores before version 2 have them.
    Here(Bytes),
    InLog(Place),
}

/// Messages of one queue that are numbered from the first one on.
pub(super) type Run = (u32, u64, Vec<Message>);

pub(super) fn encode_place(place: Place) -> Vec<u8> {
    let mut out = vec![IN_LOG];
    out.extend(place.at.to_be_bytes());
    out.extend(place.len.to_be_bytes());
    out
}

pub(super) fn decode_entry(body: Bytes) -> Result<Entry, DecodeError> {
    if body.first() != Some(&IN_LOG) {
        return Ok(Entry::Here(body));
    }
    let mut cursor = Cursor::new(body);
    cursor.u8("kind")?;
    let place = Place { at: cursor.u64("at")?, len: cursor.u32("len")? };
    cursor.end()?;
    Ok(Entry::InLog(place))
}

/// Cuts consecutive messages into packs.
pub(super) fn for_each_pack(messages: &[(u64, Message)], mut put: impl FnMut(u64, &[u8])) {
    let mut rest = messages;
    while let Some((first, _)) = rest.first() {
        let (mut count, mut bytes) = (0, 0);
        for (_, message) in rest {
            bytes += message.cost_bytes();
            if count > 0 && (bytes > PACK_BYTES || count == PACK_MESSAGES) {
                break;
            }
            count += 1;
        }
        let (pack, left) = rest.split_at(count);
        put(*first, &record::encode_messages(pack.iter().map(|(_, message)| message)));
        rest = left;
    }
}

/// What one commit stages: its number, and per queue its messages.
pub(super) fn encode_staged<'a>(
    commit: u64,
    queues: impl ExactSizeIterator<Item = (u32, &'a [(u64, Message)])>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(commit.to_be_bytes());
    out.extend((queues.len() as u32).to_be_bytes());
    for (number, messages) in queues {
        out.extend(number.to_be_bytes());
        out.extend(messages.first().map_or(0, |(first, _)| *first).to_be_bytes());
        put_bytes(&mut out, &record::encode_messages(messages.iter().map(|(_, message)| message)));
    }
    out
}

pub(super) fn decode_staged(body: Bytes) -> Result<(u64, Vec<Run>), DecodeError> {
    let mut cursor = Cursor::new(body);
    let commit = cursor.u64("commit")?;
    let count = cursor.u32("queues")? as usize;
    within(count, STAGED_QUEUES, "queues")?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let (number, first) = (cursor.u32("number")?, cursor.u64("first")?);
        let messages = record::decode_messages(cursor.bytes(STAGED_BYTES, "messages")?)?;
        runs.push((number, first, messages));
    }
    cursor.end()?;
    Ok((commit, runs))
}
