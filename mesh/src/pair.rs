//! What one device sends another, through whichever others: sealed so that it can come from the one only, and be read by the other only.
//!
//! Links prove keys at both their ends, and a message may go over several, or over that of a member who writes another's name on it. So each
//! is sealed with AES-256-GCM (NIST SP 800-38D) under a key of its own, which is never used twice: HMAC-SHA256 (RFC 2104) of a random salt and of
//! what kind of message it is, under a key that HKDF-SHA256 (RFC 5869) derives, for one direction, from the secret that the two devices'
//! keys have in common.
//!
//! ```text
//! ciphertext, tag 16, salt 16
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
    hmac::{self, HMAC_SHA256},
};
use wayside_config::{identity::DeviceId, signer::Agree};

use crate::keys::Kind;

/// The key of a device, as the mesh needs it. Clones are the same key.
#[derive(Clone)]
pub struct OwnKey(Arc<dyn Agree + Send + Sync>);

/// How much longer sealing makes a message.
pub const SEAL_BYTES: usize = TAG_BYTES + SALT_BYTES;

const TAG_BYTES: usize = 16;

/// As long as no two of 2^64 messages are to share one.
const SALT_BYTES: usize = 16;

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

    /// Seals `payload`, in place, as this device's to `to`. `false` when no key is `to`'s, or there is no randomness.
    pub(crate) fn seal(&self, to: &DeviceId, kind: Kind, payload: &mut Vec<u8>) -> bool {
        let Some(pair) = self.with(to) else { return false };
        let mut salt = [0; SALT_BYTES];
        if getrandom::fill(&mut salt).is_err() {
            return false;
        }
        let Some(key) = key_of(&pair.to, kind, &salt) else { return false };
        let Ok(tag) = key.seal_in_place_separate_tag(only_nonce(), Aad::empty(), payload) else {
            return false;
        };
        payload.extend_from_slice(tag.as_ref());
        payload.extend_from_slice(&salt);
        true
    }

    /// What `from` has sealed for this device, opened in place; `None` when it has not.
    pub(crate) fn open(&self, from: &DeviceId, kind: Kind, mut sealed: Vec<u8>) -> Option<Bytes> {
        let (_, salt) = sealed.split_last_chunk::<SALT_BYTES>()?;
        let key = key_of(&self.with(from)?.from, kind, salt)?;
        sealed.truncate(sealed.len() - SALT_BYTES);
        let length = key.open_in_place(only_nonce(), Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed.into())
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

/// The key of one message.
fn key_of(key: &hmac::Key, kind: Kind, salt: &[u8; SALT_BYTES]) -> Option<LessSafeKey> {
    let mut context = hmac::Context::with_key(key);
    // No kind's name has a zero.
    context.update(kind.as_str().as_bytes());
    context.update(&[0]);
    context.update(salt);
    UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
}

/// A key that seals one message has one nonce.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
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

    fn sealed(by: &Pairs, to: &DeviceId, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut sealed = payload.to_vec();
        assert!(by.seal(to, kind, &mut sealed));
        sealed
    }

    #[test]
    fn what_one_device_sends_comes_from_it_alone_and_one_other_reads_it() {
        let ((a, id_a), (b, id_b), (c, id_c)) = (pairs(1), pairs(2), pairs(3));
        for payload in [&b""[..], b"hello", &[7; 70_000]] {
            let sent = sealed(&a, &id_b, Kind::Batch, payload);
            assert_eq!(sent.len(), payload.len() + SEAL_BYTES);
            assert_eq!(b.open(&id_a, Kind::Batch, sent.clone()).as_deref(), Some(payload));
            assert!(payload.is_empty() || !sent.windows(payload.len()).any(|part| part == payload));
            assert_ne!(sealed(&a, &id_b, Kind::Batch, payload), sent, "each has its own key");
            // In another's name, as something else, to somebody else, and back to where it came from.
            assert_eq!(b.open(&id_c, Kind::Batch, sent.clone()), None);
            assert_eq!(b.open(&id_a, Kind::Live, sent.clone()), None);
            assert_eq!(c.open(&id_a, Kind::Batch, sent.clone()), None);
            assert_eq!(a.open(&id_b, Kind::Batch, sent), None);
            let forged = sealed(&c, &id_b, Kind::Batch, payload);
            assert_eq!(b.open(&id_a, Kind::Batch, forged), None);
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let ((a, id_a), (b, id_b)) = (pairs(1), pairs(2));
        let sent = sealed(&a, &id_b, Kind::Confirm, b"upto 9");
        for at in 0..sent.len() {
            let mut changed = sent.to_vec();
            changed[at] ^= 1;
            assert_eq!(b.open(&id_a, Kind::Confirm, changed), None, "byte {at}");
        }
        for length in 0..sent.len() {
            assert_eq!(b.open(&id_a, Kind::Confirm, sent[..length].to_vec()), None, "{length} bytes");
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
            assert_eq!(a.open(&real(seed), Kind::Live, vec![0; 40]), None);
        }
        assert_eq!(a.keys.lock().unwrap().len(), 10);
        // What is no key is not remembered at all.
        assert_eq!(a.open(&DeviceId::from_bytes([2; 32]), Kind::Live, vec![0; 40]), None);
        assert_eq!(a.keys.lock().unwrap().len(), 10);
    }
}
