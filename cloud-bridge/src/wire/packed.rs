//! Batches of messages in fewer bytes: zstd, where that pays.
//!
//! ```text
//! packed batch = [5, bytes, zstd]     what the body of a batch is, how long that is
//! ```
//!
//! A batch is packed and unpacked as a whole, into memory whose size is known before: there is no window that a sender
//! could choose. How long it says to be is checked before memory is taken, and no more than that is written whatever
//! is in it, so few bytes cannot become many.

use bytes::Bytes;

use crate::codec::CodecError;

/// The fastest: the next ones save nothing more, and those that do take five times as long (docs/decisions).
const LEVEL: i32 = 1;

/// Shorter bodies are not tried: what is saved is less than a packet.
const TRIED_BYTES: usize = 512;

/// `body` packed, when that saves at least an eighth of it: what saves less is not worth the other side's time.
pub(super) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < TRIED_BYTES {
        return None;
    }
    // It fails only without memory; then the body goes as it is.
    let packed = zstd::bulk::compress(body, LEVEL).ok()?;
    (packed.len() <= body.len() / 8 * 7).then_some(packed)
}

/// What was packed: exactly `bytes` bytes, at most `limit`.
pub(super) fn unpack(packed: &[u8], bytes: u64, limit: usize) -> Result<Bytes, CodecError> {
    let wrong = CodecError::Expected("zstd of as many bytes as are said");
    let length = usize::try_from(bytes).ok().filter(|length| *length <= limit);
    let length = length.ok_or(CodecError::OverLimit {
        what: "an unpacked batch",
        found: bytes,
        limit: limit as u64,
    })?;
    let body = zstd::bulk::decompress(packed, length).map_err(|_| wrong.clone())?;
    if body.len() == length { Ok(body.into()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pays_is_packed_and_comes_back() {
        let body = b"{\"celsius\":21.5,\"station\":\"EWR\"}".repeat(100);
        let packed = pack(&body).unwrap();
        assert!(packed.len() < body.len() / 10);
        assert_eq!(unpack(&packed, body.len() as u64, body.len()).unwrap(), body);
        assert_eq!(pack(&body[..TRIED_BYTES - 1]), None);
        let random: Vec<u8> = (0..64_u8).flat_map(|n| wayside_config::hash::sha256(&[n])).collect();
        assert_eq!(pack(&random), None);
    }

    #[test]
    fn few_bytes_do_not_become_many() {
        let zeros = vec![0; 64 << 20];
        let bomb = zstd::bulk::compress(&zeros, 19).unwrap();
        assert!(bomb.len() < 10_000);
        let over = CodecError::OverLimit { what: "an unpacked batch", found: 64 << 20, limit: 4 << 20 };
        assert_eq!(unpack(&bomb, 64 << 20, 4 << 20), Err(over));
        assert_eq!(
            unpack(&bomb, u64::MAX, 4 << 20).unwrap_err().to_string().split(',').next(),
            Some("an unpacked batch is 18446744073709551615")
        );
        // It says less than it is, or more.
        let wrong = Err(CodecError::Expected("zstd of as many bytes as are said"));
        assert_eq!(unpack(&bomb, 4 << 20, 4 << 20), wrong);
        let small = zstd::bulk::compress(&[0; 4096], 1).unwrap();
        assert_eq!(unpack(&small, 4097, 1 << 20), wrong);
        assert_eq!(unpack(&[&small[..], &small].concat(), 4096, 1 << 20), wrong);
        assert_eq!(unpack(b"no zstd", 10, 1 << 20), wrong);
    }
}
