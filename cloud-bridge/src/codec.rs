//! The part of CBOR (RFC 8949) that frames and stored records are made of: integers, bytes, text,
//! arrays, booleans and null, all of definite length.
//!
//! A record is an array of fields in a fixed order. A reader takes the fields it knows and skips the
//! rest, so a newer peer may add fields at the end. Skipping is bounded in depth; what is read is
//! bounded by the types that are read. Nothing is allocated on the word of a length alone.

use bytes::Bytes;

/// How deep a skipped field may nest.
pub const MAX_SKIP_DEPTH: usize = 16;

/// The fields of one record, those that only a newer peer knows included.
pub const MAX_FIELDS: u64 = 64;

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Why bytes are not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a value, or a length reaches beyond them.
    #[error("the data ends early")]
    Truncated,
    /// Something else stands where this was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A record has fewer fields than this version knows.
    #[error("{record} has {found} fields, {expected} are needed")]
    MissingFields {
        /// Which record.
        record: &'static str,
        /// How many fields it has.
        found: u64,
        /// How many it must have.
        expected: u64,
    },
    /// A number, a length or a count is beyond its limit.
    #[error("{what} is {found}, at most {limit} is allowed")]
    OverLimit {
        /// Of what.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        limit: u64,
    },
    /// A field that is to be skipped nests deeper than [`MAX_SKIP_DEPTH`].
    #[error("a field nests deeper than {MAX_SKIP_DEPTH}")]
    TooDeep,
    /// Bytes are left after the value.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
}

/// Writes values one after another.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty encoder that appends to `out`.
    #[must_use]
    pub const fn appending_to(out: Vec<u8>) -> Self {
        Self { out }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Begins an array of `count` values.
    pub fn array(&mut self, count: usize) {
        self.head(ARRAY, count as u64);
    }

    /// Writes an unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    /// Writes a signed integer.
    pub fn int(&mut self, value: i64) {
        if value < 0 {
            self.head(NEGATIVE, !(value as u64));
        } else {
            self.head(UINT, value as u64);
        }
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// Writes a text string.
    pub fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Writes a boolean.
    pub fn boolean(&mut self, value: bool) {
        self.out.push(if value { TRUE } else { FALSE });
    }

    /// Writes `null`, or the value by `write`.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.out.push(NULL),
            Some(value) => write(self, value),
        }
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let be = value.to_be_bytes();
        match value {
            0..=23 => self.out.push(major | be[7]),
            24..=0xff => self.out.extend_from_slice(&[major | 24, be[7]]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&be[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&be[4..]);
            }
            0x1_0000_0000.. => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&be);
            }
        }
    }
}

/// Reads values one after another. Byte strings share the input's memory.
#[derive(Debug)]
pub struct Decoder {
    input: Bytes,
    at: usize,
}

