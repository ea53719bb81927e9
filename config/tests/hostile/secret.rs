//! A change of a secret of any bytes: within its limits and the same when it is written again, or refused.

use wayside_config::{
    cbor,
    cosign::{inspect, peek},
    identity::FleetId,
    limits::{SECRET_BYTES, VERSION_MAX},
    secret::{SecretChange, SecretMount, TAG_BYTES, is_secret_name},
};

const FLEET: FleetId = FleetId::from_bytes([3; 32]);

pub(crate) fn read(bytes: &[u8]) {
    if let Ok(change) = cbor::decode::<SecretChange>(bytes) {
        assert!(change.version <= VERSION_MAX && is_secret_name(&change.secret.secret));
        let sealed = change.value.as_ref().map_or(TAG_BYTES, |value| value.sealed.0.len());
        assert!((TAG_BYTES..=SECRET_BYTES + TAG_BYTES).contains(&sealed));
        assert!(!change.binding(&FLEET).is_empty());
        assert_eq!(cbor::decode(&cbor::encode(&change)), Ok(change));
    }
    if let Ok(mount) = cbor::decode::<SecretMount>(bytes) {
        assert!(!mount.file.contains('/') && mount.mode <= 0o777);
    }
    let _ = peek::<SecretChange>(bytes);
    assert!(inspect::<SecretChange>(&FLEET, bytes).is_err());
}
