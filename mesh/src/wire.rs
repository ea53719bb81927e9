//! What devices of a site say to each other, as bytes. Pure: no session, no clock.
//!
//! Every payload begins with [`VERSION`]; what it is follows from the key it came on (see [`crate::keys`]). It goes
//! sealed, from one device for one other (see [`crate::pair`]).
//! Limits are checked before anything is allocated.

#[cfg(any(test, fuzzing))]
pub mod hostile;

use bytes::Bytes;
use wayside_actors::{
    frame::Desired,
    message::{Batch, Confirm, MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES, Message},
};
use wayside_config::limits::{ROOT_BYTES, ROOTS, SEALED_BYTES, TOPIC_BYTES, WORKLOADS};

pub use crate::cursor::DecodeError;
use crate::{
    cursor::{Cursor, put_bytes, put_text, within},
    packed::{put_messages, take_messages},
};

/// The version of these formats.
pub const VERSION: u8 = 2;

/// The largest encoded batch: a full one, or one message of the largest kind, with names.
pub const BATCH_BYTES: usize = MAX_BATCH_BYTES + MAX_PAYLOAD_BYTES + 1024 * (TOPIC_BYTES + 128);

/// The largest encoded messages of a best-effort route that travel together: one of the largest kind, or as many as are
/// much smaller.
pub const LIVE_BYTES: usize = MAX_PAYLOAD_BYTES + TOPIC_BYTES + (32 << 10);

/// The largest encoded confirmation.
pub const CONFIRM_BYTES: usize = 256;

/// The largest encoded desired state: what one message to a device may take of the room for all.
pub const DESIRED_BYTES: usize = 6 << 20;

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
    put_messages(&mut out, batch.messages.iter());
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

/// Messages of a best-effort route as bytes: one, and those that go with it.
#[must_use]
pub fn encode_live(route: &str, first: &Message, others: &[Message]) -> Vec<u8> {
    let messages = std::iter::once(first).chain(others);
    let payload: usize = messages.clone().map(|message| message.payload.len() + 16).sum();
    let mut out = Vec::with_capacity(payload + 256);
    out.push(VERSION);
    put_text(&mut out, route);
    put_messages(&mut out, messages);
    out
}

/// The route, and at least one message, that `bytes` are. Payloads share their memory.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_live(bytes: Bytes) -> Result<(String, Vec<Message>), DecodeError> {
    within(bytes.len(), LIVE_BYTES, "live")?;
    let mut cursor = Cursor::new(bytes);
    cursor.version(VERSION)?;
    let route = cursor.text(ROUTE_BYTES, "route")?;
    let messages = take_messages(&mut cursor)?;
    cursor.end()?;
    if messages.is_empty() { Err(DecodeError::Malformed("messages")) } else { Ok((route, messages)) }
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

/// Desired state as bytes, documents as they were signed.
#[must_use]
pub fn encode_desired(desired: &Desired) -> Vec<u8> {
    let Desired { roots, revocation, assignment, releases } = desired;
    let mut out = vec![VERSION];
    let mut put_all = |documents: &[Bytes]| {
        out.extend((documents.len() as u16).to_be_bytes());
        documents.iter().for_each(|document| put_bytes(&mut out, document));
    };
    put_all(roots);
    put_all(revocation.as_slice());
    put_all(std::slice::from_ref(assignment));
    put_all(releases);
    out
}

