//! A leaf device: a thing without a daemon that speaks MQTT to a device. How it proves who it is, and which
//! topics it may use.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hash::{hex, sha256};

/// A leaf of a workload. It has a password, a certificate, or both, and then needs both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// What its password is checked against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// Its client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fingerprint>,
    /// Filters of topics that it may publish to besides those that routes take from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Filters that it may subscribe to besides what routes bring to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
}

/// An Argon2id hash of a password. As text it is a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// Memory that one check takes, in KiB: 8 for each lane to [`Self::MEMORY_KIB_MAX`].
    pub memory_kib: u32,
    /// Passes over it: 1 to [`Self::PASSES_MAX`], and fewer with much memory.
    pub passes: u32,
    /// Lanes: 1 to [`Self::LANES_MAX`].
    pub lanes: u32,
    /// 8 to 64 bytes.
    pub salt: Vec<u8>,
    /// 16 to 64 bytes.
    pub hash: Vec<u8>,
}

impl PasswordHash {
    /// The most memory that one check may take, in KiB.
    pub const MEMORY_KIB_MAX: u32 = 64 << 10;
    /// The most passes.
    pub const PASSES_MAX: u32 = 16;
    /// The most lanes.
    pub const LANES_MAX: u32 = 4;
    /// The most that memory and passes may multiply to: some tenths of a second on a small device.
    const WORK_MAX: u64 = 4 * Self::MEMORY_KIB_MAX as u64;

    fn is_bounded(&self) -> bool {
        let Self { memory_kib, passes, lanes, salt, hash } = self;
        (1..=Self::LANES_MAX).contains(lanes)
            && (8 * lanes..=Self::MEMORY_KIB_MAX).contains(memory_kib)
            && (1..=Self::PASSES_MAX).contains(passes)
            && u64::from(*memory_kib) * u64::from(*passes) <= Self::WORK_MAX
            && (8..=64).contains(&salt.len())
            && (16..=64).contains(&hash.len())
    }
}

/// The text is no hash of a password, or one that costs more than a device can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an Argon2id hash as `wayside leaf password` prints it")]
pub struct BadPasswordHash;

impl FromStr for PasswordHash {
    type Err = BadPasswordHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_password(text).filter(Self::is_bounded).ok_or(BadPasswordHash)
    }
}

fn parse_password(text: &str) -> Option<PasswordHash> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut costs = costs.split(',');
    let mut cost = |name| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    if costs.next().is_some() {
        return None;
    }
    let bytes = |text| STANDARD_NO_PAD.decode(text).ok();
    Some(PasswordHash { memory_kib, passes, lanes, salt: bytes(salt)?, hash: bytes(hash)? })
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes, salt, hash } = self;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }
}

/// Without what somebody could guess passwords with.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(argon2id)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The SHA-256 of a certificate, `sha256:` and 64 hexadecimal digits. `openssl x509 -fingerprint -sha256` writes
/// colons between the bytes; they are read too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate))
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `sha256:` and 64 hexadecimal digits: the SHA-256 of the certificate")]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<u8> = text
            .strip_prefix("sha256:")
            .ok_or(BadFingerprint)?
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(BadFingerprint)?;
        let bytes: Vec<u8> =
            digits.as_chunks().0.iter().map(|[high, low]: &[u8; 2]| high << 4 | low).collect();
        if digits.len() != 64 {
            return Err(BadFingerprint);
        }
        bytes.try_into().map(Self).map_err(|_| BadFingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn a_hash_of_a_password_is_read_and_written() {
        let hash: PasswordHash = HASH.parse().unwrap();
        assert_eq!((hash.memory_kib, hash.passes, hash.lanes), (19456, 2, 1));
        assert_eq!((&hash.salt[..], hash.hash.len()), (&b"somesalt"[..], 32));
        assert_eq!(hash.to_string(), HASH);
        assert!(!format!("{hash:?}").contains("c29t"));
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused() {
        for wrong in [
            HASH.replace("19456", "65537"),
            HASH.replace("19456", "7"),
            HASH.replace("t=2", "t=0"),
            HASH.replace("t=2", "t=17"),
            HASH.replace("19456,t=2", "65536,t=5"),
            HASH.replace("p=1", "p=5"),
            HASH.replace("argon2id", "argon2i"),
            HASH.replace("c29tZXNhbHQ", "c29t"),
            HASH.replace("c29tZXNhbHQ", "c29t*"),
            format!("{HASH}$x"),
            HASH.replace("p=1", "p=1,x=1"),
            String::new(),
        ] {
            assert_eq!(wrong.parse::<PasswordHash>(), Err(BadPasswordHash), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_openssl_writes_it() {
        let fingerprint = Fingerprint::of(b"abc");
        let text = fingerprint.to_string();
        assert!(text.starts_with("sha256:ba7816bf"), "{text}");
        assert_eq!(text.parse(), Ok(fingerprint));
        let digits = text.strip_prefix("sha256:").unwrap().to_uppercase();
        let pairs: Vec<&str> = (0..32).map(|at| &digits[2 * at..2 * at + 2]).collect();
        assert_eq!(format!("sha256:{}", pairs.join(":")).parse(), Ok(fingerprint));
        for wrong in [&text[..70], &text[1..], "sha256:", &format!("{text}0"), &text.replace('b', "x")] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(BadFingerprint), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\$argon2id\\$v=19\\$)?[$a-z0-9=,+/]{0,80}") {
            if let Ok(hash) = text.parse::<PasswordHash>() {
                prop_assert!(hash.is_bounded());
            }
            let _ = format!("sha256:{text}").parse::<Fingerprint>();
        }
    }
}
