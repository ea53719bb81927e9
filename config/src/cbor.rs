//! Strict reading of CBOR from outside: bounded nesting and nothing after the end.

use serde::{Serialize, de::DeserializeOwned};

use crate::limits::DEPTH;

/// Why bytes are not the document they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not CBOR, nested too deeply, or not of the expected shape.
    #[error("{0}")]
    Malformed(String),
    /// There is more than one item.
    #[error("{0} bytes follow the document")]
    Trailing(usize),
}

/// Encodes a value of ours.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("our types have only what CBOR can hold");
    bytes
}

/// Decodes exactly one item, nested at most [`DEPTH`] deep.
///
/// # Errors
/// See [`CborError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH).map_err(|error| {
        CborError::Malformed(match error {
            ciborium::de::Error::Io(_) => "ends too early".to_owned(),
            ciborium::de::Error::Syntax(at) => format!("not CBOR at byte {at}"),
            ciborium::de::Error::Semantic(_, what) => what,
            ciborium::de::Error::RecursionLimitExceeded => format!("nested more than {DEPTH} deep"),
        })
    })?;
    if rest.is_empty() { Ok(value) } else { Err(CborError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_and_trailing_bytes_are_refused() {
        assert_eq!(decode::<Vec<u8>>(&encode(&vec![1u8, 2])), Ok(vec![1, 2]));
        assert_eq!(decode::<u8>(&[1, 2]), Err(CborError::Trailing(1)));
        assert_eq!(decode::<u8>(&[]), Err(CborError::Malformed("ends too early".into())));
        let deep = [vec![0x81; 100_000], vec![0x01]].concat();
        assert_eq!(
            decode::<ciborium::Value>(&deep),
            Err(CborError::Malformed("nested more than 32 deep".into()))
        );
        // A length that the bytes do not back allocates nothing.
        assert!(decode::<Vec<u64>>(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
