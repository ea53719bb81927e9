//! Versions of the protocol: who speaks another one is told so, and says which.

use super::*;

#[test]
fn another_protocol_version_is_read_as_such() {
    // [1, 9, {1: 2}]: a version that does things differently after its number.
    let frame = decode::<ToCloud>(&[0x83, 1, 9, 0xa1, 1, 2]).unwrap();
    assert!(matches!(frame, ToCloud::Hello(Hello { protocol: 9, .. })));
}

/// Who adds a kind raises [`PROTOCOL`], so that an older cloud says at the beginning what is to be upgraded.
#[test]
fn a_protocol_has_these_kinds() {
    assert_eq!(PROTOCOL, 4);
    let body = |kind| {
        let mut encoder = Encoder::appending_to(Vec::new());
        encoder.array(1);
        encoder.uint(kind);
        Bytes::from(encoder.into_bytes())
    };
    let is_known = |result: Result<(), WireError>| !matches!(result, Err(WireError::UnknownKind(_)));
    let to_cloud = (0..256).filter(|kind| is_known(ToCloud::decode(body(*kind)).map(drop)));
    assert!(to_cloud.eq(1..=9));
    let to_device = (0..256).filter(|kind| is_known(ToDevice::decode(body(*kind)).map(drop)));
    assert!(to_device.eq(64..=70));
}
