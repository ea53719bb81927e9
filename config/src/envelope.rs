//! The sealed form of what one signs for itself, a question or an answer: COSE_Sign1 (RFC 9052) with Ed25519 over
//! the exact bytes received. What a fleet's operators sign has another: see [`crate::cosign`].
//!
//! Always tagged, in one encoding only: protected header `{alg: EdDSA, kid: signer's key}`, no
//! unprotected header, CBOR payload. The external data names the kind, so that one kind of document
//! never passes for another. Whatever else COSE allows is refused.

use coset::{CoseSign1, CoseSign1Builder, Header, HeaderBuilder, TaggedCborSerializable, iana};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::{
    cbor, cose,
    identity::PublicKey,
    limits::{AUDIT_ENTRY_BYTES, HELLO_BYTES, REPLY_BYTES, SEALED_BYTES},
    signer::{SignError, Signer},
};

/// What a sealed document is. Part of what is signed, so one kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::document::Request`].
    Request,
    /// [`crate::document::Reply`].
    Reply,
    /// [`crate::document::Reply`] to what anybody handed to a device in the lobby: never one to a request.
    Handed,
    /// [`crate::audit::Entry`].
    Audit,
    /// [`crate::hello::Hello`].
    Hello,
}

impl Kind {
    const fn context(self) -> &'static [u8] {
        match self {
            Self::Request => b"wayside/v1/request",
            Self::Reply => b"wayside/v1/reply",
            Self::Handed => b"wayside/v1/handed",
            Self::Audit => b"wayside/v1/audit",
            Self::Hello => b"wayside/v1/hello",
        }
    }

    /// The largest sealed document of this kind.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Request => SEALED_BYTES,
            Self::Reply | Self::Handed => REPLY_BYTES,
            Self::Audit => AUDIT_ENTRY_BYTES,
            Self::Hello => HELLO_BYTES,
        }
    }
}

/// Why a sealed document was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than [`Kind::max_bytes`].
    #[error("the document is {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Of its kind.
        limit: usize,
    },
    /// Not COSE_Sign1, or not as this version writes it.
    #[error("not a signed document: {0}")]
    Malformed(String),
    /// The signer is not one of those trusted for it.
    #[error("signed by {0}, whom this device does not trust for it")]
    Untrusted(PublicKey),
    /// The signature does not hold.
    #[error("the signature is not valid: the document was changed or belongs to another kind")]
    BadSignature,
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignError),
}

/// Encodes `document` and signs it.
///
/// # Errors
/// [`EnvelopeError::TooLarge`], for nobody would accept it; [`EnvelopeError::Signer`].
pub fn seal<T: serde::Serialize>(
    signer: &dyn Signer,
    kind: Kind,
    document: &T,
) -> Result<Vec<u8>, EnvelopeError> {
    let sealed = CoseSign1Builder::new()
        .protected(header(signer.key()))
        .payload(cbor::encode(document))
        .try_create_signature(kind.context(), |bytes| signer.sign(bytes).map(|signature| signature.to_vec()))?
        .build()
        .to_tagged_vec()
        .map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
    check_size(&sealed, kind.max_bytes())?;
    Ok(sealed)
}

/// Verifies `sealed` against `trusted` and decodes it. Gives the signer and the document.
///
/// # Errors
/// See [`EnvelopeError`]; the document is not decoded before the signature holds.
pub fn open<T: serde::de::DeserializeOwned>(
    sealed: &[u8],
    kind: Kind,
    trusted: &[PublicKey],
) -> Result<(PublicKey, T), EnvelopeError> {
    let (signer, message) = read(sealed, kind.max_bytes())?;
    if !trusted.contains(&signer) {
        return Err(EnvelopeError::Untrusted(signer));
    }
    message.verify_signature(kind.context(), |signature, bytes| {
        let key = VerifyingKey::from_bytes(signer.as_bytes()).map_err(|_| EnvelopeError::BadSignature)?;
        let signature = Signature::from_slice(signature).map_err(|_| EnvelopeError::BadSignature)?;
        key.verify_strict(bytes, &signature).map_err(|_| EnvelopeError::BadSignature)
    })?;
    let document = cbor::decode(message.payload.as_deref().unwrap_or_default())
        .map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
    Ok((signer, document))
}

/// Who claims to have signed `sealed`, which is no reply. Proves nothing until [`open`] is called with that key.
///
/// # Errors
/// [`EnvelopeError::TooLarge`] or [`EnvelopeError::Malformed`].
pub fn claimed_signer(sealed: &[u8]) -> Result<PublicKey, EnvelopeError> {
    check_size(sealed, SEALED_BYTES)?;
    let (_, signature) = cose::one(sealed).map_err(|what| EnvelopeError::Malformed(what.to_owned()))?;
    Ok(signature.signer)
}

