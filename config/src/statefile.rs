//! The form of the small files that a daemon keeps its state in. Bytes only; writing them is elsewhere.
//!
//! ```text
//! "WAYSIDE" 0x0a | CRC-32 of all that follows | kind length | kind | version u16 | payload length u32 | payload
//! ```
//! Integers are big-endian, the payload is CBOR. Nothing may follow.

use serde::{Serialize, de::DeserializeOwned};

use crate::{cbor, limits::STATE_FILE_BYTES};

const MAGIC: &[u8; 8] = b"WAYSIDE\n";

/// Why a state file is not usable. What to do is the same for all: save it aside and start without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFileError {
    /// It ends before its own length says.
    #[error("the file is cut short")]
    Truncated,
    /// Its bytes are not what was written.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Written by a newer (or a much older) daemon.
    #[error("the file has version {found}, and this daemon knows {known}: run the daemon that wrote it")]
    UnknownVersion {
        /// In the file.
        found: u16,
        /// Of this daemon.
        known: u16,
    },
    /// A good file with another purpose.
    #[error("the file holds `{found}` and not `{wanted}`")]
    WrongKind {
        /// In the file.
        found: String,
        /// Asked for.
        wanted: String,
    },
}

/// The bytes of a state file. `kind` is at most 255 bytes long and says what the file is for.
#[must_use]
pub fn encode<T: Serialize>(kind: &str, version: u16, value: &T) -> Vec<u8> {
    let payload = cbor::encode(value);
    let mut body = vec![u8::try_from(kind.len()).expect("kinds are short constants")];
    body.extend_from_slice(kind.as_bytes());
    body.extend_from_slice(&version.to_be_bytes());
    body.extend_from_slice(&u32::try_from(payload.len()).expect("state files are small").to_be_bytes());
    body.extend_from_slice(&payload);
    [MAGIC.as_slice(), &crc32fast::hash(&body).to_be_bytes(), &body].concat()
}

/// Reads what [`encode`] wrote with the same kind and version.
///
/// # Errors
/// See [`StateFileError`].
pub fn decode<T: DeserializeOwned>(kind: &str, version: u16, bytes: &[u8]) -> Result<T, StateFileError> {
    let damaged = |what: &str| StateFileError::Damaged(what.to_owned());
    if bytes.len() > STATE_FILE_BYTES {
        return Err(damaged("larger than any state file"));
    }
    let mut rest = bytes;
    if take(&mut rest, MAGIC.len())? != MAGIC {
        return Err(damaged("not a Wayside state file"));
    }
    let checksum = integer(&mut rest, 4)?;
    let body = rest;
    let kind_len = integer(&mut rest, 1)?;
    let found_kind = take(&mut rest, kind_len as usize)?;
    let found_version = integer(&mut rest, 2)?;
    let payload_len = integer(&mut rest, 4)?;
    let payload = take(&mut rest, payload_len as usize)?;
    if !rest.is_empty() {
        return Err(damaged("bytes follow its end"));
    }
    if crc32fast::hash(body) != checksum {
        return Err(damaged("its checksum does not hold"));
    }
    if found_kind != kind.as_bytes() {
        let found = String::from_utf8_lossy(found_kind).into_owned();
        return Err(StateFileError::WrongKind { found, wanted: kind.to_owned() });
    }
    if found_version != u32::from(version) {
        let found = u16::try_from(found_version).unwrap_or(u16::MAX);
        return Err(StateFileError::UnknownVersion { found, known: version });
    }
    cbor::decode(payload).map_err(|error| StateFileError::Damaged(error.to_string()))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], StateFileError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(StateFileError::Truncated)?;
    *rest = left;
    Ok(taken)
}

fn integer(rest: &mut &[u8], len: usize) -> Result<u32, StateFileError> {
    Ok(take(rest, len)?.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_name() {
        let bytes = encode("desired", 3, &"text");
        assert_eq!(decode::<String>("desired", 3, &bytes), Ok("text".into()));
        assert_eq!(decode::<String>("desired", 3, &bytes[..20]), Err(StateFileError::Truncated));
        assert_eq!(decode::<String>("desired", 3, b""), Err(StateFileError::Truncated));
        assert_eq!(
            decode::<String>("desired", 2, &bytes),
            Err(StateFileError::UnknownVersion { found: 3, known: 2 })
        );
        assert_eq!(
            decode::<String>("operators", 3, &bytes),
            Err(StateFileError::WrongKind { found: "desired".into(), wanted: "operators".into() })
        );
        assert!(matches!(decode::<u8>("desired", 3, &bytes), Err(StateFileError::Damaged(_))));
        let zeros = vec![0; 100];
        assert!(matches!(decode::<u8>("desired", 3, &zeros), Err(StateFileError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any::<Vec<(u64, String)>>(), version in any::<u16>()) {
            prop_assert_eq!(decode("k", version, &encode("k", version, &value)), Ok(value));
        }

        #[test]
        fn any_truncation_is_refused(at in any::<prop::sample::Index>()) {
            let bytes = encode("desired", 1, &vec![7u64; 20]);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert_eq!(decode::<Vec<u64>>("desired", 1, cut), Err(StateFileError::Truncated));
        }

        #[test]
        fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = encode("desired", 1, &vec![7u64; 20]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(decode::<Vec<u64>>("desired", 1, &bytes).is_err());
        }

        #[test]
        fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode::<Vec<u64>>("desired", 1, &bytes).is_err());
        }
    }
}
