//! Who signs. A file's key today; a token that never shows its key fits the same questions.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::identity::PublicKey;

/// Signs with one Ed25519 key, wherever that is kept.
pub trait Signer {
    /// What others know the key by.
    fn key(&self) -> PublicKey;

    /// The signature of `bytes`.
    ///
    /// # Errors
    /// [`SignError`]: what keeps the key does not answer, or does not let it be used.
    fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], SignError>;
}

/// What keeps the key did not sign. In words, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

impl Signer for SigningKey {
    fn key(&self) -> PublicKey {
        PublicKey::from_bytes(self.verifying_key().to_bytes())
    }

    fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], SignError> {
        self.try_sign(bytes)
            .map(|signature| signature.to_bytes())
            .map_err(|error| SignError(error.to_string()))
    }
}

/// Has a secret in common with every other key, of which nothing has to be sent.
pub trait Agree: Signer {
    /// 32 bytes that the holders of this key and of `other` alone can know: X25519 (RFC 7748) between both in their Montgomery form.
    /// `None` when `other` is no key, or one that everybody has a secret in common with.
    fn agree(&self, other: &PublicKey) -> Option<Zeroizing<[u8; 32]>>;
}

impl Agree for SigningKey {
    fn agree(&self, other: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let other = VerifyingKey::from_bytes(other.as_bytes()).ok().filter(|key| !key.is_weak())?;
        let secret = Zeroizing::new(self.to_scalar_bytes());
        Some(Zeroizing::new(other.to_montgomery().mul_clamped(*secret).to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_agree_and_others_do_not() {
        let [a, b, c] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        assert_eq!(a.agree(&b.key()), b.agree(&a.key()));
        assert!(a.agree(&b.key()).is_some());
        assert_ne!(a.agree(&b.key()), c.agree(&b.key()));
        assert_ne!(a.agree(&b.key()), a.agree(&c.key()));
        // One of small order, and one that is none.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert_eq!(a.agree(&PublicKey::from_bytes(weak)), None);
        assert_eq!(a.agree(&PublicKey::from_bytes([2; 32])), None);
    }
}
