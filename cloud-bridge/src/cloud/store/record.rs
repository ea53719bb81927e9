//! The bytes of what the log holds, each with its checksum, and the keys that they are found by.
//!
//! ```text
//! m id            -> an entry: consecutive messages of one route of one device, numbered from id
//! i device id     -> nothing; finds the entries of a device
//! w device route  -> how far the route is stored, and how many messages it ever had
//! ```

use bytes::Bytes;
use wayside_actors::{
    cloud::session::Window,
    message::{MAX_BATCH_MESSAGES, Message},
};
use wayside_config::identity::DeviceId;

use crate::{
    codec::{CodecError, Decoder, Encoder},
    wire::{self, MAX_NAME_BYTES},
};

/// Messages are packed into entries of about this size: 17 of them fit one node of the tree without a
/// file of its own.
pub(super) const ENTRY_BYTES: usize = 24 << 10;

const ENTRY: u8 = b'm';
const INDEX: u8 = b'i';
const WINDOW: u8 = b'w';

/// Messages that were stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    pub(super) route: String,
    pub(super) stored_ms: u64,
    pub(super) messages: Vec<(u64, Message)>,
}

/// What is known of one route of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteState {
    /// How far it is stored; `None` after a damage that leaves it unknown.
    pub(super) window: Option<Window>,
    /// Messages ever stored.
    pub(super) stored: u64,
    /// The highest sequence number ever stored.
    pub(super) last_seq: u64,
}

/// A record's bytes are not what was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("its checksum does not hold")]
    Checksum,
    #[error(transparent)]
    Codec(#[from] CodecError),
}

pub(super) fn entry_key(id: u64) -> Vec<u8> {
    [&[ENTRY][..], &id.to_be_bytes()].concat()
}

pub(super) fn index_key(device: &DeviceId, id: u64) -> Vec<u8> {
    [&[INDEX][..], device.as_bytes(), &id.to_be_bytes()].concat()
}

/// The number at the end of an entry's or an index's key.
pub(super) fn id_of_key(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

pub(super) fn window_key(device: &DeviceId, route: &str) -> Vec<u8> {
    [&[WINDOW][..], device.as_bytes(), route.as_bytes()].concat()
}

/// The keys of one device's windows begin with this; of all devices' when it is `None`.
pub(super) fn window_prefix(device: Option<&DeviceId>) -> Vec<u8> {
    [&[WINDOW][..], device.map_or(&[][..], |device| device.as_bytes())].concat()
}

pub(super) fn of_window_key(key: &[u8]) -> Option<(DeviceId, String)> {
    let (device, route) = key.get(1..)?.split_first_chunk()?;
    Some((DeviceId::from_bytes(*device), String::from_utf8(route.to_vec()).ok()?))
}

pub(super) fn encode_entry(
    device: &DeviceId,
    route: &str,
    stored_ms: u64,
    messages: &[(u64, Message)],
) -> Vec<u8> {
    checked(|e| {
        e.array(4);
        wire::put_key(e, device);
        e.text(route);
        e.uint(stored_ms);
        e.array(messages.len());
        for (seq, message) in messages {
            e.array(2);
            e.uint(*seq);
            wire::put_message(e, message);
        }
    })
}

/// Reads an entry; `None`, without looking further, when it is not of `route`.
pub(super) fn decode_entry(bytes: &[u8], route: Option<&str>) -> Result<Option<Entry>, RecordError> {
    let mut decoder = unchecked(bytes)?;
    let entry = decoder.record("entry", 4, |d| {
        let (device, found) = (wire::key(d)?, d.text(MAX_NAME_BYTES, "a route")?);
        let stored_ms = d.uint()?;
        if route.is_some_and(|route| route != found) {
            return Ok(None);
        }
        let messages = d.list(MAX_BATCH_MESSAGES, "messages", |d| {
            d.record("numbered message", 2, |d| Ok((d.uint()?, wire::message(d)?)))
        })?;
        Ok(Some(Entry { device, route: found, stored_ms, messages }))
    })?;
    Ok(entry)
}

pub(super) fn encode_state(state: &RouteState) -> Vec<u8> {
    checked(|e| {
        e.array(4);
        e.option(state.window.map(|window| window.epoch), Encoder::uint);
        e.uint(state.window.map_or(0, |window| window.upto));
        e.uint(state.stored);
        e.uint(state.last_seq);
    })
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<RouteState, RecordError> {
    let mut decoder = unchecked(bytes)?;
    Ok(decoder.record("window", 4, |d| {
        let (epoch, upto) = (d.option(Decoder::uint)?, d.uint()?);
        let window = epoch.map(|epoch| Window { epoch, upto });
        Ok(RouteState { window, stored: d.uint()?, last_seq: d.uint()? })
    })?)
}

fn checked(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::appending_to(vec![0; 4]);
    write(&mut encoder);
    let mut bytes = encoder.into_bytes();
    let sum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn unchecked(bytes: &[u8]) -> Result<Decoder, RecordError> {
    let (sum, rest) = bytes.split_first_chunk().ok_or(RecordError::Checksum)?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*sum) {
        return Err(RecordError::Checksum);
    }
    Ok(Decoder::new(Bytes::copy_from_slice(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_damage_is_seen() {
        let device = DeviceId::from_bytes([3; 32]);
        let message = Message {
            origin: device,
            source: "sensor".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: Bytes::from_static(b"21.5"),
            accepted_ms: 5,
        };
        let messages = vec![(7, message)];
        let bytes = encode_entry(&device, "w/r", 9, &messages);
        let entry = Entry { device, route: "w/r".into(), stored_ms: 9, messages };
        assert_eq!(decode_entry(&bytes, None).unwrap(), Some(entry));
        assert_eq!(decode_entry(&bytes, Some("w/other")).unwrap(), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(decode_entry(&damaged, None).is_err());
        }
        for window in [None, Some(Window { epoch: 0, upto: 8 })] {
            let state = RouteState { window, stored: 3, last_seq: 8 };
            assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
        }
    }

    #[test]
    fn keys_sort_by_number_and_name_what_they_find() {
        let device = DeviceId::from_bytes([3; 32]);
        assert!(entry_key(255) < entry_key(256));
        assert_eq!(id_of_key(&index_key(&device, 300)), Some(300));
        assert_eq!(of_window_key(&window_key(&device, "w/r")), Some((device, "w/r".into())));
    }
}
