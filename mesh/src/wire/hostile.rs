//! What a neighbour sends, whatever it is: decoded or refused, and what is decoded encodes to what decodes to it.

use bytes::Bytes;

use super::{
    decode_batch, decode_confirm, decode_desired, decode_live, encode_batch, encode_confirm, encode_desired,
    encode_live,
};
use crate::keys;

/// Reads it as everything that there is.
///
/// # Panics
/// When what was read is not what is written then.
pub fn read(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(batch) = decode_batch(bytes.clone()) {
        assert_eq!(decode_batch(encode_batch(&batch).into()), Ok(batch));
    }
    if let Ok((route, messages)) = decode_live(bytes.clone()) {
        let again = encode_live(&route, &messages[0], &messages[1..]);
        assert_eq!(decode_live(again.into()), Ok((route, messages)));
    }
    if let Ok(desired) = decode_desired(bytes.clone()) {
        assert_eq!(decode_desired(encode_desired(&desired).into()), Ok(desired));
    }
    if let Ok(confirm) = decode_confirm(bytes) {
        assert_eq!(decode_confirm(encode_confirm(&confirm).into()), Ok(confirm));
    }
    if let Ok(key) = std::str::from_utf8(data) {
        let _ = (keys::parse_alive(key), keys::parse_inbox(key));
    }
}
