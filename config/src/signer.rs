//! Who signs. A file's key today; a token that never shows its key fits the same two questions.

use ed25519_dalek::{Signer as _, SigningKey};

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
