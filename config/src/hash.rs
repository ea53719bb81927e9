//! SHA-256 of what is referred to by content, and how it is written.

use std::fmt::Write;

use serde::{Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash that 64 lower-case hexadecimal digits are.
#[must_use]
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// For `#[serde(with)]`: hexadecimal in formats for people, 32 bytes in others.
pub(crate) mod as_bytes {
    use super::{BytesVisitor, Deserializer, Serialize, Serializer, TextVisitor, hex};

    pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            hex(hash).serialize(serializer)
        } else {
            serializer.serialize_bytes(hash)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TextVisitor)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; 32], E> {
        from_hex(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

struct BytesVisitor;

impl de::Visitor<'_> for BytesVisitor {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder(#[serde(with = "as_bytes")] [u8; 32]);

    #[test]
    fn a_hash_survives_text_and_bytes() {
        let holder = Holder(sha256(b"abc"));
        let text = serde_json::to_string(&holder).unwrap();
        assert_eq!(text, "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"");
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), holder);
        let mut bytes = Vec::new();
        ciborium::into_writer(&holder, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 34);
        assert_eq!(ciborium::from_reader::<Holder, _>(&bytes[..]).unwrap(), holder);
        assert!(serde_json::from_str::<Holder>(&text.replace("ba78", "+a78")).is_err());
        assert!(serde_json::from_str::<Holder>("\"ba\"").is_err());
    }
}
