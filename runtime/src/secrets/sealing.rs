//! How a value is sealed to one device: X25519 with the device's own key, as age does with Ed25519 keys of SSH, HKDF-SHA256 and
//! ChaCha20-Poly1305. Both derivation and cipher are bound to what the value is for, so that it opens as nothing else.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{SigningKey, VerifyingKey};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use wayside_config::{
    identity::DeviceId,
    secret::{Ciphertext, SealedValue, TAG_BYTES},
};
use zeroize::Zeroizing;

/// A value in the clear. Overwritten when it is dropped; shown nowhere.
pub(crate) type Plain = Zeroizing<Vec<u8>>;

/// Seals a value that this device alone can open, and for `binding` alone.
pub(crate) fn seal(plain: &[u8], device: &DeviceId, binding: &[u8]) -> Result<SealedValue, String> {
    let key = VerifyingKey::from_bytes(device.as_bytes()).ok().filter(|key| !key.is_weak());
    let receiver = key.ok_or("the device's key is none that anything could be encrypted to")?.to_montgomery();
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let sender = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
    let shared = Zeroizing::new(receiver.mul_clamped(*secret).to_bytes());
    let failed = || "the value could not be encrypted".to_owned();
    let cipher = cipher(&shared, &sender, &receiver.to_bytes(), binding).ok_or_else(failed)?;
    // With its room from the beginning: what grows leaves a copy behind.
    let mut bytes = Vec::with_capacity(plain.len() + TAG_BYTES);
    bytes.extend_from_slice(plain);
    cipher.seal_in_place_append_tag(nonce(), Aad::from(binding), &mut bytes).map_err(|_| failed())?;
    Ok(SealedValue { sender, sealed: Ciphertext(bytes) })
}

/// Opens what was sealed to this key and for `binding`.
pub(crate) fn open(value: &SealedValue, key: &SigningKey, binding: &[u8]) -> Option<Plain> {
    let secret = Zeroizing::new(key.to_scalar_bytes());
    let shared = Zeroizing::new(MontgomeryPoint(value.sender).mul_clamped(*secret).to_bytes());
    // A sender's key of small order makes a key that everybody knows.
    if *shared == [0; 32] {
        return None;
    }
    let receiver = key.verifying_key().to_montgomery().to_bytes();
    let cipher = cipher(&shared, &value.sender, &receiver, binding)?;
    let mut bytes = Zeroizing::new(value.sealed.0.clone());
    let length = cipher.open_in_place(nonce(), Aad::from(binding), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

fn cipher(shared: &[u8; 32], sender: &[u8; 32], receiver: &[u8; 32], binding: &[u8]) -> Option<LessSafeKey> {
    let salt = [&sender[..], receiver].concat();
    let mut key = Zeroizing::new([0; 32]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(shared);
    extracted.expand(&[binding], hkdf::HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
    UnboundKey::new(&CHACHA20_POLY1305, &*key).ok().map(LessSafeKey::new)
}

/// Each key seals one value.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> (SigningKey, DeviceId) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let device = DeviceId::from_bytes(key.verifying_key().to_bytes());
        (key, device)
    }

    #[test]
    fn one_device_opens_it_and_for_one_thing() {
        let ((ours, device), (theirs, _)) = (key(1), key(2));
        for plain in [&b""[..], b"hunter2", &[7; 5000]] {
            let value = seal(plain, &device, b"token").unwrap();
            assert_eq!(value.sealed.0.len(), plain.len() + TAG_BYTES);
            assert_eq!(open(&value, &ours, b"token").unwrap().as_slice(), plain);
            assert!(open(&value, &theirs, b"token").is_none());
            assert!(open(&value, &ours, b"other").is_none());
        }
        let again = || seal(b"hunter2", &device, b"token").unwrap();
        assert_ne!(again(), again());
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let (ours, device) = key(1);
        let value = seal(b"hunter2", &device, b"token").unwrap();
        for at in 0..value.sealed.0.len() {
            let mut changed = value.clone();
            changed.sealed.0[at] ^= 1;
            assert!(open(&changed, &ours, b"token").is_none(), "byte {at}");
        }
        for at in 0..31 {
            let mut changed = value.clone();
            changed.sender[at] ^= 1;
            assert!(open(&changed, &ours, b"token").is_none(), "byte {at} of the sender's key");
        }
        assert!(open(&SealedValue { sender: [0; 32], ..value }, &ours, b"token").is_none());
    }

    #[test]
    fn nothing_is_sealed_to_a_key_that_is_none() {
        let mut small = [0; 32];
        small[0] = 1;
        assert!(seal(b"x", &DeviceId::from_bytes(small), b"token").is_err());
    }
}
