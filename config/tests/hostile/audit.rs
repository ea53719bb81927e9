//! An audit log of any bytes: nobody here has signed it, so nothing in it is ever proven.

use wayside_config::{
    audit::{Head, framed, split, verify},
    envelope::claimed_signer,
    identity::DeviceId,
};

pub(crate) fn read(bytes: &[u8]) {
    let device = DeviceId::from_bytes([2; 32]);
    assert_eq!(verify(device, bytes).is_ok(), bytes.is_empty());
    // What can be told apart is all that is there, up to what is not whole.
    let whole: Vec<u8> = split(bytes).map_while(Result::ok).flat_map(framed).collect();
    assert!(bytes.starts_with(&whole));
    for sealed in split(bytes).map_while(Result::ok) {
        if let Ok(signer) = claimed_signer(sealed) {
            assert!(Head::begin(signer, sealed).is_err());
        }
    }
}
