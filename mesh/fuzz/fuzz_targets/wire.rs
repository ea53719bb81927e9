//! What a neighbour sends is decoded or refused, and what is decoded encodes to what decodes to it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wayside_mesh::{keys, wire};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(batch) = wire::decode_batch(bytes.clone()) {
        assert_eq!(wire::decode_batch(wire::encode_batch(&batch).into()), Ok(batch));
    }
    if let Ok((route, messages)) = wire::decode_live(bytes.clone()) {
        assert_eq!(wire::decode_live(wire::encode_live(&route, &messages[0], &messages[1..]).into()), Ok((route, messages)));
    }
    if let Ok(desired) = wire::decode_desired(bytes.clone()) {
        assert_eq!(wire::decode_desired(wire::encode_desired(&desired).into()), Ok(desired));
    }
    if let Ok(confirm) = wire::decode_confirm(bytes) {
        assert_eq!(wire::decode_confirm(wire::encode_confirm(&confirm).into()), Ok(confirm));
    }
    if let Ok(key) = std::str::from_utf8(data) {
        let _ = (keys::parse_alive(key), keys::parse_inbox(key));
    }
});
