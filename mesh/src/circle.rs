//! A device's, or an operator's, circle: whose links it takes, proving itself with its own key.

use std::{fmt, sync::Arc};

use rustls::{Error, SignatureAlgorithm, SignatureScheme, sign};
use wayside_config::signer::Signer;
pub use zenoh_link_tls::{Circle, CircleError};

/// The circle of who signs with `signer`: of nobody, until it admits others.
///
/// # Errors
/// When TLS does not take the key.
pub fn circle_of(signer: Arc<dyn Signer + Send + Sync>) -> Result<Circle, CircleError> {
    let key = *signer.key().as_bytes();
    Circle::new(&key, Arc::new(Key(signer)))
}

/// A signer, as TLS wants one. What is signed in a handshake begins with 64 spaces and no CBOR does, so that no document
/// passes for a handshake, nor the other way round.
#[derive(Clone)]
struct Key(Arc<dyn Signer + Send + Sync>);

impl sign::SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn sign::Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn sign::Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl sign::Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.0.sign(message).map(|signature| signature.to_vec());
        signed.map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.key().short())
    }
}
