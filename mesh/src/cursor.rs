//! Reads numbers and lengths from bytes that came from outside or from a disk, never past their end.

use bytes::{Buf, Bytes};

/// What is left of the bytes that are being decoded.
pub(crate) struct Cursor(Bytes);

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end in the middle of a field.
    #[error("the bytes end in the middle of `{0}`")]
    Truncated(&'static str),
    /// A field is larger than its limit.
    #[error("`{field}` is {value}, more than the limit of {limit}")]
    TooLarge {
        /// Which.
        field: &'static str,
        /// What it claims.
        value: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A field is not what its kind demands.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// Something follows where the end should be.
    #[error("{0} bytes follow where the end should be")]
    Trailing(usize),
    /// Written by another version; both sides should run the same release.
    #[error(
        "the format has version {found}, this program knows version {known}: update the older of the two"
    )]
    Version {
        /// What the bytes say.
        found: u8,
        /// What is known here.
        known: u8,
    },
}

impl Cursor {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.0.try_get_u16().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.0.try_get_u32().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.0.try_get_u64().map_err(|_| DecodeError::Truncated(field))
    }

    /// The next `len` bytes, shared with the input.
    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if len > self.0.len() {
            return Err(DecodeError::Truncated(field));
        }
        Ok(self.0.split_to(len))
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N, field)?);
        Ok(array)
    }

    /// Bytes with their length in 32 bits before them.
    pub(crate) fn bytes(&mut self, limit: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.u32(field)? as usize;
        within(len, limit, field)?;
        self.take(len, field)
    }

    /// Text with its length in 16 bits before it.
    pub(crate) fn text(&mut self, limit: usize, field: &'static str) -> Result<String, DecodeError> {
        let len = usize::from(self.u16(field)?);
        within(len, limit, field)?;
        let bytes = self.take(len, field)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| DecodeError::Malformed(field))
    }

    /// The version that everything written here begins with.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), DecodeError> {
        let found = self.u8("version")?;
        if found == known { Ok(()) } else { Err(DecodeError::Version { found, known }) }
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

/// Refuses a length or a count above its limit.
pub(crate) fn within(value: usize, limit: usize, field: &'static str) -> Result<(), DecodeError> {
    if value > limit {
        return Err(DecodeError::TooLarge { field, value, limit });
    }
    Ok(())
}

/// Writes text as [`Cursor::text`] reads it. Text here is bounded well below 64 KiB where it is made;
/// what is longer is cut at a character.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    out.extend((len as u16).to_be_bytes());
    out.extend(&text.as_bytes()[..len]);
}

/// Writes bytes as [`Cursor::bytes`] reads them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}