/// What each signature of ours says of itself.
pub(crate) fn header(signer: PublicKey) -> Header {
    HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(signer.as_bytes().to_vec()).build()
}

const fn check_size(sealed: &[u8], limit: usize) -> Result<(), EnvelopeError> {
    if sealed.len() > limit { Err(EnvelopeError::TooLarge { bytes: sealed.len(), limit }) } else { Ok(()) }
}

fn read(sealed: &[u8], limit: usize) -> Result<(PublicKey, CoseSign1), EnvelopeError> {
    check_size(sealed, limit)?;
    let (payload, signature) = cose::one(sealed).map_err(|what| EnvelopeError::Malformed(what.to_owned()))?;
    let message = CoseSign1Builder::new()
        .protected(header(signature.signer))
        .payload(payload.to_vec())
        .signature(signature.bytes.to_vec())
        .build();
    Ok((signature.signer, message))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use coset::CborSerializable;

    use crate::{document::Request, hash};

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
        (key, public)
    }

    fn request(body: &str) -> Request {
        Request { device: key(9).1, issued_ms: 1_700_000_000_000, nonce: 7, body: body.into() }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let sealed = seal(&key(1).0, Kind::Request, &request("{}")).unwrap();
        assert_eq!(hash::hex(&sealed[..10]), "d2845826a20127045820");
        insta::assert_snapshot!(hash::hex(&hash::sha256(&sealed)), @"35d80f3763f5c423aec42fe025d3a55ff35f8557a4320c4fd5689f9d6ce570a4");
    }

    #[test]
    fn only_the_right_kind_and_signer_open() {
        let ((alice, alice_id), (_, bob_id)) = (key(1), key(2));
        let sealed = seal(&alice, Kind::Request, &request("{}")).unwrap();
        assert_eq!(open(&sealed, Kind::Request, &[bob_id, alice_id]), Ok((alice_id, request("{}"))));
        assert_eq!(open::<Request>(&sealed, Kind::Reply, &[alice_id]), Err(EnvelopeError::BadSignature));
        assert_eq!(
            open::<Request>(&sealed, Kind::Request, &[bob_id]),
            Err(EnvelopeError::Untrusted(alice_id))
        );
        assert_eq!(claimed_signer(&sealed), Ok(alice_id));
    }

    #[test]
    fn what_cose_allows_beyond_our_form_is_refused() {
        let (alice, alice_id) = key(1);
        let sign = |builder: CoseSign1Builder| {
            builder
                .payload(cbor::encode(&request("{}")))
                .create_signature(Kind::Request.context(), |bytes| alice.sign(bytes).unwrap().to_vec())
                .build()
        };
        let extra = HeaderBuilder::new().text_value("x".into(), ciborium::Value::Null).build();
        let mut protected = header(alice_id);
        protected.content_type = Some(coset::ContentType::Text("a/b".into()));
        let other_alg = HeaderBuilder::new()
            .algorithm(iana::Algorithm::ES256)
            .key_id(alice_id.as_bytes().to_vec())
            .build();
        let good = || CoseSign1Builder::new().protected(header(alice_id));
        let untagged = sign(good()).to_vec().unwrap();
        let mut indefinite = sign(good()).to_tagged_vec().unwrap();
        indefinite[1] = 0x9f;
        indefinite.push(0xff);
        let mut trailing = sign(good()).to_tagged_vec().unwrap();
        trailing.push(0);
        for bytes in [
            sign(good().unprotected(extra)).to_tagged_vec().unwrap(),
            sign(CoseSign1Builder::new().protected(protected)).to_tagged_vec().unwrap(),
            sign(CoseSign1Builder::new().protected(other_alg)).to_tagged_vec().unwrap(),
            sign(CoseSign1Builder::new()).to_tagged_vec().unwrap(),
            untagged,
            indefinite,
            trailing,
            Vec::new(),
        ] {
            let result = open::<Request>(&bytes, Kind::Request, &[alice_id]);
            assert!(matches!(result, Err(EnvelopeError::Malformed(_))), "{result:?}");
        }
        assert_eq!(
            open::<Request>(&vec![0; SEALED_BYTES + 1], Kind::Request, &[alice_id]),
            Err(EnvelopeError::TooLarge { bytes: SEALED_BYTES + 1, limit: SEALED_BYTES })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_sealed_opens(body in ".{0,200}") {
            let (alice, alice_id) = key(1);
            let sealed = seal(&alice, Kind::Request, &request(&body)).unwrap();
            prop_assert_eq!(open(&sealed, Kind::Request, &[alice_id]), Ok((alice_id, request(&body))));
        }

        #[test]
        fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let (alice, alice_id) = key(1);
            let mut sealed = seal(&alice, Kind::Request, &request("body")).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(open::<Request>(&sealed, Kind::Request, &[alice_id]).is_err());
        }

        #[test]
        fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open::<Request>(&bytes, Kind::Request, &[key(1).1]).is_err());
        }
    }
}
