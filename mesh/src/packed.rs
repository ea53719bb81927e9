//! Many messages in few bytes: the form in which they lie in the store and travel the mesh.
//!
//! ```text
//! count u32, then for each message: flags u8, [origin 32], [source u16+], [topic u16+],
//!   [count u8, then for each property: name u16+, value u16+], accepted_ms u64, payload u32+
//! ```
//! A flag that is not set means: as in the message before; before the first there are no properties. A queue's
//! messages mostly share all four.

use bytes::Bytes;
use wayside_actors::message::{
    MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, MAX_PAYLOAD_BYTES, MAX_PROPERTIES, MAX_PROPERTY_BYTES, Message,
    Properties,
};
use wayside_config::{identity::PublicKey, limits::TOPIC_BYTES};

use crate::cursor::{Cursor, DecodeError, put_bytes, put_text, within};

const ORIGIN: u8 = 1;
const SOURCE: u8 = 2;
const TOPIC: u8 = 4;
const PROPERTIES: u8 = 8;

/// What messages that travel or lie together cost at most, by [`Message::cost_bytes`]: a full batch, or the largest message.
const COST_BYTES: usize = MAX_BATCH_BYTES + MAX_PAYLOAD_BYTES + (64 << 10);

/// Bytes of a module's name at most.
const SOURCE_BYTES: usize = 63;

/// Appends `messages` to `out`.
pub(crate) fn put_messages<'a>(out: &mut Vec<u8>, messages: impl Iterator<Item = &'a Message> + Clone) {
    out.extend((messages.clone().count() as u32).to_be_bytes());
    let mut before: Option<&Message> = None;
    for message in messages {
        let differs = |flag, same: fn(&Message, &Message) -> bool| {
            if before.is_some_and(|before| same(before, message)) { 0 } else { flag }
        };
        let flags = differs(ORIGIN, |a, b| a.origin == b.origin)
            | differs(SOURCE, |a, b| a.source == b.source)
            | differs(TOPIC, |a, b| a.topic == b.topic)
            | if before.map_or(&Properties::new(), |before| &before.properties) == &message.properties {
                0
            } else {
                PROPERTIES
            };
        out.push(flags);
        if flags & ORIGIN != 0 {
            out.extend(message.origin.as_bytes());
        }
        if flags & SOURCE != 0 {
            put_text(out, &message.source);
        }
        if flags & TOPIC != 0 {
            put_text(out, &message.topic);
        }
        if flags & PROPERTIES != 0 {
            put_properties(out, &message.properties);
        }
        out.extend(message.accepted_ms.to_be_bytes());
        put_bytes(out, &message.payload);
        before = Some(message);
    }
}

/// Reads what [`put_messages`] wrote. Payloads share the input's memory.
pub(crate) fn take_messages(cursor: &mut Cursor) -> Result<Vec<Message>, DecodeError> {
    let count = cursor.u32("count")? as usize;
    within(count, MAX_BATCH_MESSAGES, "count")?;
    let (mut messages, mut cost): (Vec<Message>, usize) = (Vec::new(), 0);
    for _ in 0..count {
        let flags = cursor.u8("flags")?;
        if flags & !(ORIGIN | SOURCE | TOPIC | PROPERTIES) != 0 {
            return Err(DecodeError::Malformed("flags"));
        }
        let before = messages.last();
        let missing = || DecodeError::Malformed("flags");
        let origin = if flags & ORIGIN != 0 {
            PublicKey::from_bytes(cursor.array("origin")?)
        } else {
            before.ok_or_else(missing)?.origin
        };
        let source = if flags & SOURCE != 0 {
            cursor.text(SOURCE_BYTES, "source")?.into()
        } else {
            before.ok_or_else(missing)?.source.clone()
        };
        let topic = if flags & TOPIC != 0 {
            cursor.text(TOPIC_BYTES, "topic")?.into()
        } else {
            before.ok_or_else(missing)?.topic.clone()
        };
        let properties = if flags & PROPERTIES != 0 {
            take_properties(cursor)?
        } else {
            before.map(|before| before.properties.clone()).unwrap_or_default()
        };
        let accepted_ms = cursor.u64("accepted_ms")?;
        let payload: Bytes = cursor.bytes(MAX_PAYLOAD_BYTES, "payload")?;
        let message = Message { origin, source, topic, properties, payload, accepted_ms };
        // What is left out as "as before" is there again here.
        cost += message.cost_bytes();
        within(cost, COST_BYTES, "messages")?;
        messages.push(message);
    }
    Ok(messages)
}

fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    out.push(properties.len().min(MAX_PROPERTIES) as u8);
    for (name, value) in properties.iter().take(MAX_PROPERTIES) {
        put_text(out, name);
        put_text(out, value);
    }
}

fn take_properties(cursor: &mut Cursor) -> Result<Properties, DecodeError> {
    let count = usize::from(cursor.u8("properties")?);
    within(count, MAX_PROPERTIES, "properties")?;
    let mut property = || -> Result<(String, String), DecodeError> {
        Ok((cursor.text(MAX_PROPERTY_BYTES, "property")?, cursor.text(MAX_PROPERTY_BYTES, "property")?))
    };
    (0..count).map(|_| property()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_do_not_become_many() {
        let property = |n| (format!("{n:0>256}"), "v".repeat(256));
        let message = Message {
            origin: PublicKey::from_bytes([1; 32]),
            source: "s".into(),
            topic: "t".repeat(1024).into(),
            properties: (0..32).map(property).collect(),
            payload: Bytes::new(),
            accepted_ms: 0,
        };
        let encode = |messages: &[Message]| {
            let mut out = Vec::new();
            put_messages(&mut out, messages.iter());
            Bytes::from(out)
        };
        let few = vec![message.clone(); 50];
        assert_eq!(take_messages(&mut Cursor::new(encode(&few))).unwrap(), few);
        let many = encode(&vec![message; 1024]);
        assert!(many.len() < 40_000);
        assert!(take_messages(&mut Cursor::new(many)).is_err());
    }
}
