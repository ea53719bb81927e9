//! Who is who: a device, an operator and a cloud are each their Ed25519 key, a fleet is its first root.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hash;

/// An Ed25519 public key, shown as 52 characters of lower-case base32 (RFC 4648, no padding).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A device is its key.
pub type DeviceId = PublicKey;

impl PublicKey {
    /// From the key's 32 bytes. They are checked where a signature is verified, not here.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 characters, for logs and tables. Not proof of anything.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let (mut buffer, mut bits) = (0u32, 0);
        for byte in self.0 {
            buffer = (buffer << 8) | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                write!(f, "{}", char::from(ALPHABET[(buffer >> bits) as usize & 31]))?;
            }
        }
        write!(f, "{}", char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]))
    }
}

/// A fleet: SHA-256 of the payload of its first root, shown as 64 hexadecimal digits. It stays when keys change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FleetId(#[serde(with = "crate::hash::as_bytes")] [u8; 32]);

impl FleetId {
    /// From the hash's 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 digits, for logs and tables. Not proof of anything.
    #[must_use]
    pub fn short(&self) -> String {
        hash::hex(&self.0[..4])
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hash::hex(&self.0))
    }
}

impl fmt::Debug for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The text is not a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a fleet: 64 hexadecimal digits, as `wayside fleet` prints them")]
pub struct BadFleetId;

impl FromStr for FleetId {
    type Err = BadFleetId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hash::from_hex(text).map(Self).ok_or(BadFleetId)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a key: 52 characters of a-z and 2-7, as `wayside key` or `wayside status` prints it")]
pub struct BadPublicKey;

impl FromStr for PublicKey {
    type Err = BadPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut key, mut at, mut buffer, mut bits) = ([0u8; 32], 0, 0u32, 0);
        for character in text.bytes() {
            let value = match character {
                b'a'..=b'z' => character - b'a',
                b'2'..=b'7' => character - b'2' + 26,
                _ => return Err(BadPublicKey),
            };
            buffer = (buffer << 5) | u32::from(value);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                *key.get_mut(at).ok_or(BadPublicKey)? = (buffer >> bits) as u8;
                at += 1;
                buffer &= (1 << bits) - 1;
            }
        }
        if text.len() != 52 || at != 32 || buffer != 0 {
            return Err(BadPublicKey);
        }
        Ok(Self(key))
    }
}

/// Text in formats for people, 32 bytes in others.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TextVisitor)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = PublicKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PublicKey, E> {
        text.parse().map_err(E::custom)
    }
}

struct BytesVisitor;

impl de::Visitor<'_> for BytesVisitor {
    type Value = PublicKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<PublicKey, E> {
        bytes.try_into().map(PublicKey).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_key_and_nothing_else_is() {
        let key = PublicKey::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        let text = key.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(text[..51].parse::<PublicKey>(), Err(BadPublicKey));
        assert_eq!(text.to_uppercase().parse::<PublicKey>(), Err(BadPublicKey));
        let mut overlong = text.clone();
        overlong.replace_range(51.., "b");
        assert_eq!(overlong.parse::<PublicKey>(), Err(BadPublicKey));
    }

    #[test]
    fn a_fleet_is_64_digits_and_never_a_key() {
        let fleet = FleetId::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        let text = fleet.to_string();
        assert_eq!(text.parse(), Ok(fleet));
        assert_eq!(text.to_uppercase().parse::<FleetId>(), Err(BadFleetId));
        assert_eq!(text[..62].parse::<FleetId>(), Err(BadFleetId));
        assert_eq!(PublicKey::from_bytes([7; 32]).to_string().parse::<FleetId>(), Err(BadFleetId));
        assert_eq!(fleet.short(), text[..8]);
    }
}