impl Decoder {
    /// Reads from the beginning of `input`.
    #[must_use]
    pub const fn new(input: Bytes) -> Self {
        Self { input, at: 0 }
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`CodecError::Trailing`] when bytes are left.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            left => Err(CodecError::Trailing(left)),
        }
    }

    /// Reads a record of at least `known` fields by `read`, and skips the fields after them.
    ///
    /// # Errors
    /// When it is no array, is too short or has over [`MAX_FIELDS`], or a field is not what `read` expects.
    pub fn record<T>(
        &mut self,
        name: &'static str,
        known: u64,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        let found = self.array(MAX_FIELDS, name)?;
        self.fields(name, found, known, read)
    }

    /// Reads `known` of the `found` fields that follow by `read`, and skips the rest of them.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn fields<T>(
        &mut self,
        name: &'static str,
        found: u64,
        known: u64,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        if found < known {
            return Err(CodecError::MissingFields { record: name, found, expected: known });
        }
        let value = read(self)?;
        for _ in known..found {
            self.skip(0)?;
        }
        Ok(value)
    }

    /// Reads the head of an array of at most `limit` values.
    ///
    /// # Errors
    /// When it is no array, has more values, or claims more values than there are bytes.
    pub fn array(&mut self, limit: u64, what: &'static str) -> Result<u64, CodecError> {
        let count = self.head(ARRAY, what)?;
        if count > limit {
            return Err(CodecError::OverLimit { what, found: count, limit });
        }
        if count > self.left() as u64 {
            return Err(CodecError::Truncated);
        }
        Ok(count)
    }

    /// Reads an array of at most `limit` values, each by `read`.
    ///
    /// # Errors
    /// As [`Self::array`], and what `read` gives.
    pub fn list<T, C: FromIterator<T>>(
        &mut self,
        limit: usize,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<C, CodecError> {
        let count = self.array(limit as u64, what)?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Reads an unsigned integer.
    ///
    /// # Errors
    /// When it is something else.
    pub fn uint(&mut self) -> Result<u64, CodecError> {
        self.head(UINT, "an unsigned integer")
    }

    /// Reads an unsigned integer that fits `T`.
    ///
    /// # Errors
    /// When it is something else or does not fit.
    pub fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, CodecError> {
        T::try_from(self.uint()?).map_err(|_| CodecError::Expected(what))
    }

    /// Reads a signed integer.
    ///
    /// # Errors
    /// When it is something else or does not fit.
    pub fn int(&mut self) -> Result<i64, CodecError> {
        let expected = CodecError::Expected("a signed 64-bit integer");
        if self.peek()? >> 5 == NEGATIVE {
            let value = self.head(NEGATIVE, "a signed 64-bit integer")?;
            i64::try_from(value).map(|value| !value).map_err(|_| expected)
        } else {
            i64::try_from(self.uint()?).map_err(|_| expected)
        }
    }

    /// Reads a byte string of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is something else, longer, or cut short.
    pub fn bytes(&mut self, limit: usize, what: &'static str) -> Result<Bytes, CodecError> {
        let length = self.head(BYTES, what)?;
        self.take(length, limit, what)
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// When it is something else or of another length.
    pub fn array_of_bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        let bytes = self.bytes(N, what)?;
        bytes.as_ref().try_into().map_err(|_| CodecError::Expected(what))
    }

    /// Reads a text of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is something else, longer, cut short, or not UTF-8.
    pub fn text(&mut self, limit: usize, what: &'static str) -> Result<String, CodecError> {
        let length = self.head(TEXT, what)?;
        let bytes = self.take(length, limit, what)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| CodecError::Expected("UTF-8 text"))
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&mut self) -> Result<bool, CodecError> {
        let value = match self.peek()? {
            FALSE => false,
            TRUE => true,
            _ => return Err(CodecError::Expected("a boolean")),
        };
        self.at += 1;
        Ok(value)
    }

    /// Reads `null`, or a value by `read`.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.peek()? == NULL {
            self.at += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn left(&self) -> usize {
        self.input.len() - self.at
    }

    fn peek(&self) -> Result<u8, CodecError> {
        self.input.get(self.at).copied().ok_or(CodecError::Truncated)
    }

    fn take(&mut self, length: u64, limit: usize, what: &'static str) -> Result<Bytes, CodecError> {
        if length > limit as u64 {
            return Err(CodecError::OverLimit { what, found: length, limit: limit as u64 });
        }
        let length = usize::try_from(length).map_err(|_| CodecError::Truncated)?;
        if length > self.left() {
            return Err(CodecError::Truncated);
        }
        let bytes = self.input.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    fn head(&mut self, major: u8, what: &'static str) -> Result<u64, CodecError> {
        let first = self.peek()?;
        if first >> 5 != major {
            return Err(CodecError::Expected(what));
        }
        self.at += 1;
        self.argument(first & 0x1f)
    }

    fn argument(&mut self, info: u8) -> Result<u64, CodecError> {
        let width = match info {
            0..=23 => return Ok(u64::from(info)),
            24..=27 => 1usize << (info - 24),
            28.. => return Err(CodecError::Expected("a definite length")),
        };
        let bytes = self.input.get(self.at..self.at + width).ok_or(CodecError::Truncated)?;
        self.at += width;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Passes over one value of any kind, maps, tags and floats among them.
    fn skip(&mut self, depth: usize) -> Result<(), CodecError> {
        if depth > MAX_SKIP_DEPTH {
            return Err(CodecError::TooDeep);
        }
        let first = self.peek()?;
        self.at += 1;
        let argument = self.argument(first & 0x1f)?;
        let inner = match first >> 5 {
            BYTES | TEXT => return self.take(argument, usize::MAX, "a string").map(drop),
            ARRAY => argument,
            5 => argument.saturating_mul(2),
            6 => 1,
            UINT | NEGATIVE | 7.. => 0,
        };
        if inner > self.left() as u64 {
            return Err(CodecError::Truncated);
        }
        (0..inner).try_for_each(|_| self.skip(depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(bytes: &[u8]) -> Decoder {
        Decoder::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn integers_are_of_the_shortest_form_and_come_back() {
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut encoder = Encoder::default();
            encoder.uint(value);
            let bytes = encoder.into_bytes();
            let mut back = decoder(&bytes);
            assert_eq!(back.uint(), Ok(value));
            assert_eq!(back.finish(), Ok(()));
        }
        for value in [i64::MIN, -257, -1, 0, 1, i64::MAX] {
            let mut encoder = Encoder::default();
            encoder.int(value);
            assert_eq!(decoder(&encoder.into_bytes()).int(), Ok(value));
        }
        assert_eq!(decoder(&[0x3b, 255, 255, 255, 255, 255, 255, 255, 255]).int().ok(), None);
    }

    #[test]
    fn a_newer_peer_may_add_fields_of_any_kind() {
        // [7, {1: "a"}, 0(1.5), [h'00', null]]
        let bytes = [0x84, 7, 0xa1, 1, 0x61, b'a', 0xc0, 0xf9, 0x3e, 0, 0x82, 0x41, 0, 0xf6];
        let mut reader = decoder(&bytes);
        assert_eq!(reader.record("test", 1, Decoder::uint), Ok(7));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            decoder(&[0x81, 1]).record("pair", 2, Decoder::uint).unwrap_err().to_string(),
            "pair has 1 fields, 2 are needed"
        );
        assert_eq!(
            decoder(&[0x9f, 1, 0xff]).array(9, "a list"),
            Err(CodecError::Expected("a definite length"))
        );
        assert_eq!(decoder(&[0x45, 1]).bytes(9, "bytes"), Err(CodecError::Truncated));
        assert_eq!(
            decoder(&[0x9a, 255, 255, 255, 255]).array(u64::MAX, "a list"),
            Err(CodecError::Truncated)
        );
        assert_eq!(
            decoder(&[0x62, b'a', b'b']).text(1, "a name"),
            Err(CodecError::OverLimit { what: "a name", found: 2, limit: 1 })
        );
        let mut deep = vec![0x82, 1];
        deep.extend([0x81; 40]);
        deep.push(1);
        assert_eq!(decoder(&deep).record("test", 1, Decoder::uint), Err(CodecError::TooDeep));
    }
}