/// The desired state that `bytes` are, unverified. Documents share their memory.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_desired(bytes: Bytes) -> Result<Desired, DecodeError> {
    within(bytes.len(), DESIRED_BYTES, "desired")?;
    let mut cursor = Cursor::new(bytes);
    cursor.version(VERSION)?;
    let mut take_all = |most, bytes, field| {
        let count = usize::from(cursor.u16(field)?);
        within(count, most, field)?;
        (0..count).map(|_| cursor.bytes(bytes, field)).collect::<Result<Vec<_>, _>>()
    };
    let roots = take_all(ROOTS, ROOT_BYTES, "roots")?;
    let revocation = take_all(1, SEALED_BYTES, "revocation")?.pop();
    let assignment = take_all(1, SEALED_BYTES, "assignment")?.pop();
    let releases = take_all(WORKLOADS, SEALED_BYTES, "releases")?;
    cursor.end()?;
    let assignment = assignment.ok_or(DecodeError::Malformed("assignment"))?;
    Ok(Desired { roots, revocation, assignment, releases })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wayside_config::identity::DeviceId;

    use super::*;

    fn message(topic: &str, payload: &'static [u8]) -> Message {
        Message {
            origin: DeviceId::from_bytes([7; 32]),
            source: "s".into(),
            topic: topic.into(),
            properties: Default::default(),
            payload: Bytes::from_static(payload),
            accepted_ms: 5,
        }
    }

    fn batch() -> Batch {
        let messages = vec![message("t", b"ab"), message("t", b""), message("u", b"c")];
        Batch { route: "w/r".into(), epoch: 2, after: 0, first_seq: 9, messages }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_these() {
        let head = "02 0003772f72 0000000000000002 0000000000000000 0000000000000009 00000003";
        let first = format!("07 {} 000173 000174 0000000000000005 000000026162", "07".repeat(32));
        let others = "00 0000000000000005 00000000 04 000175 0000000000000005 0000000163";
        assert_eq!(hex(&encode_batch(&batch())), format!("{head}{first}{others}").replace(' ', ""));
        let confirm = Confirm { route: "w/r".into(), epoch: 2, upto: 3 };
        assert_eq!(hex(&encode_confirm(&confirm)), "020003772f7200000000000000020000000000000003");
    }

    #[test]
    fn what_was_sent_arrives() {
        assert_eq!(decode_batch(encode_batch(&batch()).into()), Ok(batch()));
        let confirm = Confirm { route: "w/r".into(), epoch: 2, upto: 3 };
        assert_eq!(decode_confirm(encode_confirm(&confirm).into()), Ok(confirm));
        let messages = batch().messages;
        let live = encode_live("w/r", &messages[0], &messages[1..]);
        assert_eq!(decode_live(live.into()), Ok(("w/r".into(), messages)));
        let none = [&[VERSION, 0, 3], b"w/r".as_slice(), &[0; 4]].concat();
        assert_eq!(decode_live(none.into()), Err(DecodeError::Malformed("messages")));
    }

    #[test]
    fn desired_state_arrives_whole_or_not_at_all() {
        let document = |text: &'static str| Bytes::from_static(text.as_bytes());
        let desired = Desired {
            roots: vec![document("root"), document("next")],
            revocation: Some(document("list")),
            assignment: document("assignment"),
            releases: vec![document("release")],
        };
        let good = encode_desired(&desired);
        assert_eq!(decode_desired(good.clone().into()), Ok(desired));
        for len in 0..good.len() {
            assert!(decode_desired(Bytes::copy_from_slice(&good[..len])).is_err(), "{len} bytes");
        }
        let none = Desired { assignment: Bytes::new(), ..Desired::default() };
        assert_eq!(decode_desired(encode_desired(&none).into()), Ok(none));
        let without = [&[VERSION], [0; 8].as_slice()].concat();
        assert_eq!(decode_desired(without.into()), Err(DecodeError::Malformed("assignment")));
        let many = [&[VERSION, 0xff, 0xff], [0; 300].as_slice()].concat();
        let refused = DecodeError::TooLarge { field: "roots", value: 0xffff, limit: ROOTS };
        assert_eq!(decode_desired(many.into()), Err(refused));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = encode_batch(&batch());
        for len in 0..good.len() {
            assert!(decode_batch(Bytes::copy_from_slice(&good[..len])).is_err(), "{len} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode_batch(bytes.into())
        };
        assert_eq!(with(0, 1), Err(DecodeError::Version { found: 1, known: VERSION }));
        assert_eq!(
            with(1, 9),
            Err(DecodeError::TooLarge { field: "route", value: 0x903, limit: ROUTE_BYTES })
        );
        // The count of messages, and the first message without an origin before it.
        assert!(matches!(with(30, 0xff), Err(DecodeError::TooLarge { field: "count", .. })));
        assert_eq!(with(34, 0), Err(DecodeError::Malformed("flags")));
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(decode_batch(longer.into()), Err(DecodeError::Trailing(1)));
        let backwards = Batch { after: 9, ..batch() };
        assert_eq!(decode_batch(encode_batch(&backwards).into()), Err(DecodeError::Malformed("first_seq")));
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_read_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), version in any::<bool>()) {
            let mut bytes = bytes;
            if version && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            hostile::read(&bytes);
        }

        #[test]
        fn changed_bytes_are_refused_or_read_but_never_a_panic(at in 0..150_usize, byte in any::<u8>()) {
            let mut bytes = encode_batch(&batch());
            let at = at % bytes.len();
            bytes[at] = byte;
            hostile::read(&bytes);
        }
    }
}
