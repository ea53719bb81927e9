//! Batches that are packed, and what a sender may try with them.

use super::*;

/// A batch of `count` messages that differ in little, as those of a sensor do.
fn much_alike(count: u64) -> ToCloud {
    let message = |n: u64| Message {
        origin: PublicKey::from_bytes([1; 32]),
        source: "sensor".into(),
        topic: "observations".into(),
        properties: Default::default(),
        payload: Bytes::from(format!("{{\"station\":\"EWR\",\"celsius\":{}.{}}}", n % 40, n % 10)),
        accepted_ms: 1_700_000_000_000 + n,
    };
    let messages = (0..count).map(message).collect();
    ToCloud::Batch(Batch { route: "w/r".into(), epoch: 7, after: 0, first_seq: 1, messages })
}

#[test]
fn a_batch_is_packed_where_that_pays() {
    let (small, large) = (much_alike(3), much_alike(1000));
    assert_eq!(body(&small)[..2], [0x86, 3]);
    let packed = body(&large);
    assert_eq!(packed[..2], [0x83, 5]);
    assert!(packed.len() < 30_000, "{}", packed.len());
    assert_eq!(ToCloud::decode(packed).unwrap(), large);

    // zstd of one raw block: [5, 10, h'...'] holds [3, "w/r", 7, 0, 1, []].
    let inner = [0x86, 3, 0x63, b'w', b'/', b'r', 7, 0, 1, 0x80];
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 10, 0x51, 0, 0][..], &inner].concat();
    let frame = |bytes: u8| [&[0x83, 5, bytes, 0x53][..], &zstd].concat();
    let Ok(ToCloud::Batch(batch)) = decode(&frame(10)) else { panic!("not read") };
    assert_eq!((batch.route.as_str(), batch.epoch, batch.messages.len()), ("w/r", 7, 0));
    let words = decode::<ToCloud>(&frame(11)).unwrap_err().to_string();
    assert_eq!(words, "a packed batch frame cannot be read: expected zstd of as many bytes as are said");
}

#[test]
fn what_is_packed_keeps_the_limits_of_what_is_not() {
    let large = body(&much_alike(1000));
    let words = ToCloud::decode_within(large, MAX_HELLO_BYTES).unwrap_err().to_string();
    assert!(words.ends_with("at most 65536 is allowed"), "{words}");
    // Anything but a batch, a packed one among them, is not looked for in there.
    let nested = unlimited(5, 2, |e| {
        let inner = body(&much_alike(1000));
        e.uint(inner.len() as u64);
        e.bytes(&zstd::bulk::compress(&inner, 1).unwrap());
    });
    let words = decode::<ToCloud>(&nested).unwrap_err().to_string();
    assert_eq!(words, "a packed batch frame cannot be read: expected a batch");
}
