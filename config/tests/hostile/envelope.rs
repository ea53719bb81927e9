//! A sealed document of any bytes: nobody here has signed it, so it is never opened.

use wayside_config::{
    document::{Reply, Request},
    envelope::{EnvelopeError, Kind, claimed_signer, open},
};

pub(crate) fn read(bytes: &[u8]) {
    let Ok(signer) = claimed_signer(bytes) else {
        assert!(open::<Request>(bytes, Kind::Request, &[]).is_err());
        assert!(open::<Reply>(bytes, Kind::Reply, &[]).is_err());
        return;
    };
    let untrusted = open::<Request>(bytes, Kind::Request, &[]).err();
    assert_eq!(untrusted, Some(EnvelopeError::Untrusted(signer)));
    assert!(open::<Request>(bytes, Kind::Request, &[signer]).is_err());
    assert!(open::<Reply>(bytes, Kind::Reply, &[signer]).is_err());
}
