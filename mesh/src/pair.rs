//! What one device sends another, through whichever others: proven to come from the one, and to be for the other.
//!
//! Links prove keys at both their ends, and a message may go over several, or over that of a member who writes another's name on it. So each
//! ends with a code that sender and receiver alone can make: HMAC-SHA256 (RFC 2104), under a key that HKDF-SHA256 (RFC 5869) derives,
//! for one direction, from the secret that the two devices' keys have in common.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ring::{
    hkdf,
    hmac::{self, HMAC_SHA256},
};
use subtle::ConstantTimeEq;
use wayside_config::{identity::DeviceId, signer::Agree};

use crate::keys::Kind;

/// The key of a device, as the mesh needs it. Clones are the same key.
#[derive(Clone)]
pub struct OwnKey(Arc<dyn Agree + Send + Sync>);

/// What a message ends with.
pub const PROOF_BYTES: usize = 32;

/// Others whose keys are remembered: as many as the mesh has neighbours. Members may claim any, and then they are derived anew.
const REMEMBERED: usize = 1024;

const DOMAIN: &[u8] = b"wayside/v1/mesh-pair";

/// The keys that a device has in common with others. Clones share them.
#[derive(Clone)]
pub(crate) struct Pairs {
    own: OwnKey,
    keys: Arc<Mutex<BTreeMap<DeviceId, Arc<Pair>>>>,
}

/// With one other device.
struct Pair {
    to: hmac::Key,
    from: hmac::Key,
}

impl OwnKey {
    /// This key, wherever it is kept.
    pub fn new(key: impl Agree + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }

    /// Whose it is.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.0.key()
    }
}

impl Pairs {
    pub(crate) fn new(own: OwnKey) -> Self {
        Self { own, keys: Arc::default() }
    }

    /// Appends the proof that `payload` is this device's to `to`. `false` when no key is `to`'s.
    pub(crate) fn prove(&self, to: &DeviceId, kind: Kind, payload: &mut Vec<u8>) -> bool {
        let Some(pair) = self.with(to) else { return false };
        let proof = proof(&pair.to, kind, payload);
        payload.extend_from_slice(proof.as_ref());
        true
    }

    /// What `from` has sent this device, without its proof; `None` when it has not.
    pub(crate) fn proven(&self, from: &DeviceId, kind: Kind, mut sealed: Bytes) -> Option<Bytes> {
        let shown = sealed.split_off(sealed.len().checked_sub(PROOF_BYTES)?);
        let proof = proof(&self.with(from)?.from, kind, &sealed);
        bool::from(proof.as_ref().ct_eq(&shown)).then_some(sealed)
    }

    fn with(&self, other: &DeviceId) -> Option<Arc<Pair>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = keys.get(other) {
            return Some(Arc::clone(pair));
        }
        let secret = self.own.0.agree(other)?;
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, DOMAIN).extract(&*secret);
        let key = |from: &DeviceId, to: &DeviceId| {
            let info = [&from.as_bytes()[..], to.as_bytes()];
            extracted.expand(&info, HMAC_SHA256).map(hmac::Key::from).ok()
        };
        let own = self.own.device();
        let pair = Arc::new(Pair { to: key(&own, other)?, from: key(other, &own)? });
        if keys.len() >= REMEMBERED {
            keys.clear();
        }
        keys.insert(*other, Arc::clone(&pair));
        Some(pair)
    }
}

fn proof(key: &hmac::Key, kind: Kind, payload: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    // No kind's name has a zero.
    context.update(kind.as_str().as_bytes());
    context.update(&[0]);
    context.update(payload);
    context.sign()
}

/// Without what is secret.
impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnKey({})", self.device().short())
    }
}

/// Without keys.
impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs of {:?}", self.own)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::signer::Signer;

    use super::*;

    fn pairs(seed: u8) -> (Pairs, DeviceId) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        (Pairs::new(OwnKey::new(key.clone())), key.key())
    }

    fn sealed(by: &Pairs, to: &DeviceId, kind: Kind, payload: &[u8]) -> Bytes {
        let mut sealed = payload.to_vec();
        assert!(by.prove(to, kind, &mut sealed));
        sealed.into()
    }

    #[test]
    fn one_device_proves_to_one_other_what_it_sends() {
        let ((a, id_a), (b, id_b), (c, id_c)) = (pairs(1), pairs(2), pairs(3));
        for payload in [&b""[..], b"hello", &[7; 70_000]] {
            let sent = sealed(&a, &id_b, Kind::Batch, payload);
            assert_eq!(sent.len(), payload.len() + PROOF_BYTES);
            assert_eq!(b.proven(&id_a, Kind::Batch, sent.clone()).as_deref(), Some(payload));
            // In another's name, as something else, to somebody else, and back to where it came from.
            assert_eq!(b.proven(&id_c, Kind::Batch, sent.clone()), None);
            assert_eq!(b.proven(&id_a, Kind::Live, sent.clone()), None);
            assert_eq!(c.proven(&id_a, Kind::Batch, sent.clone()), None);
            assert_eq!(a.proven(&id_b, Kind::Batch, sent), None);
            let forged = sealed(&c, &id_b, Kind::Batch, payload);
            assert_eq!(b.proven(&id_a, Kind::Batch, forged), None);
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let ((a, id_a), (b, id_b)) = (pairs(1), pairs(2));
        let sent = sealed(&a, &id_b, Kind::Confirm, b"upto 9");
        for at in 0..sent.len() {
            let mut changed = sent.to_vec();
            changed[at] ^= 1;
            assert_eq!(b.proven(&id_a, Kind::Confirm, changed.into()), None, "byte {at}");
        }
        for length in 0..sent.len() {
            assert_eq!(b.proven(&id_a, Kind::Confirm, sent.slice(..length)), None, "{length} bytes");
        }
    }

    #[test]
    fn claimed_senders_take_no_more_than_their_room() {
        let (a, _) = pairs(1);
        let real = |seed: u16| {
            let mut bytes = [9; 32];
            bytes[..2].copy_from_slice(&seed.to_be_bytes());
            SigningKey::from_bytes(&bytes).key()
        };
        for seed in 0..REMEMBERED as u16 + 10 {
            assert_eq!(a.proven(&real(seed), Kind::Live, Bytes::from_static(&[0; 40])), None);
        }
        assert_eq!(a.keys.lock().unwrap().len(), 10);
        // What is no key is not remembered at all.
        assert_eq!(a.proven(&DeviceId::from_bytes([2; 32]), Kind::Live, Bytes::from_static(&[0; 40])), None);
        assert_eq!(a.keys.lock().unwrap().len(), 10);
    }
}
